"""Starts and stops the service that the demo talks to: `segue serve --with-worker` in a process group of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 25.0
TAIL_BYTES = 4000


class DemoFailed(Exception):
    """The demo cannot go on; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service; it leads a process group that its worker belongs to."""

    url: str
    key: str = field(repr=False)
    log: Path
    leader: subprocess.Popen[bytes]


def free_port(wanted: int) -> int:
    """The wanted port, or another one if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed("No port is free on 127.0.0.1.")


def start(*, data_dir: Path, port: int, slots: int) -> Service:
    """Start the service on SQLite in `data_dir` and wait until it answers. Raises: DemoFailed."""
    port = free_port(port)
    log = data_dir / "service.log"
    variables = _environment(os.environ, data_dir=data_dir, slots=slots)
    key = _new_key(variables)
    with log.open("wb") as output:
        leader = subprocess.Popen(  # noqa: S603 - our own command line, no shell
            [sys.executable, "-m", "app.cli", "serve", "--with-worker", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=variables,
        )
    service = Service(url=f"http://127.0.0.1:{port}", key=key, log=log, leader=leader)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if leader.poll() is not None:
            raise DemoFailed(f"The service ended with code {leader.returncode}:\n{tail(log)}")
        try:
            if httpx2.get(f"{service.url}/health/live", timeout=2).status_code == httpx2.codes.OK:
                return service
        except httpx2.TransportError:
            time.sleep(0.1)
    stop(service)
    raise DemoFailed(f"The service did not answer within {START_TIMEOUT_S:.0f} s:\n{tail(log)}")


def _new_key(variables: Mapping[str, str]) -> str:
    """A key for everything, made as an operator makes one. Raises: DemoFailed."""
    made = subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "--name", "demo", "--scope", "admin"],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise DemoFailed(f"No key could be made:\n{made.stderr}")
    return made.stdout.strip()


def _environment(inherited: Mapping[str, str], *, data_dir: Path, slots: int) -> dict[str, str]:
    """The user's environment without the user's Segue: the demo touches no other database."""
    kept = {name: value for name, value in inherited.items() if not name.upper().startswith("SEGUE_")}
    return kept | {
        "SEGUE_DATA_DIR": str(data_dir),
        "SEGUE_DATABASE_URL": f"sqlite:///{data_dir / 'segue.db'}",
        "SEGUE_WORKER_SLOTS": str(slots),
        "SEGUE_POLL_INTERVAL_S": "0.2",
        "SEGUE_ALIAS_POLL_S": "0.2",
    }


def stop(service: Service) -> None:
    """Stop the service and its worker, gently first; whatever of the group is left then is killed."""
    service.leader.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        service.leader.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(service.leader.pid, signal.SIGKILL)
    service.leader.wait()


def tail(log: Path) -> str:
    """The last lines of a log."""
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
