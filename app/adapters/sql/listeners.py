"""Users to be forgotten, and whether histories may be cached, in SQL."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.domain.listeners import CacheState, Erasure

LOCK = 5_190_423_977
"""The number of the advisory lock on PostgreSQL; on SQLite there is one writer anyway."""

THE_ROW = 1

ERASED = sa.select(tables.erased_users.c.user_id, tables.erased_users.c.erased_at_ms).where(
    tables.erased_users.c.user_id.in_(sa.bindparam("user_ids", expanding=True))
)
"""Made once, for a user's first exposure waits for it."""


class SqlListeners:
    """See `app.domain.repositories.ListenerRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def share(self) -> None:
        """Wait for whoever holds `lock`, and keep it from others until this unit of work ends."""
        self._advise("pg_advisory_xact_lock_shared")

    def lock(self) -> None:
        """Wait for all who share or hold the lock, and keep them waiting until this unit of work ends."""
        self._advise("pg_advisory_xact_lock")

    def _advise(self, function: str) -> None:
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(getattr(sa.func, function)(LOCK)))

    def cache(self) -> CacheState | None:
        """Whether histories may be cached; None while no server has a cache."""
        columns = tables.history_cache.c
        row = self._connection.execute(sa.select(columns.epoch, columns.off_until)).first()
        return None if row is None else CacheState(epoch=row.epoch, off_until=row.off_until)

    def set_cache(self, state: CacheState) -> None:
        """Store it."""
        values = {"epoch": state.epoch, "off_until": state.off_until}
        insert = insert_into(self._connection, tables.history_cache).values(id=THE_ROW, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=values))

    def erased_at(self, user_ids: Collection[str]) -> dict[str, int]:
        """When those of the users that are to be forgotten were erased, in epoch milliseconds."""
        found = self._connection.execute(ERASED, {"user_ids": list(user_ids)})
        return {user_id: at_ms for user_id, at_ms in found}

    def erase(self, user_id: str, *, at: datetime) -> Erasure:
        """Note that the user is to be forgotten up to an instant; needs `lock`."""
        columns = tables.erased_users.c
        last = self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(columns.revision), 0))).scalar_one()
        values = {"erased_at_ms": int(at.timestamp() * 1000), "revision": last + 1}
        insert = insert_into(self._connection, tables.erased_users).values(user_id=user_id, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["user_id"], set_=values))
        return Erasure(user_id=user_id, **values)

    def erasures(self, *, after: int, limit: int) -> list[Erasure]:
        """Up to `limit` users with a revision above `after`, by revision."""
        columns = tables.erased_users.c
        query = (
            sa.select(columns.user_id, columns.erased_at_ms, columns.revision)
            .where(columns.revision > after)
            .order_by(columns.revision)
            .limit(limit)
        )
        return [Erasure(*row) for row in self._connection.execute(query)]
