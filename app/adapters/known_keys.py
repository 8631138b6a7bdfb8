"""The keys that a server knows: a copy of those that may be used, read again every second.

    request ──► copy in memory ◄── every poll_s ── database
        └─ used ──► noted in memory ── at most once a minute a key ──► database

So no request reads the database for its key, and a key that was made or revoked is so on every server within two
seconds. While the database is away, the copy stands, for `outlives_s` at most.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from app.domain.errors import SegueError, Unavailable
from app.domain.keys import ApiKey, Keyring, Scope

POLL_S = 1.0

NOTE_EVERY_S = 60.0
"""A key's last use is written at most so often."""

STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class KnownKeys:
    """See the module header. Asked on the event loop: a dictionary, one SHA-256 and one comparison."""

    def __init__(
        self,
        *,
        usable: Callable[[], Sequence[ApiKey]],
        note_use: Callable[[Mapping[str, datetime]], None],
        outlives_s: float,
        poll_s: float = POLL_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._usable = usable
        self._note_use = note_use
        self._outlives_s = outlives_s
        self._poll_s = poll_s
        self._monotonic = monotonic
        self._wall = wall
        self._keyring = Keyring(())
        self._good_until = float("-inf")
        self._used: dict[str, float] = {}
        self._noted_at: dict[str, float] = {}
        self._is_away = False
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def scopes(self, identity: str, secret: str) -> frozenset[Scope] | None:
        """What a key grants, None when there is no such key. Raises: Unavailable when that cannot be known."""
        if self._monotonic() > self._good_until:
            raise Unavailable("The keys cannot be read at present.")
        found = self._keyring.scopes(identity, secret)
        if found is not None:
            self._used[identity] = self._wall()
        return found

    def start(self) -> None:
        """Read the keys, and from now on again and again in a thread of its own."""
        self._stopping.clear()
        self.look()
        self._thread = threading.Thread(target=self._follow, name="known-keys", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow them no longer, and note what was used."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        self._thread = None

    def look(self) -> None:
        """Read the keys now. Raises nothing: what was known stands until it is too old."""
        with self._looking:
            asked_at = self._monotonic()
            try:
                keyring = Keyring(self._usable())
            except SegueError as error:
                if not self._is_away:  # once an outage
                    _log.warning("The keys cannot be read, those that are known go on: %s", error)
                self._is_away = True
                return
            self._is_away = False
            self._keyring = keyring
            self._good_until = asked_at + self._outlives_s

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self.look()
                self.note(every_s=NOTE_EVERY_S)
            except Exception:  # the thread must outlive what nobody foresaw: without it nothing is ever revoked
                _log.exception("keys_not_followed")
        self.note(every_s=0.0)

    def note(self, *, every_s: float) -> None:
        """Write down when keys were used whose last note is `every_s` old; those that cannot be are kept for later."""
        now = self._monotonic()
        due = {
            identity: at
            for identity, at in list(self._used.items())
            if now - self._noted_at.get(identity, float("-inf")) >= every_s
        }
        if not due or self._is_away:
            return
        try:
            self._note_use({identity: datetime.fromtimestamp(at, UTC) for identity, at in due.items()})
        except SegueError as error:
            _log.warning("The last use of keys was not noted: %s", error)
            return
        for identity, at in due.items():
            self._noted_at[identity] = now
            if self._used.get(identity) == at:
                del self._used[identity]
