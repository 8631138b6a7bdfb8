"""How a worker stops: it claims no more, and its running work has until the end of a grace period."""

import threading
import time


class Stopping:
    """Told from a signal, asked by every slot."""

    def __init__(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._asked = threading.Event()
        self._over_at_s: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the worker shall stop."""
        return self._asked.is_set()

    @property
    def is_grace_over(self) -> bool:
        """Whether running work is to be handed back."""
        return self._over_at_s is not None and time.monotonic() >= self._over_at_s

    def ask(self) -> None:
        """Stop; asked again, at once."""
        grace_s = self._grace_s if self._over_at_s is None else 0.0
        self._over_at_s = time.monotonic() + grace_s
        self._asked.set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when asked to stop, or after the timeout."""
        self._asked.wait(timeout_s)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the grace period."""
        if self._over_at_s is None:
            self._asked.wait(seconds)
        else:
            time.sleep(max(0.0, min(seconds, self._over_at_s - time.monotonic())))
