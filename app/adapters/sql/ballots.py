"""What users of interleaved lists played, in SQL: counted by user, then users by segment; no user is read."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.experiments.interleaving import Ballot, Votes
from app.domain.plays import EventType


class SqlBallots:
    """Ballots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, experiment_id: str, *, teams: tuple[str, str], until_ms: int) -> list[Ballot]:
        """By segment, those without one first; see the port."""
        users = _by_user(experiment_id, teams, until_ms).subquery()
        first, second = users.c.first, users.c.second
        query = (
            sa.select(
                users.c.segment,
                _n(second > first),
                _n(second < first),
                _n(sa.and_(second == first, first > 0)),
                _n(sa.and_(second == 0, first == 0)),
                sa.func.sum(first),
                sa.func.sum(second),
            )
            .group_by(users.c.segment)
            .order_by(users.c.segment.is_not(None), users.c.segment)
        )
        return [
            Ballot(
                segment=segment,
                votes=Votes(n_wins=int(wins), n_losses=int(losses), n_ties=int(ties), n_without=int(without)),
                n_plays=(int(n_first), int(n_second)),
            )
            for segment, wins, losses, ties, without, n_first, n_second in self._connection.execute(query)
        ]


def _by_user(experiment_id: str, teams: tuple[str, str], until_ms: int) -> sa.Select[Any]:
    """Segment and plays of either team's songs, one row a user."""
    exposed, played = tables.exposures.c, tables.plays.c
    named = [played.attribution.startswith(f"v1.{team}.", autoescape=True) for team in teams]
    counted = sa.and_(
        played.user_id == exposed.user_id,
        played.played_at_ms >= exposed.exposed_at_ms,
        played.played_at_ms < until_ms,
        played.event_type == EventType.PLAY,
        sa.or_(*named),
    )
    return (
        sa.select(exposed.user_id, exposed.segment, _n(named[0]).label("first"), _n(named[1]).label("second"))
        .select_from(tables.exposures.outerjoin(tables.plays, counted))
        .where(exposed.experiment_id == experiment_id, exposed.crossed_at_ms.is_(None))
        .group_by(exposed.user_id, exposed.segment)
    )


def _n(is_so: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """For how many rows it is so; never null."""
    return sa.func.coalesce(sa.func.sum(sa.case((is_so, 1), else_=0)), 0)
