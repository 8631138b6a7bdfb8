"""Uploads as bytes come: in parts, too many, too few, not at all."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from starlette.types import Message

from app.api import uploads
from tests.api.world import MAX_UPLOAD_BYTES, PLAYS_CSV, World
from tests.keys import HEADERS


def in_parts(content: bytes, size: int = 7) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def ask(world: World, *messages: Message, last: Message | None = None) -> list[Message]:
    """What the app sends when a client sends these messages, and then `last` for ever or nothing at all."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/uploads",
        "raw_path": b"/v1/uploads",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", HEADERS["Authorization"].encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    waiting = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        message = next(waiting, last)
        if message is None:
            await anyio.sleep_forever()
        await anyio.sleep(0)
        return message or {}

    async def send(message: Message) -> None:
        sent.append(message)

    await world.app(scope, receive, send)
    return sent


def part(content: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": True}


def test_a_file_may_come_in_parts(world: World) -> None:
    sent = world.client.post("/v1/uploads", content=in_parts(PLAYS_CSV))
    assert sent.status_code == 201
    stored = world.container.store.upload_path(sent.json()["id"])
    assert stored.read_bytes() == PLAYS_CSV


def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(world: World) -> None:
    row = b"a,1\n"
    head = b"song_id,session_id\n"
    rows = row * ((MAX_UPLOAD_BYTES - len(head)) // len(row))
    padding = b"a" * (MAX_UPLOAD_BYTES - len(head) - len(rows))
    whole = head + padding + rows
    assert len(whole) == MAX_UPLOAD_BYTES
    assert world.client.post("/v1/uploads", content=in_parts(whole, 9_999)).status_code == 201
    before = world.state()
    refused = world.client.post("/v1/uploads", content=in_parts(b"a" + whole, 9_999))
    assert (refused.status_code, refused.json()["limit_bytes"]) == (413, MAX_UPLOAD_BYTES)
    assert world.state() == before


@pytest.mark.parametrize("digest", ["sha-256=:{}:", "sha-512=:AAAA:, sha-256=:{}:", "sha-256=:{}:,md5=:AAAA:"])
def test_a_file_of_the_digest_announced_is_taken(world: World, digest: str) -> None:
    sha256 = base64.b64encode(hashlib.sha256(PLAYS_CSV).digest()).decode()
    headers = {"Content-Digest": digest.format(sha256)}
    assert world.client.post("/v1/uploads", content=PLAYS_CSV, headers=headers).status_code == 201


@pytest.mark.parametrize("n_parts", [0, 1, 50])
def test_a_client_that_leaves_in_the_middle_leaves_nothing(world: World, n_parts: int) -> None:
    before = world.state()
    parts = [part(PLAYS_CSV) for _ in range(n_parts)]
    sent = anyio.run(lambda: ask(world, *parts, last={"type": "http.disconnect"}))
    assert sent == []
    assert world.state() == before


def test_a_client_that_sends_nothing_more_is_sent_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IDLE_S", 0.05)
    before = world.state()
    start, _ = anyio.run(lambda: ask(world, part(PLAYS_CSV)))
    assert start["status"] == 408
    assert world.state() == before


def test_a_file_announced_as_too_large_is_refused_unread(world: World) -> None:
    headers = {"Content-Length": str(MAX_UPLOAD_BYTES + 1)}
    assert world.client.post("/v1/uploads", content=PLAYS_CSV, headers=headers).status_code == 413
