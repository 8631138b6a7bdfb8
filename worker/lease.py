"""Keeping a lease: a thread that reports that the worker is alive, and the worker's own idea of when the lease ends.

The worker counts from the moment before it asked, by its monotonic clock, so it believes a lease over before anybody
else does: clocks that step, and a database that is away, never let two workers run the same attempt.
"""

import logging
import threading
import time
from collections.abc import Callable

from app.domain.errors import LostLease, StorageFull, Unavailable
from app.domain.lease import HeartbeatAnswer, Progress

TELL_EVERY_S = 1.0
"""Progress is written at most this often."""

LONGEST_SILENCE_S = 5.0
"""Heartbeats without progress to tell come this often, or three times a lease: so soon a cancelled study is noticed."""

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 2.0

_log = logging.getLogger(__name__)

Beat = Callable[[Progress | None], HeartbeatAnswer]


def heartbeat_interval_s(lease_s: float) -> float:
    """Seconds between heartbeats that tell nothing new, where they are not set."""
    return min(lease_s / 3, LONGEST_SILENCE_S)


class Pulse:
    """Heartbeats of one piece of work, from `start` to `stop`."""

    def __init__(
        self,
        beat: Beat,
        *,
        lease_s: float,
        claimed_at_s: float,
        interval_s: float | None = None,
        tell_every_s: float = TELL_EVERY_S,
    ) -> None:
        self._beat = beat
        self._lease_s = lease_s
        self._longest_s = interval_s or heartbeat_interval_s(lease_s)
        self._tell_every_s = tell_every_s
        self._ends_at_s = claimed_at_s + lease_s
        self._claimed_at_s = claimed_at_s
        self._pause_s = 0.0
        self._changed = threading.Condition()
        self._progress: Progress | None = None
        self._is_told = True
        self._is_stopped = False
        self._answer = HeartbeatAnswer.CONTINUE
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    @property
    def answer(self) -> HeartbeatAnswer:
        """What the last heartbeat was answered."""
        return self._answer

    @property
    def has_lapsed(self) -> bool:
        """Whether the lease may be over, as far as the worker can know."""
        return time.monotonic() >= self._ends_at_s

    def start(self) -> None:
        """Begin to report; at once when the claim took long, as one may in which a point is suggested."""
        if time.monotonic() >= self._claimed_at_s + self._interval_s():
            self._renew()
        self._thread.start()

    def note(self, progress: Progress) -> None:
        """Report this next."""
        with self._changed:
            self._progress = progress
            self._is_told = False
            self._changed.notify()

    def stop(self) -> None:
        """Report no more. A heartbeat that hangs in the database is left to itself."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(FIRST_RETRY_S)

    def _run(self) -> None:
        last_s = time.monotonic()
        while self._answer is HeartbeatAnswer.CONTINUE and self._wait(last_s):
            last_s = time.monotonic()
            self._renew()

    def _renew(self) -> None:
        """One heartbeat; a pause is kept before the next one if it fails."""
        asked_at_s = time.monotonic()
        with self._changed:
            progress, self._is_told = self._progress, True
        try:
            answer = self._beat(progress)
        except (Unavailable, StorageFull) as error:
            self._pause_s = _longer(self._pause_s)
            self._is_told = False
            if not self._is_stopped:
                _log.warning("A heartbeat failed and is tried again in %.1f s: %s", self._pause_s, error)
            return
        except LostLease as error:
            _log.warning("A heartbeat was refused: %s", error)
            answer = HeartbeatAnswer.LOST
        except Exception:
            self._pause_s = _longer(self._pause_s)
            _log.exception("A heartbeat failed and is tried again in %.1f s.", self._pause_s)
            return
        self._pause_s = 0.0
        self._answer = answer
        if answer is HeartbeatAnswer.CONTINUE:
            self._ends_at_s = asked_at_s + self._lease_s

    def _wait(self, last_s: float) -> bool:
        """Wait for the next heartbeat's time; False when there shall be none."""
        with self._changed:
            while not self._is_stopped:
                remaining_s = last_s + (self._pause_s or self._interval_s()) - time.monotonic()
                if remaining_s <= 0:
                    return True
                self._changed.wait(remaining_s)
            return False

    def _interval_s(self) -> float:
        return self._longest_s if self._is_told else min(self._tell_every_s, self._longest_s)


def _longer(pause_s: float) -> float:
    return min(max(FIRST_RETRY_S, 2 * pause_s), LONGEST_RETRY_S)
