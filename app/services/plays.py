"""Plays that players send: stored once each, and counted in the next recommendation of every server."""

from collections.abc import Sequence
from functools import partial

from app.domain.errors import InvalidRequest
from app.domain.plays import Play, PlayVerdict, Rejection
from app.domain.ports import Clock
from app.domain.recommending import MILLISECONDS_PER_DAY, epoch_ms
from app.domain.repositories import UnitOfWork
from app.domain.serving import PlaysAnswer
from app.services.histories import UserHistories

MAX_PLAYS_PER_BATCH = 10_000

CLOCK_SKEW_MS = int(MILLISECONDS_PER_DAY)
"""How far ahead of our clock a play may be: a player's clock errs by a time zone, not by years."""

IN_THE_FUTURE = Rejection("in_the_future", "played_at", "played_at is more than a day ahead of the service's clock.")
ERASED_USER = Rejection("erased_user", "user_id", "The user was erased after this play: it is not taken up again.")


class PlayService:
    """What the player tells. While the database is away plays are refused, for nothing would keep them."""

    def __init__(self, histories: UserHistories, *, clock: Clock) -> None:
        self._histories = histories
        self._clock = clock

    def add(self, plays: Sequence[Play | Rejection]) -> PlaysAnswer:
        """Store plays, each once by its event id, however late or out of order; they count in the next request.

        What was rejected before it came here is told in its place. Raises: InvalidRequest for an empty or too long
        batch, Unavailable.
        """
        if not 1 <= len(plays) <= MAX_PLAYS_PER_BATCH:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_PLAYS_PER_BATCH} plays, not {len(plays)}.", pointer="/plays"
            )
        latest_ms = epoch_ms(self._clock.now()) + CLOCK_SKEW_MS
        rejections: dict[int, Rejection] = {}
        taken: dict[int, Play] = {}
        for position, play in enumerate(plays):
            if isinstance(play, Rejection):
                rejections[position] = play
            elif play.played_at_ms > latest_ms:
                rejections[position] = IN_THE_FUTURE
            else:
                taken[position] = play
        verdicts = dict.fromkeys(range(len(plays)), PlayVerdict.REJECTED)
        if taken:
            users = {play.user_id for play in taken.values()}
            stored, erased = self._histories.change(users, partial(self._store, taken))
            verdicts |= stored
            rejections |= dict.fromkeys(erased, ERASED_USER)
        n_of = {verdict: sum(found is verdict for found in verdicts.values()) for verdict in PlayVerdict}
        return PlaysAnswer(
            verdicts=list(verdicts.values()),
            rejections=rejections,
            n_accepted=n_of[PlayVerdict.ACCEPTED],
            n_duplicate=n_of[PlayVerdict.DUPLICATE],
            n_rejected=n_of[PlayVerdict.REJECTED],
        )

    def _store(self, taken: dict[int, Play], unit: UnitOfWork) -> tuple[dict[int, PlayVerdict], list[int]]:
        """Verdicts by position, and the positions of plays whose user is to be forgotten."""
        erased_at_ms = unit.listeners.erased_at({play.user_id for play in taken.values()})
        erased = [
            position for position, play in taken.items() if play.played_at_ms <= erased_at_ms.get(play.user_id, -1)
        ]
        left_out = set(erased)
        stored = {position: play for position, play in taken.items() if position not in left_out}
        verdicts = unit.plays.add(list(stored.values()), received_at=self._clock.now())
        return dict(zip(stored, verdicts, strict=True)), erased
