"""A connection to the server's protocol without a network."""

import asyncio
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.early_answers import EarlyAnswers
from tests.api.world import World
from tests.keys import HEADERS


class Wire(asyncio.Transport):
    """The server's end of a connection: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        """All of a request is there already."""

    def resume_reading(self) -> None:
        """See above."""

    def taken(self) -> list[tuple[int, bytes]]:
        """Status and rest of each answer written since the last time."""
        answers = self.written.split(b"HTTP/1.1 ")[1:]
        self.written = b""
        return [(int(answer[:3]), answer) for answer in answers]


def connected(
    app: ASGIApp,
    app_state: dict[str, Any],
    *,
    default_headers: list[tuple[bytes, bytes]] | None = None,
    access_log: bool = False,
) -> tuple[EarlyAnswers, Wire]:
    """The two ends of a new connection on the running event loop."""
    config = uvicorn.Config(app, log_config=None, access_log=access_log, ws="none", interface="asgi3")
    config.load()
    state = ServerState()
    state.default_headers = default_headers or []
    protocol = EarlyAnswers(config, state, app_state)
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


def parted(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    rows = (row.decode().split(": ", maxsplit=1) for row in head.split(b"\r\n")[1:])
    return {name: value for name, value in rows}, body


@dataclass(frozen=True)
class Answer:
    """What was written at once."""

    status: int
    headers: dict[str, str]
    body: bytes


def at_once(world: World, path: str, *, method: str = "GET", headers: dict[str, str] = HEADERS) -> Answer | None:
    """What the protocol answers before anything is made of the request; None where it hands it on."""
    lines = [f"{method} {path} HTTP/1.1", "Host: segue", *(f"{name}: {value}" for name, value in headers.items())]
    request = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()

    async def handed_on(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()

    async def asked() -> list[tuple[int, bytes]]:
        protocol, wire = connected(handed_on, world.client.app_state)
        protocol.data_received(request)
        return wire.taken()

    answers = asyncio.run(asked())
    if not answers:
        return None
    ((status, answer),) = answers
    return Answer(status, *parted(answer))
