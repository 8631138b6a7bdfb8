"""Segue's own programs, started and stopped as an operator does."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from app.config import Settings

STOP_TIMEOUT_S = 30
START_TIMEOUT_S = 90

ADDRESS = re.compile(r"Segue listens on (http://\S+),")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """This environment with the settings as variables; our own tests' other settings left out.

    So is what has a program measured for coverage: it would start in 9.4 seconds of processor time instead of 5.7.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEGUE_", "COVERAGE_PROCESS"))}
    fields = settings.model_dump(mode="json", exclude_none=True, exclude={"sources", "gates", "rate_limits"})
    told = {name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in fields.items()}
    named = {f"SEGUE_{name.upper()}": value for name, value in told.items()}
    sources = json.dumps({name: str(path) for name, path in settings.sources.items()})
    quotas = ",".join(f"{scope}={quota}" for scope, quota in settings.rate_limits.items()) or "none"
    named["SEGUE_RATE_LIMITS"] = quotas
    return kept | named | {"SEGUE_SOURCES": sources, "SEGUE_GATES": json.dumps(asdict(settings.gates))} | more


def until(is_so: Callable[[], bool], what: str, *, within_s: float = 60.0, every_s: float = 0.03) -> None:
    """Return once it is so. Raises: AssertionError when it takes too long."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            msg = f"Not within {within_s:g} s: {what}."
            raise AssertionError(msg)
        time.sleep(every_s)


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """`python -m worker` in a process group of its own."""
    return start_program(settings, "worker")


def start_program(
    settings: Settings, *arguments: str, log: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`python -m` with these arguments, in a process group of its own; what it writes is added to the log."""
    with ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("ab"))
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment(settings, **(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def stop(*started: subprocess.Popen[bytes]) -> None:
    """Ask all to stop, wait, and kill whatever does not, and what it started too."""
    below = [found for each in started for found in descendants(each.pid)]
    for each in started:
        with suppress(ProcessLookupError):
            each.send_signal(signal.SIGTERM)
    try:
        for each in started:
            each.wait(STOP_TIMEOUT_S)
    finally:
        for each in started:
            if each.poll() is None:
                each.kill()
                each.wait()
        for found in below:
            with suppress(psutil.NoSuchProcess):
                found.kill()


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for as long as the block runs, stopped with SIGTERM."""
    started = start_worker(settings)
    try:
        yield started
    finally:
        stop(started)


def kill(started: subprocess.Popen[bytes]) -> None:
    """`kill -9` of this one process; what it started is left to itself."""
    started.kill()
    started.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Every living process below this one."""
    try:
        return [found for found in psutil.Process(pid).children(recursive=True) if is_alive(found)]
    except psutil.NoSuchProcess:
        return []


def runners(worker_pid: int) -> list[psutil.Process]:
    """The warm runners of a worker, which wait for requests."""
    return [found for found in descendants(worker_pid) if found.ppid() == worker_pid]


def trial_children(worker_pid: int) -> list[psutil.Process]:
    """The processes in which a worker's work is done at this moment."""
    known = {runner.pid for runner in runners(worker_pid)}
    return [found for found in descendants(worker_pid) if _parent(found) in known]


def is_alive(found: psutil.Process) -> bool:
    """Whether it runs: a zombie, which only waits to be noticed, does not."""
    try:
        return bool(found.is_running() and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _parent(found: psutil.Process) -> int:
    try:
        return int(found.ppid())
    except psutil.NoSuchProcess:
        return 0


# The server


@dataclass(frozen=True)
class Server:
    """A running `segue serve`."""

    url: str
    leader: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """`kill -9`."""
        kill(self.leader)


def start_server(settings: Settings, *, port: int = 0, arguments: tuple[str, ...] = ()) -> Server:
    """`segue serve` on a free port or on this one; returns once it accepts connections."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        leader = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *arguments],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: leader.poll() is not None or ADDRESS.search(_text(log)) is not None, "the server listens")
        found = ADDRESS.search(_text(log))
        assert found is not None, _text(log)
        server = Server(url=found[1], leader=leader, log=log)
        until(lambda: leader.poll() is not None or _answers(server), "the server answers", within_s=START_TIMEOUT_S)
        assert leader.poll() is None, _text(log)
    except BaseException:
        stop(leader)
        raise
    return server


@contextmanager
def server(settings: Settings, *, port: int = 0, arguments: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server for as long as the block runs; killing it inside is fine."""
    started = start_server(settings, port=port, arguments=arguments)
    try:
        yield started
    finally:
        stop(started.leader)
        if sys.exc_info()[0] is not None:
            sys.stderr.write(_text(started.log))


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _answers(server: Server) -> bool:
    """Whether it answers a request: the socket listens before the application is there."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(12).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
