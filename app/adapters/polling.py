"""Signals without a broker: threads of one program wake each other, all others find work by polling."""

import threading
import time


class PollingSignals:
    """A counter of wakes: a thread that waits returns at once when it missed one since its last wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_wakes = 0
        self._seen = threading.local()

    def wake(self) -> None:
        """Tell the waiting threads of this program."""
        with self._changed:
            self._n_wakes += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Return when woken, or after the timeout."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            seen = getattr(self._seen, "n_wakes", self._n_wakes)
            self._changed.wait_for(lambda: self._n_wakes > seen, max(0.0, deadline - time.monotonic()))
            self._seen.n_wakes = self._n_wakes

    def close(self) -> None:
        """Nothing is held."""
