"""Keeps a worker running beside the server: `python -m worker` in an operating-system process of its own."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
LIVED_WELL_S = 60.0
"""A worker that lived so long is restarted without much ado."""

WORKER = (sys.executable, "-m", "worker")

_log = logging.getLogger(__name__)


class WorkerKeeper:
    """Runs a worker between `__enter__` and `__exit__`; one that dies is started again, later each time."""

    def __init__(
        self, *, grace_s: float, command: Sequence[str] = WORKER, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._command = list(command)
        self._grace_s = grace_s
        self._first_pause_s = first_pause_s
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    def __enter__(self) -> "WorkerKeeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the worker to stop, give it its grace period, then end it."""
        self._stopping.set()
        with self._lock:
            worker = self._worker
        if worker is not None:
            worker.terminate()
            try:
                worker.wait(self._grace_s)
            except subprocess.TimeoutExpired:
                _log.warning("The worker did not stop within %.0f s: it is killed.", self._grace_s)
                worker.kill()
        self._thread.join()

    def _keep(self) -> None:
        pause_s = self._first_pause_s
        while (worker := self._started()) is not None:
            started_at_s = time.monotonic()
            code = worker.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_at_s >= LIVED_WELL_S:
                pause_s = self._first_pause_s
            _log.error("The worker ended with code %d; another starts in %.0f s.", code, pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _started(self) -> subprocess.Popen[bytes] | None:
        """A new worker, unless it is time to stop: whoever stops waits for the lock and so sees it."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self._worker = subprocess.Popen(self._command)  # noqa: S603 - our own module, no shell
            return self._worker
