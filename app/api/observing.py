"""What surrounds every request: an id, a line in the log, figures for Prometheus, and an answer when all else fails."""

import logging
import random
import re
import time
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import unquote

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem
from app.api.schemas.base import ENCODED_SLASH

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_log = logging.getLogger(__name__)


class Figures:
    """Requests by method, route and status, and their seconds. Routes are templates: few, whatever is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests", "Requests by route and status.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request's arrival to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request, and log it where it is no read that was answered."""
        known = self._known.get((method, route, status))
        if known is None:
            known = (self._requests.labels(method, route, str(status)), self._seconds.labels(method, route))
            self._known[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)
        if method == "GET" and status < HTTPStatus.BAD_REQUEST:
            level = logging.DEBUG  # a line for each would cost as much as the answer
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            level = logging.WARNING
        else:
            level = logging.INFO
        if _log.isEnabledFor(level):
            _log.log(level, "request method=%s route=%s status=%d ms=%.1f", method, route, status, seconds * 1000)


def of_all_processes(registry: CollectorRegistry) -> CollectorRegistry:
    """What is told when figures are asked for: these, or the sums of all processes that share a folder of figures.

    Whichever of them is asked then tells the same.
    """
    together = CollectorRegistry()
    try:
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    except ValueError:  # there is no such folder
        return registry
    return together


class Observed:
    """Middleware around all that FastAPI answers."""

    def __init__(self, app: ASGIApp, *, figures: Figures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope["headers"])
        scope = {**scope, "path": _path(scope), "request_id": request_id.decode()}
        structlog.contextvars.bind_contextvars(request_id=scope["request_id"])
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _log.info("client_left")
        except Exception:
            _log.exception("request_failed")
            if status:  # the answer is under way: all that is left is to break it off
                raise
            await _failure(scope)(scope, receive, send_with_id)
        finally:
            method, route = scope["method"], getattr(scope.get("route"), "path", "")
            if method not in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
                method = "other"
            self._figures.note(method=method, route=route, status=status, seconds=time.perf_counter() - started)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's own id where it is sane, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value
    return new_request_id().encode()


def new_request_id() -> str:
    """An id that tells requests apart. It is no secret: that would cost a call to the kernel."""
    return f"{random.getrandbits(64):016x}"


def _path(scope: Scope) -> str:
    """The decoded path in which a slash that was encoded, as part of an id, does not part the path.

    Where a NUL might be smuggled in, or the server does not tell the path as it was sent, it stays as decoded.
    """
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return path
    return ENCODED_SLASH.join(_decoded(part) for part in re.split(rb"%2[fF]", raw.partition(b"?")[0]))


def _decoded(part: bytes) -> str:
    return unquote(part.decode("latin-1"))


def _failure(scope: Scope) -> ASGIApp:
    return problem(
        scope,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal_error",
        detail="The server failed to answer. The log knows why, by the id of this request.",
    )
