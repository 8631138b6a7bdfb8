"""Segue's own programs, started and stopped as an operator does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.config import Settings

STOP_TIMEOUT_S = 30


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """This environment with the settings as variables; our own tests' other settings left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
    fields = settings.model_dump(mode="json", exclude_none=True, exclude={"sources"})
    named = {f"SEGUE_{name.upper()}": str(value) for name, value in fields.items()}
    sources = "{" + ",".join(f'"{name}":"{path}"' for name, path in settings.sources.items()) + "}"
    return kept | named | {"SEGUE_SOURCES": sources} | more


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """`python -m worker` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "worker"], env=environment(settings), start_new_session=True, stdin=subprocess.DEVNULL
    )


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for as long as the block runs, stopped with SIGTERM."""
    started = start_worker(settings)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(STOP_TIMEOUT_S)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()
