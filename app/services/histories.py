"""Histories: what users played since the import."""

import time
from collections.abc import Callable

from app.domain.errors import Unavailable
from app.domain.recommending import HeardSong
from app.domain.repositories import UnitsOfWork

DATABASE_PAUSE_S = 1.0
"""How long no request waits for a database that was just found away."""


class UserHistories:
    """The plays that were sent, by user."""

    def __init__(self, units: UnitsOfWork, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._monotonic = monotonic
        self._database_away_until = 0.0

    def recent(self, user_id: str, *, limit: int) -> list[HeardSong] | None:
        """The user's plays since the import, newest first; None while the database is away."""
        if self._monotonic() < self._database_away_until:
            return None
        try:
            with self._units.reading() as unit:
                return unit.plays.recent(user_id, limit=limit)
        except Unavailable:
            self._database_away_until = self._monotonic() + DATABASE_PAUSE_S
            return None

    def found(self) -> None:
        """The database was just reached: ask it again at once."""
        self._database_away_until = 0.0
