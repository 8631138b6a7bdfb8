"""The catalogue in SQL: one row a song, and one counter that gives each change its revision."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.domain.catalogue import CatalogueSong, Denial


class SqlCatalogue:
    """The catalogue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def advance(self, n_changes: int) -> int:
        """The first of so many revisions that are this unit of work's: others wait for it, so they come in order."""
        counter = tables.catalogue_revisions
        statement = sa.update(counter).values(revision=counter.c.revision + n_changes).returning(counter.c.revision)
        last: int = self._connection.execute(statement).scalar_one()
        return last - n_changes + 1

    def having(self, song_ids: Sequence[str]) -> dict[str, CatalogueSong]:
        """What is stored of these songs, by id."""
        query = sa.select(tables.catalogue_songs).where(tables.catalogue_songs.c.song_id.in_(song_ids))
        return {song.song_id: song for song in self._many(query)}

    def save(self, songs: Sequence[CatalogueSong]) -> None:
        """Insert or replace them."""
        insert = insert_into(self._connection, tables.catalogue_songs)
        columns = [column.name for column in tables.catalogue_songs.c if column.name != "song_id"]
        statement = insert.on_conflict_do_update(
            index_elements=["song_id"], set_={name: insert.excluded[name] for name in columns}
        )
        self._connection.execute(statement, [_columns(song) for song in songs])

    def changes(self, after: int, *, limit: int) -> list[CatalogueSong]:
        """Up to `limit` songs with a revision above `after`, by revision."""
        revision = tables.catalogue_songs.c.revision
        return self._many(sa.select(tables.catalogue_songs).where(revision > after).order_by(revision).limit(limit))

    def denied(self, *, limit: int, cursor: str | None) -> list[CatalogueSong]:
        """Up to `limit` denied songs after `cursor` (an id), by id."""
        columns = tables.catalogue_songs.c
        query = sa.select(tables.catalogue_songs).where(columns.denied_at.is_not(None))
        query = query.order_by(columns.song_id).limit(limit)
        return self._many(query if cursor is None else query.where(columns.song_id > cursor))

    def played_beside(self, song_id: str, *, gap_ms: int, n_plays: int, limit: int) -> dict[str, int]:
        """How often songs were played by the same users around the song's newest plays, the most often first."""
        plays = tables.plays
        own = (
            sa.select(plays.c.user_id, plays.c.played_at_ms)
            .where(plays.c.song_id == song_id)
            .order_by(plays.c.played_at_ms.desc())
            .limit(n_plays)
            .subquery()
        )
        near = plays.alias("near")
        counted = sa.func.count().label("n")
        query = (
            sa.select(near.c.song_id, counted)
            .select_from(own)
            .join(
                near,
                sa.and_(
                    near.c.user_id == own.c.user_id,
                    near.c.played_at_ms >= own.c.played_at_ms - gap_ms,
                    near.c.played_at_ms <= own.c.played_at_ms + gap_ms,
                ),
            )
            .where(near.c.song_id != song_id)
            .group_by(near.c.song_id)
            .order_by(counted.desc(), near.c.song_id)
            .limit(limit)
        )
        return {other: n for other, n in self._connection.execute(query)}

    def _many(self, query: sa.Select[Any]) -> list[CatalogueSong]:
        return [_value(row) for row in self._connection.execute(query).mappings()]


def _columns(song: CatalogueSong) -> dict[str, Any]:
    return {
        "song_id": song.song_id,
        "revision": song.revision,
        "updated_at": song.updated_at,
        "said": song.said,
        "denial_reason": None if song.denial is None else song.denial.reason,
        "denied_at": None if song.denial is None else song.denial.denied_at,
        "beside": song.beside,
        "beside_source": song.beside_source,
    }


def _value(row: RowMapping) -> CatalogueSong:
    denied_at = row["denied_at"]
    return CatalogueSong(
        song_id=row["song_id"],
        revision=row["revision"],
        updated_at=row["updated_at"],
        said=row["said"],
        denial=None if denied_at is None else Denial(reason=row["denial_reason"], denied_at=denied_at),
        beside=row["beside"],
        beside_source=row["beside_source"],
    )
