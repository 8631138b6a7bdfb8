"""Plays that players send: stored once each, and counted in the next recommendation."""

from collections.abc import Sequence

from app.domain.errors import InvalidRequest
from app.domain.ports import Clock
from app.domain.recommending import MILLISECONDS_PER_DAY, Play, PlayVerdict, epoch_ms
from app.domain.repositories import UnitsOfWork
from app.domain.serving import PlaysAnswer
from app.services.histories import UserHistories

MAX_PLAYS_PER_BATCH = 1_000

CLOCK_SKEW_MS = int(MILLISECONDS_PER_DAY)
"""How far ahead of our clock a play may be: a player's clock errs by a time zone, not by years."""


class PlayService:
    """What the player tells. While the database is away plays are refused, for nothing would keep them."""

    def __init__(self, units: UnitsOfWork, *, histories: UserHistories, clock: Clock) -> None:
        self._units = units
        self._histories = histories
        self._clock = clock

    def add(self, plays: Sequence[Play]) -> PlaysAnswer:
        """Store plays, each once by its event id, however late or out of order; they count in the next request.

        Raises: InvalidRequest for an empty or too long batch or a play from the future, Unavailable.
        """
        if not 1 <= len(plays) <= MAX_PLAYS_PER_BATCH:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_PLAYS_PER_BATCH} plays, not {len(plays)}.", pointer="/plays"
            )
        now = self._clock.now()
        latest_ms = epoch_ms(now) + CLOCK_SKEW_MS
        for position, play in enumerate(plays):
            if play.played_at_ms > latest_ms:
                raise InvalidRequest(
                    "played_at is more than a day ahead of the service's clock.", pointer=f"/plays/{position}/played_at"
                )
        with self._units() as unit:
            verdicts = unit.plays.add(plays, received_at=now)
            unit.commit()
        self._histories.found()
        n_accepted = sum(verdict is PlayVerdict.ACCEPTED for verdict in verdicts)
        return PlaysAnswer(verdicts=verdicts, n_accepted=n_accepted, n_duplicate=len(verdicts) - n_accepted)
