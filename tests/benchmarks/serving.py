"""What serving costs over loopback: `python -m tests.benchmarks.serving [--songs 8000] [--rounds 5]`.

The real application runs in one process, on uvicorn with uvloop and httptools, and a second process drives it over
keep-alive connections. Three routes take turns, round by round, so that a machine that slows down slows all of them:

    constant          a route of the same app, mounted here alone, that answers with a constant of the same size
    neighbours        k = 10 of a song chosen at random
    recommendations   k = 10 for a user with a history of 200 plays, and the database asked for plays since

and it prints requests per second (the median of the rounds), the 50th and 99th percentile of their times, and the
median of each round's ratio to the constant route (target for neighbours at 8,000 songs: >= 0.6). Beside it stands the
processor time that the server spent on a request, which a busy machine changes less, and how busy the driver was, to
show that it is not what is measured.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import asyncio
import json
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil
import uvicorn
import uvloop
from fastapi import Response

from app.bootstrap import build
from app.config import Settings, load
from app.log import configure
from app.main import create_app
from tests.benchmarks.model import N_USERS, publish_model, song_id, user_id
from tests.keys import KEY

CONSTANT = "/benchmark/constant"
ROUTES = ("constant", "neighbours", "recommendations")
N_PATHS = 4_096
READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Drive:
    """One route driven for a while: requests per second, times in milliseconds, and the driver's processor share."""

    n_requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    driver_share: float


def main() -> None:
    """Print the table, or take one of the two other parts: the server or the driver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each route in each round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
    elif arguments.drive is not None:
        answer_drives(arguments.drive, n_connections=arguments.connections)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Drive the routes in turn and print what came out."""
    with tempfile.TemporaryDirectory() as folder:
        publish_model(_settings(Path(folder)), n_songs=arguments.songs, dim=arguments.dim)
        with (
            _part("--serve", folder) as server,
            _part("--drive", _told(server), "--connections", arguments.connections) as driver,
        ):
            paths = _paths(arguments.songs)
            for route in ROUTES:
                _drive(driver, paths[route], seconds=0.5)
            drives: dict[str, list[Drive]] = {route: [] for route in ROUTES}
            spent_us: dict[str, list[float]] = {route: [] for route in ROUTES}
            watched = psutil.Process(server.pid)
            for _ in range(arguments.rounds):
                for route in ROUTES:
                    before_s = _spent_s(watched)
                    drive = _drive(driver, paths[route], seconds=arguments.seconds)
                    drives[route].append(drive)
                    spent_us[route].append(1e6 * (_spent_s(watched) - before_s) / drive.n_requests)
    _report(drives, spent_us, arguments)


def _spent_s(watched: psutil.Process) -> float:
    """Processor seconds that the server has spent, in its own code and the kernel's."""
    times = watched.cpu_times()
    return float(times.user + times.system)


def _paths(n_songs: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    songs = rng.integers(0, n_songs, N_PATHS).tolist()
    users = rng.integers(0, N_USERS, N_PATHS).tolist()
    return {
        "constant": [CONSTANT],
        "neighbours": [f"/v1/songs/{quote(song_id(song))}/neighbours?k=10" for song in songs],
        "recommendations": [f"/v1/users/{quote(user_id(user))}/recommendations?k=10" for user in users],
    }


def _report(drives: dict[str, list[Drive]], spent_us: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    rounds = f"{arguments.rounds} rounds of {arguments.seconds:g} s, {arguments.connections} connections"
    print(
        f"{arguments.songs} songs x {arguments.dim}, {rounds}, {platform.machine()}, Python {platform.python_version()}"
    )
    print(
        f"{'route':<17}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'of constant':>13}{'server us':>11}{'driver busy':>13}"
    )
    for route in ROUTES:
        of_constant = [
            drive.requests_per_s / constant.requests_per_s
            for drive, constant in zip(drives[route], drives["constant"], strict=True)
        ]
        columns = {
            name: statistics.median(asdict(drive)[name] for drive in drives[route]) for name in asdict(drives[route][0])
        }
        print(
            f"{route:<17}{columns['requests_per_s']:>11.0f}{columns['p50_ms']:>9.2f}{columns['p99_ms']:>9.2f}"
            f"{statistics.median(of_constant):>13.2f}{statistics.median(spent_us[route]):>11.0f}"
            f"{columns['driver_share']:>13.0%}"
        )


# The parts, each an operating-system process that speaks one line of JSON at a time


@contextmanager
def _part(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.benchmarks.serving", *map(str, arguments)]
    part = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield part
    finally:
        part.terminate()
        part.wait(timeout=30)
        for stream in (part.stdin, part.stdout):
            if stream is not None:
                stream.close()


def _told(part: "subprocess.Popen[str]") -> int:
    """The port that the server says it answers on."""
    assert part.stdout is not None
    line = part.stdout.readline()
    if not line:
        msg = "The server did not start."
        raise RuntimeError(msg)
    return int(line)


def _drive(driver: "subprocess.Popen[str]", paths: Sequence[str], *, seconds: float) -> Drive:
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdin.write(json.dumps({"paths": paths, "seconds": seconds}) + "\n")
    driver.stdin.flush()
    return Drive(**json.loads(driver.stdout.readline()))


# The server


def _settings(folder: Path) -> Settings:
    return load(env_file=None, data_dir=folder, sources={"plays": folder}, log_level="warning")


def serve(folder: Path) -> None:
    """The application on a free port of loopback; says which once its model is live."""
    settings = _settings(folder)
    configure(level=settings.log_level, log_format=settings.log_format)
    container = build(settings)
    app = create_app(container)
    container.live.look()
    body = json.dumps(container.serving.neighbours(song_id(0)), ensure_ascii=False, separators=(",", ":")).encode()

    @app.get(CONSTANT)
    async def constant() -> Response:
        return Response(body, media_type="application/json")

    # Before all others: a route is looked for in the order in which routes were added.
    app.router.routes.insert(0, app.router.routes.pop())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", access_log=False, log_config=None, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])


# The driver


class Connection(asyncio.Protocol):
    """One keep-alive connection: asks, waits for the whole answer, asks again until the time is over."""

    def __init__(self, requests: Sequence[bytes], *, first: int, until_s: float) -> None:
        self.times_s: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._next = first
        self._until_s = until_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's is not a subclass
        self._ask()

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _is_whole(self._received):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._received[:500].decode()))
            self._transport.close()
            return
        now_s = time.perf_counter()
        self.times_s.append(now_s - self._asked_s)
        self._received = b""
        if now_s < self._until_s:
            self._ask()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("The server hung up."))


LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def _is_whole(received: bytes) -> bool:
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    length = LENGTH.search(received, 0, head_end)
    if length is None:
        raise ValueError(received[:500])
    return len(received) >= head_end + 4 + int(length[1])


def _itself(connection: Connection) -> Connection:
    return connection


async def _driven(port: int, requests: Sequence[bytes], *, n_connections: int, seconds: float) -> Drive:
    loop = asyncio.get_running_loop()
    began_s, busy_s = time.perf_counter(), time.process_time()
    connections = [
        Connection(requests, first=31 * number, until_s=began_s + seconds) for number in range(n_connections)
    ]
    for connection in connections:
        await loop.create_connection(partial(_itself, connection), "127.0.0.1", port)
    await asyncio.gather(*(connection.ended for connection in connections))
    elapsed_s = time.perf_counter() - began_s
    times_ms = 1000 * np.array([time_s for connection in connections for time_s in connection.times_s])
    return Drive(
        n_requests=len(times_ms),
        requests_per_s=len(times_ms) / elapsed_s,
        p50_ms=float(np.percentile(times_ms, 50)),
        p99_ms=float(np.percentile(times_ms, 99)),
        driver_share=(time.process_time() - busy_s) / elapsed_s,
    )


def answer_drives(port: int, *, n_connections: int) -> None:
    """Drive as told, one line of JSON a drive, until the input ends."""
    _await_ready(port)
    for line in sys.stdin:
        told = json.loads(line)
        head = f"HTTP/1.1\r\nHost: segue\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        requests = [f"GET {path} {head}".encode() for path in told["paths"]]
        drive = uvloop.run(_driven(port, requests, n_connections=n_connections, seconds=told["seconds"]))
        print(json.dumps(asdict(drive)), flush=True)


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


if __name__ == "__main__":
    main()
