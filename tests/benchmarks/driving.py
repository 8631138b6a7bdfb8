"""Drives a server over loopback from a process of its own, so that what the driver spends is not the server's.

Closed loop: each connection asks, waits for the whole answer and asks again: how much the server can. Open loop:
requests are due at a fixed rate whatever became of those before, and a time counts from when a request was due, not
from when a connection was free for it: what a listener waits for.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import uvloop

READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Drive:
    """One route driven for a while: requests per second, times in milliseconds, and the driver's processor share.

    All of what was answered with 200; `n_shed` are those answered with 503 beside, where that is allowed.
    """

    n_requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    driver_share: float
    n_shed: int = 0


class Driver:
    """The other side of `answer_drives`, in a process of its own."""

    def __init__(self, part: "subprocess.Popen[str]") -> None:
        self._part = part

    def closed(self, paths: Sequence[str], *, seconds: float, connections: int) -> Drive:
        """Ask as fast as so many connections are answered."""
        return self._told(paths=paths, seconds=seconds, connections=connections, rate=None)

    def open(
        self, paths: Sequence[str], *, seconds: float, connections: int, rate: float, may_shed: bool = False
    ) -> Drive:
        """Ask so many times a second."""
        return self._told(paths=paths, seconds=seconds, connections=connections, rate=rate, may_shed=may_shed)

    def _told(self, **asked: object) -> Drive:
        assert self._part.stdin is not None
        assert self._part.stdout is not None
        self._part.stdin.write(json.dumps(asked) + "\n")
        self._part.stdin.flush()
        return Drive(**json.loads(self._part.stdout.readline()))


@contextmanager
def part_of(module: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A part of a benchmark as a process that is ended on leaving; it speaks a line at a time."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    part = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield part
    finally:
        part.terminate()
        part.wait(timeout=30)
        for stream in (part.stdin, part.stdout):
            if stream is not None:
                stream.close()


def told_port(part: "subprocess.Popen[str]") -> int:
    """The port that a server says it answers on."""
    assert part.stdout is not None
    line = part.stdout.readline()
    if not line:
        msg = "The server did not start."
        raise RuntimeError(msg)
    return int(line)


class Connection(asyncio.Protocol):
    """One keep-alive connection: asks what the next turn is of, waits for the whole answer, and takes the next."""

    def __init__(self, turns: "Turns", *, may_shed: bool) -> None:
        self.n_shed = 0
        self._may_shed = may_shed
        self.times_s: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns = turns
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's is not a subclass

    def ask(self, request: bytes, *, due_s: float) -> None:
        """Send a request that was due then."""
        self._due_s = due_s
        self._transport.write(request)

    def end(self) -> None:
        """Ask no more."""
        if not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _is_whole(self._received):
            return
        if self._may_shed and self._received.startswith(b"HTTP/1.1 503"):
            self.n_shed += 1
        elif self._received.startswith(b"HTTP/1.1 200"):
            self.times_s.append(time.perf_counter() - self._due_s)
        else:
            self.ended.set_exception(RuntimeError(self._received[:500].decode()))
            self._transport.close()
            return
        self._received = b""
        self._turns.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("The server hung up."))


class Turns:
    """Who asks what, and when: at once without a rate, else one request every 1 / rate seconds."""

    def __init__(self, requests: Sequence[bytes], *, seconds: float, rate: float | None) -> None:
        self._requests = requests
        self._seconds = seconds
        self._rate = rate
        self._n_asked = 0
        self._free: deque[Connection] = deque()
        self._is_waiting = False

    def begin(self, connections: Sequence[Connection]) -> None:
        """All are connected: ask from now on."""
        self._began_s = time.perf_counter()
        self._until_s = self._began_s + self._seconds
        for connection in connections:
            self.next(connection)

    def next(self, connection: Connection) -> None:
        """The connection is free: it asks what is due, waits until something is, or ends."""
        if self._rate is None:
            now_s = time.perf_counter()
            if now_s < self._until_s:
                self._ask(connection, due_s=now_s)
            else:
                connection.end()
            return
        self._free.append(connection)
        self._give()

    def _give(self) -> None:
        assert self._rate is not None
        while self._free:
            due_s = self._began_s + self._n_asked / self._rate
            if due_s >= self._until_s:
                while self._free:
                    self._free.popleft().end()
                return
            early_s = due_s - time.perf_counter()
            if early_s > 0:
                if not self._is_waiting:
                    self._is_waiting = True
                    asyncio.get_running_loop().call_later(early_s, self._due)
                return
            self._ask(self._free.popleft(), due_s=due_s)

    def _due(self) -> None:
        self._is_waiting = False
        self._give()

    def _ask(self, connection: Connection, *, due_s: float) -> None:
        connection.ask(self._requests[self._n_asked % len(self._requests)], due_s=due_s)
        self._n_asked += 1


LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def _is_whole(received: bytes) -> bool:
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    length = LENGTH.search(received, 0, head_end)
    if length is None:
        raise ValueError(received[:500])
    return len(received) >= head_end + 4 + int(length[1])


async def _driven(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    rate: float | None,
    may_shed: bool = False,
) -> Drive:
    loop = asyncio.get_running_loop()
    turns = Turns(requests, seconds=seconds, rate=rate)
    made = []
    for _ in range(connections):
        _, connection = await loop.create_connection(partial(Connection, turns, may_shed=may_shed), "127.0.0.1", port)
        made.append(connection)
    began_s, busy_s = time.perf_counter(), time.process_time()
    turns.begin(made)
    await asyncio.gather(*(connection.ended for connection in made))
    elapsed_s = time.perf_counter() - began_s
    times_ms = 1000 * np.array([time_s for connection in made for time_s in connection.times_s])
    return Drive(
        n_requests=len(times_ms),
        requests_per_s=len(times_ms) / elapsed_s,
        p50_ms=float(np.percentile(times_ms, 50)),
        p99_ms=float(np.percentile(times_ms, 99)),
        driver_share=(time.process_time() - busy_s) / elapsed_s,
        n_shed=sum(connection.n_shed for connection in made),
    )


def answer_drives(port: int, headers: dict[str, str]) -> None:
    """Drive as told, one line of JSON a drive, until the input ends."""
    _await_ready(port)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for line in sys.stdin:
        told: dict[str, Any] = json.loads(line)
        requests = [f"GET {path} HTTP/1.1\r\nHost: segue\r\n{head}\r\n".encode() for path in told.pop("paths")]
        print(json.dumps(asdict(uvloop.run(_driven(port, requests, **told)))), flush=True)  # noqa: T201 - its answer


def _await_ready(port: int) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
