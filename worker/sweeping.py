"""Sweeps, now and then, files that no row keeps: what crashes left between a row and its files."""

import logging
import threading
import time
from collections.abc import Callable

SWEEP_EVERY_S = 3_600.0

_log = logging.getLogger(__name__)


class Sweeper:
    """Reaped like a queue, for it shares the turn of those: first at once, then once in `every_s`."""

    def __init__(
        self,
        sweep: Callable[[], int],
        *,
        removed: str = "the vectors of %d trial(s) that no row keeps",
        every_s: float = SWEEP_EVERY_S,
    ) -> None:
        self._sweep = sweep
        self._removed = removed
        self._every_s = every_s
        self._lock = threading.Lock()
        self._next_s = 0.0

    def reap(self) -> int:
        """Sweep if it is time. Nothing is taken back from anybody: always 0."""
        with self._lock:
            if time.monotonic() < self._next_s:
                return 0
            self._next_s = time.monotonic() + self._every_s
        n_swept = self._sweep()
        if n_swept:
            _log.info(f"Removed {self._removed}.", n_swept)
        return 0
