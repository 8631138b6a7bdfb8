"""Shadows of aliases and what servers saw of them, in SQL."""

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.domain.shadowing import Shadow, Tally


class SqlShadows:
    """One shadow an alias at most; one tally a server of each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, alias: str) -> Shadow | None:
        """The alias's shadow."""
        query = sa.select(tables.shadows).where(tables.shadows.c.alias == alias)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else Shadow(**row)

    def all(self) -> list[Shadow]:
        """Every shadow by alias."""
        query = sa.select(tables.shadows).order_by(tables.shadows.c.alias)
        return [Shadow(**row) for row in self._connection.execute(query).mappings()]

    def put(self, shadow: Shadow) -> None:
        """Store it in the place of another of its alias."""
        self.remove(shadow.alias)
        self._connection.execute(sa.insert(tables.shadows).values(asdict(shadow)))

    def remove(self, alias: str) -> bool:
        """Remove the alias's shadow with its tallies; whether there was one."""
        removed = self._connection.execute(sa.delete(tables.shadows).where(tables.shadows.c.alias == alias))
        return removed.rowcount == 1

    def tell(self, shadow_id: str, *, server_id: str, tally: Tally, at: datetime) -> bool:
        """Store what a server saw so far, in the place of what it told before; False when the shadow is gone."""
        found = sa.select(tables.shadows.c.id).where(tables.shadows.c.id == shadow_id).with_for_update(read=True)
        if self._connection.execute(found).first() is None:
            return False
        insert = insert_into(self._connection, tables.shadow_tallies).values(
            shadow_id=shadow_id, server_id=server_id, tally=tally, updated_at=at
        )
        told = {name: insert.excluded[name] for name in ("tally", "updated_at")}
        self._connection.execute(insert.on_conflict_do_update(index_elements=["shadow_id", "server_id"], set_=told))
        return True

    def tallies(self, shadow_id: str) -> list[tuple[Tally, datetime]]:
        """What each server told last, and when."""
        columns = tables.shadow_tallies.c
        query = sa.select(columns.tally, columns.updated_at).where(columns.shadow_id == shadow_id)
        return [(tally, at) for tally, at in self._connection.execute(query)]
