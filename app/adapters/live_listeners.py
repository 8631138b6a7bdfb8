"""What a server follows of users, in a thread of its own: who is to be forgotten, and whether histories may be cached.

Some 100 bytes are kept of each user erased. While the database is away what was learnt last goes on, but for the permit
to use the cache, which lapses.
"""

import logging
import threading
import time
from collections.abc import Callable

from app.domain.errors import SegueError
from app.domain.listeners import PERMIT_S, ListenerChanges

POLL_S = 0.5
STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class LiveListeners:
    """The port `FollowedListeners`; `changes` is asked with the last revision that is known."""

    def __init__(
        self,
        changes: Callable[[int], ListenerChanges],
        *,
        poll_s: float = POLL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changes = changes
        self._poll_s = poll_s
        self._monotonic = monotonic
        self._erased: dict[str, int] = {}
        self._revision: int | None = None
        self._epoch: int | None = None
        self._last_epoch: int | None = None
        self._permit_until = 0.0
        self._is_away = False
        self._looking = threading.Lock()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def erased_at_ms(self, user_id: str) -> int | None:
        """When the user was erased; None when not. Raises: Unavailable when that was never learnt."""
        if self._revision is None:
            self._learn()
        return self._erased.get(user_id)

    def permit(self) -> int | None:
        """The epoch under which histories are cached now; None when they may not be, or that is not known."""
        return self._epoch if self._monotonic() < self._permit_until else None

    def last_epoch(self) -> int | None:
        """The last epoch known."""
        return self._last_epoch

    def start(self) -> None:
        """Follow, from now on."""
        if self._thread is None:
            self._is_stopping = False
            self._thread = threading.Thread(target=self._follow, name="live-listeners", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        if self._thread is not None:
            self._is_stopping = True
            self._wake.set()
            self._thread.join(STOP_TIMEOUT_S)
            self._thread = None

    def look(self) -> None:
        """Learn what changed. Raises nothing."""
        try:
            self._learn()
        except SegueError as error:
            if not self._is_away:  # once an outage, not once a poll
                _log.warning("Changes of users cannot be read (%s): what is known goes on.", error)
            self._is_away = True
        else:
            self._is_away = False

    def _learn(self) -> None:
        with self._looking:
            while True:
                began = self._monotonic()
                found = self._changes(self._revision or 0)
                for erasure in found.erasures:
                    self._erased[erasure.user_id] = erasure.erased_at_ms
                self._revision = max([self._revision or 0, *(erasure.revision for erasure in found.erasures)])
                if not found.erasures:
                    break
            self._last_epoch = self._epoch = found.epoch
            self._permit_until = began + PERMIT_S

    def _follow(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            self.look()
            if not self._is_stopping:
                self._wake.wait(self._poll_s)
