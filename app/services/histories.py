"""Histories: what users played since the import, from the cache where servers share one, else from SQL.

Every change of plays goes through `change`, which keeps the cache right whatever becomes of it: see
`app.domain.listeners` and the port `HistoryCache`.

    close the users in the cache ──► write, commit ──► open them ──► answer
      │ not certain                                     │ not certain
      └──► put the cache off for all servers, and wait until none has a permit ◄──┘
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.domain.errors import Unavailable
from app.domain.listeners import LEAST_OFF_S, OFF_S, OFF_WITHOUT_S, PERMIT_S
from app.domain.plays import RecentPlays
from app.domain.ports import FollowedListeners, HistoryCache
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import HistorySource

T = TypeVar("T")

DATABASE_PAUSE_S = 1.0
"""How long no request waits for a database that was just found away."""

MOST_SEEN = 10_000
"""Songs heard that are left out of one user's recommendations at most: the last ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """A user's plays since the import, None where nothing can tell, and where they were found."""

    plays: RecentPlays | None
    source: HistorySource


class UserHistories:
    """The plays that were sent, by user."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        listeners: FollowedListeners,
        cache: HistoryCache | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._units = units
        self._listeners = listeners
        self._cache = cache
        self._monotonic = monotonic
        self._sleep = sleep
        self._database_away_until = 0.0

    # Reading

    def recent(self, user_id: str, *, limit: int) -> Found:
        """The user's newest plays since the import."""
        epoch = None if self._cache is None else self._listeners.permit()
        ticket: str | None = None
        if self._cache is not None and epoch is not None:
            cached = self._cache.find(user_id, epoch=epoch)
            if isinstance(cached, RecentPlays) and (cached.is_whole or limit <= len(cached)):
                return Found(cached.newest(limit), "complete")
            ticket = cached if isinstance(cached, str) else None
        n_read = limit if ticket is None or self._cache is None else max(limit, self._cache.n_kept)
        plays = self._read(lambda: self._units.recent_plays(user_id, limit=n_read))
        if plays is None:
            return self._remembered(user_id, limit=limit)
        if self._cache is not None and epoch is not None and ticket is not None:
            self._cache.fill(user_id, plays, epoch=epoch, ticket=ticket)
        return Found(plays.newest(limit), "complete")

    def recent_of(self, user_ids: Sequence[str], *, limit: int) -> dict[str, RecentPlays]:
        """The newest plays of many users; those without any are absent. Raises: Unavailable."""
        with self._units.reading() as unit:
            return unit.plays.recent_of(user_ids, limit=limit)

    def songs_since(self, user_id: str, *, since_ms: int) -> list[str] | None:
        """The songs that the user did something with from an instant on; None while the database is away."""

        def read() -> list[str]:
            with self._units.reading() as unit:
                return unit.plays.songs_since(user_id, since_ms=since_ms, limit=MOST_SEEN)

        return self._read(read)

    def erased_at_ms(self, user_id: str) -> int | None:
        """When the user was erased; None when not. Raises: Unavailable when that was never learnt."""
        return self._listeners.erased_at_ms(user_id)

    def _read(self, read: Callable[[], T]) -> T | None:
        if self._monotonic() < self._database_away_until:
            return None
        try:
            return read()
        except Unavailable:
            self._database_away_until = self._monotonic() + DATABASE_PAUSE_S
            return None

    def _remembered(self, user_id: str, *, limit: int) -> Found:
        """What the cache knew last; nobody can add plays while the database is away."""
        epoch = self._listeners.last_epoch()
        if self._cache is not None and epoch is not None:
            cached = self._cache.find(user_id, epoch=epoch)
            if isinstance(cached, RecentPlays):
                return Found(cached.newest(limit), "cached")
        return Found(None, "dataset_only")

    # Writing

    def change(self, user_ids: Collection[str], write: Callable[[UnitOfWork], T], *, alone: bool = False) -> T:
        """Write something of these users and commit it, so that every server sees it in its next answer.

        `alone`: while nobody else writes. Raises: Unavailable, and whatever `write` raises.
        """
        while True:
            with self._units() as unit:
                if alone:
                    unit.listeners.lock()
                else:
                    unit.listeners.share()
                state = unit.listeners.cache()
                is_off = state is None or state.is_off(unit.now(), for_s=LEAST_OFF_S)
                epoch = None if is_off or state is None else state.epoch
                began = self._monotonic()
                if epoch is None:
                    written = write(unit)
                    unit.commit()
                    break
                if self._cache is not None and self._cache.close(user_ids, epoch=epoch):
                    try:
                        written = write(unit)
                    except BaseException:
                        self._cache.open(user_ids, epoch=epoch)
                        raise
                    unit.commit()  # where it fails nobody knows whether it was done: the users stay closed
                    break
            self._put_off()
        self._database_away_until = 0.0
        if epoch is not None and self._cache is not None:
            if not self._cache.open(user_ids, epoch=epoch):
                self._put_off()
        elif self._monotonic() - began > LEAST_OFF_S / 2:
            self._put_off()  # so slow that the cache may have been on again before the commit
        return written

    def _put_off(self) -> None:
        """Have no server use the cache for a while; returns when none does."""
        with self._units() as unit:
            unit.listeners.lock()
            now = unit.now()
            state = unit.listeners.cache()
            if state is None:
                return  # no server has a cache
            for_s = OFF_WITHOUT_S if self._cache is None else OFF_S
            unit.listeners.set_cache(state.put_off(now, for_s=for_s))
            was_off = state.is_off(now, for_s=PERMIT_S)
            unit.commit()
        if not was_off:
            self._sleep(PERMIT_S)
