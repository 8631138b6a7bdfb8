"""Plays that players sent, in SQL."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.recommending import HeardSong, Play, PlayVerdict

READ_AT_ONCE = 20_000
"""Plays held in memory while many are read."""


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
                }
                for _, play in sorted(first_of.items())
            ],
        )
        new = set(stored.scalars())
        return [
            PlayVerdict.ACCEPTED if play.event_id in new and play is first_of[play.event_id] else PlayVerdict.DUPLICATE
            for play in plays
        ]

    def received_since(self, instant: datetime) -> Iterator[list[Play]]:
        """The plays that came later, some at a time, in the order of their event ids."""
        columns = tables.plays.c
        names = ("event_id", "user_id", "song_id", "played_at_ms", "seconds_streamed")
        query = sa.select(*(columns[name] for name in names)).where(columns.received_at > instant)
        last = ""
        while True:
            page = query.where(columns.event_id > last).order_by(columns.event_id).limit(READ_AT_ONCE)
            plays = [Play(**row) for row in self._connection.execute(page).mappings()]
            if not plays:
                return
            yield plays
            last = plays[-1].event_id

    def recent(self, user_id: str, *, limit: int) -> list[HeardSong]:
        """The user's newest plays, newest first (ties by event id)."""
        columns = tables.plays.c
        query = (
            sa.select(columns.song_id, columns.played_at_ms)
            .where(columns.user_id == user_id)
            .order_by(columns.played_at_ms.desc(), columns.event_id.desc())
            .limit(limit)
        )
        return [HeardSong(song_id=song_id, played_at_ms=at) for song_id, at in self._connection.execute(query)]
