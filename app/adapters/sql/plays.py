"""Plays that players sent, in SQL."""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.listeners import SongCount, StoredPlay
from app.domain.plays import EventType, Play, PlayVerdict, RecentPlays, recent_plays

TOLD = (
    tables.plays.c.song_id,
    tables.plays.c.played_at_ms,
    tables.plays.c.event_type,
    tables.plays.c.seconds_streamed,
    tables.plays.c.duration_s,
)
"""What a history is made of, as `recent_plays` takes it."""


def insert_into(connection: Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """The dialect's own insert, which knows `ON CONFLICT`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


class SqlPlays:
    """Plays."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, plays: Sequence[Play], *, received_at: datetime) -> list[PlayVerdict]:
        """Store those whose event id is new; one verdict a play, in order."""
        if not plays:
            return []
        # Sorted by event id, so that two batches that share events cannot wait for each other in a circle.
        first_of = {play.event_id: play for play in reversed(plays)}
        insert = insert_into(self._connection, tables.plays)
        stored = self._connection.execute(
            insert.on_conflict_do_nothing(index_elements=["event_id"]).returning(tables.plays.c.event_id),
            [
                {
                    "event_id": play.event_id,
                    "user_id": play.user_id,
                    "song_id": play.song_id,
                    "played_at_ms": play.played_at_ms,
                    "seconds_streamed": play.seconds_streamed,
                    "received_at": received_at,
                    "event_type": play.event_type,
                    "duration_s": play.duration_s,
                    "attribution": play.attribution,
                }
                for _, play in sorted(first_of.items())
            ],
        )
        new = set(stored.scalars())
        return [
            PlayVerdict.ACCEPTED if play.event_id in new and play is first_of[play.event_id] else PlayVerdict.DUPLICATE
            for play in plays
        ]

    def recent(self, user_id: str, *, limit: int) -> RecentPlays:
        """The user's newest plays, newest first (ties by event id)."""
        columns = tables.plays.c
        query = (
            sa.select(*TOLD)
            .where(columns.user_id == user_id)
            .order_by(columns.played_at_ms.desc(), columns.event_id.desc())
            .limit(limit + 1)
        )
        rows = [tuple(row) for row in self._connection.execute(query)]
        return recent_plays(rows[:limit], is_whole=len(rows) <= limit)

    def recent_of(self, user_ids: Sequence[str], *, limit: int) -> dict[str, RecentPlays]:
        """The same of many users; those without plays are absent."""
        columns = tables.plays.c
        place = (
            sa.func.row_number()
            .over(partition_by=columns.user_id, order_by=(columns.played_at_ms.desc(), columns.event_id.desc()))
            .label("place")
        )
        placed = sa.select(columns.user_id, *TOLD, place).where(columns.user_id.in_(user_ids)).subquery()
        query = (
            sa.select(*list(placed.c)[:-1])
            .where(placed.c.place <= limit + 1)
            .order_by(placed.c.user_id, placed.c.place)
        )
        rows_of: dict[str, list[tuple[str, int, str, float | None, float | None]]] = {}
        for user_id, *told in self._connection.execute(query):
            rows_of.setdefault(user_id, []).append((told[0], told[1], told[2], told[3], told[4]))
        return {user_id: recent_plays(rows[:limit], is_whole=len(rows) <= limit) for user_id, rows in rows_of.items()}

    def songs_since(self, user_id: str, *, since_ms: int, limit: int) -> list[str]:
        """Up to `limit` songs that the user did something with from an instant on, the last ones first."""
        columns = tables.plays.c
        last = sa.func.max(columns.played_at_ms)
        query = (
            sa.select(columns.song_id)
            .where(columns.user_id == user_id, columns.played_at_ms >= since_ms)
            .group_by(columns.song_id)
            .order_by(last.desc(), columns.song_id)
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())

    def page(self, user_id: str, *, limit: int, before: tuple[int, str] | None) -> list[StoredPlay]:
        """Up to `limit` plays before an instant and event id, newest first (ties by event id)."""
        columns = tables.plays.c
        query = (
            sa.select(
                columns.event_id,
                *TOLD,
                columns.attribution,
            )
            .where(columns.user_id == user_id)
            .order_by(columns.played_at_ms.desc(), columns.event_id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(sa.tuple_(columns.played_at_ms, columns.event_id) < sa.tuple_(*map(sa.literal, before)))
        return [StoredPlay(*row) for row in self._connection.execute(query)]

    def counts(self, user_id: str, *, limit: int) -> list[SongCount]:
        """How often the user played each song and when last, the `limit` most played first."""
        columns = tables.plays.c
        n_plays = sa.func.count()
        query = (
            sa.select(columns.song_id, n_plays, sa.func.max(columns.played_at_ms))
            .where(columns.user_id == user_id)
            .group_by(columns.song_id)
            .order_by(n_plays.desc(), columns.song_id)
            .limit(limit)
        )
        return [SongCount(*row) for row in self._connection.execute(query)]

    def among(self, user_id: str, plays: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of the plays (song id and instant, at most a thousand) that are stored as played by the user."""
        columns = tables.plays.c
        query = sa.select(columns.song_id, columns.played_at_ms).where(
            columns.user_id == user_id,
            columns.played_at_ms.in_({at_ms for _, at_ms in plays}),
            columns.event_type == EventType.PLAY,
        )
        return {(song_id, at_ms) for song_id, at_ms in self._connection.execute(query)} & set(plays)

    def n_of(self, user_id: str) -> int:
        """How many plays of the user are stored."""
        query = sa.select(sa.func.count()).where(tables.plays.c.user_id == user_id)
        return int(self._connection.execute(query).scalar_one())

    def delete_of(self, user_id: str) -> int:
        """Remove all plays of a user; how many there were."""
        return self._connection.execute(sa.delete(tables.plays).where(tables.plays.c.user_id == user_id)).rowcount
