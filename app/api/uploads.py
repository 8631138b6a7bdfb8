"""Uploads: files of plays or songs, streamed to disk."""

import base64
import binascii
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import APIRouter, Header, Request, Response
from starlette.requests import ClientDisconnect

from app.api.authorizing import ScopedRoute
from app.api.dependencies import (
    LOCATION,
    FromServices,
    KeyHeader,
    RequestKey,
    Services,
    UploadPath,
    answered,
    request_sha256,
)
from app.api.problems import Refused, problems
from app.api.schemas.base import PageView
from app.api.schemas.uploads import SourceView, UploadView
from app.domain.datasets import Upload
from app.domain.errors import TooLarge
from app.services.idempotency import Replay

router = APIRouter(prefix="/v1", tags=["uploads"], route_class=ScopedRoute)

MEDIA_TYPES = ("application/octet-stream", "text/csv", "application/vnd.apache.parquet")

CHUNKS_WAITING = 4
"""Chunks that may wait between the network and the disk."""

MOST_AT_ONCE = 16
"""Uploads under way at once; further ones wait. They have threads of their own, so that no other request waits."""

IDLE_S = 60.0
"""A client that sends nothing for so long is sent away."""

SHA_256_MEMBER = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?:,|$)")

DigestHeader = Annotated[
    str | None,
    Header(
        alias="Content-Digest",
        max_length=1_000,
        description="`sha-256=:…:` (RFC 9530): the body is refused unless it has this digest.",
        examples=["sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"],
    ),
]

BODY = {
    "requestBody": {
        "required": True,
        "description": "The file itself.",
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in MEDIA_TYPES},
    }
}


@router.post(
    "/uploads",
    status_code=HTTPStatus.CREATED,
    summary="Send a file",
    response_model=UploadView,
    responses={**problems(408, 409, 413, 415, 507), 201: LOCATION},
    openapi_extra=BODY,
)
async def create_upload(
    request: Request, services: FromServices, content_digest: DigestHeader = None, idempotency_key: KeyHeader = None
) -> Response:
    """Store a Parquet or CSV file of plays or of songs. What it is is told from its content, not from its type."""
    _check_headers(request, limit_bytes=services.max_upload_bytes)
    expected = None if content_digest is None else _sha256(content_digest)
    key = None if idempotency_key is None else RequestKey(idempotency_key, request_sha256(request, ""))
    upload = await _received(request, services, expected_sha256=expected, key=key)
    return answered(upload, UploadView.of, status=HTTPStatus.CREATED, collection="/v1/uploads")


@router.get(
    "/uploads/{upload_id}",
    summary="See an upload",
    response_model=UploadView,
    responses=problems(404),
)
def get_upload(upload_id: UploadPath, services: FromServices) -> UploadView:
    """What was sent: its format, size and checksum."""
    return UploadView.of(services.datasets.get_upload(upload_id))


@router.get("/sources", summary="List the sources", response_model=PageView[SourceView])
def list_sources(services: FromServices) -> PageView[SourceView]:
    """The files that the operator named, all on one page: a dataset may refer to them by name."""
    return PageView(items=[SourceView(name=name) for name in services.datasets.source_names()], next_cursor=None)


def _check_headers(request: Request, *, limit_bytes: int) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit_bytes:
        raise TooLarge(limit_bytes=limit_bytes)
    media_type = request.headers.get("content-type", MEDIA_TYPES[0]).partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            code="unsupported_media_type",
            detail=f"The body must be the file itself, as {', '.join(MEDIA_TYPES[:-1])} or {MEDIA_TYPES[-1]}.",
            pointer="Content-Type",
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            code="unsupported_media_type",
            detail="The body must not be compressed as a whole.",
            pointer="Content-Encoding",
        )


def _sha256(content_digest: str) -> str:
    """The SHA-256 that a `Content-Digest` names, in hexadecimal. Raises: Refused."""
    found = SHA_256_MEMBER.search(content_digest)
    try:
        digest = b"" if found is None else base64.b64decode(found[1], validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            code="invalid_request",
            detail="Content-Digest must name a SHA-256, as in sha-256=:<base64>:.",
            pointer="Content-Digest",
        )
    return digest.hex()


async def _received(
    request: Request, services: Services, *, expected_sha256: str | None, key: RequestKey | None
) -> Upload | Replay:
    """The upload, written by a thread while this coroutine takes it from the network, a few chunks ahead."""
    threads: anyio.CapacityLimiter = request.app.state.upload_threads
    to_thread, from_network = anyio.create_memory_object_stream[bytes](CHUNKS_WAITING)
    incoming = _Incoming(from_network)

    def write() -> Upload | Replay:
        return services.datasets.receive_upload(
            incoming.chunks(),
            limit_bytes=services.max_upload_bytes,
            expected_sha256=expected_sha256,
            idempotency=None if key is None else key.once(UploadView.of),
        )

    async def written() -> Upload | Replay | Exception:
        try:
            return await anyio.to_thread.run_sync(write, limiter=threads)
        except Exception as error:  # raised outside of the group, which would wrap it
            return error

    async with anyio.create_task_group() as group:
        group.start_soon(_pump, request, to_thread, incoming)
        outcome = await written()
        group.cancel_scope.cancel()
        from_network.close()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Incoming:
    """The chunks as the thread sees them; `failure` is set before the stream ends if it ends too early."""

    def __init__(self, stream: MemoryObjectReceiveStream[bytes]) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def chunks(self) -> Iterator[bytes]:
        """Each chunk as it comes. Raises: ClientDisconnect, Refused."""
        while True:
            try:
                chunk = anyio.from_thread.run(self._stream.receive)
            except anyio.EndOfStream:
                if self.failure is not None:
                    raise self.failure from None
                return
            yield chunk


async def _pump(request: Request, stream: MemoryObjectSendStream[bytes], incoming: _Incoming) -> None:
    """Put what the client sends into the stream, and say why if it ends before its time."""
    async with stream:
        chunks = request.stream()
        try:
            while True:
                with anyio.fail_after(IDLE_S):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                if chunk:
                    await stream.send(chunk)
        except ClientDisconnect as error:
            incoming.failure = error
        except TimeoutError:
            incoming.failure = Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                code="client_too_slow",
                detail=f"Nothing was sent for {IDLE_S:g} seconds.",
            )
