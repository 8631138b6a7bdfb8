"""Models, aliases and their moves in SQL."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.rows import LeasedRows
from app.domain.errors import Conflict
from app.domain.models import Alias, AliasMove, Model, ModelState


class SqlModels(LeasedRows[Model]):
    """Models."""

    table = tables.models
    kind = Model
    noun = "model"

    def next_claimable(self) -> Model | None:
        """The oldest model that waits to be built, locked."""
        return self.first(
            sa.select(self.table)
            .where(self.table.c.state == ModelState.BUILDING, self.table.c.lease_expires_at.is_(None))
            .order_by(self.table.c.id)
            .with_for_update(skip_locked=True)
        )

    def of_study(self, study_id: str) -> list[Model]:
        """The models promoted from a study, oldest first."""
        return self.many(sa.select(self.table).where(self.table.c.study_id == study_id).order_by(self.table.c.id))

    def has_waiting(self, *, since: datetime) -> bool:
        """Whether one that was asked for before that instant waits for a worker."""
        columns = self.table.c
        waits = (columns.state == ModelState.BUILDING, columns.lease_expires_at.is_(None), columns.created_at < since)
        return self._connection.execute(sa.select(columns.id).where(*waits).limit(1)).first() is not None


class SqlAliases:
    """Aliases: a pointer that only ever moves forward in generation, and an append-only record."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, name: str) -> Alias | None:
        """The alias, locked, or None."""
        query = sa.select(tables.aliases).where(tables.aliases.c.name == name).with_for_update()
        row = self._connection.execute(query).mappings().first()
        return None if row is None else Alias(**row)

    def all(self) -> list[Alias]:
        """Every alias by name."""
        query = sa.select(tables.aliases).order_by(tables.aliases.c.name)
        return [Alias(**row) for row in self._connection.execute(query).mappings()]

    def move(self, move: AliasMove) -> Alias:
        """Point the alias as the move says and record the move. Raises: Conflict when another move came first."""
        alias = Alias(name=move.alias, model_id=move.model_id, generation=move.generation, updated_at=move.moved_at)
        values = {"model_id": alias.model_id, "generation": alias.generation, "updated_at": alias.updated_at}
        if move.generation == 1:
            self._connection.execute(sa.insert(tables.aliases).values(name=alias.name, **values))
        else:
            columns = tables.aliases.c
            moved = self._connection.execute(
                sa.update(tables.aliases)
                .where(columns.name == alias.name, columns.generation == alias.generation - 1)
                .values(values)
            )
            if moved.rowcount != 1:
                raise Conflict(f"Alias {alias.name!r} was moved at the same moment: read it and try again.")
        self._connection.execute(
            sa.insert(tables.alias_moves).values(
                alias=move.alias,
                generation=move.generation,
                model_id=move.model_id,
                previous_model_id=move.previous_model_id,
                reason=move.reason,
                moved_at=move.moved_at,
            )
        )
        return alias

    def moves(self, name: str, *, limit: int, before: int | None = None) -> list[AliasMove]:
        """Up to `limit` moves with a generation below `before`, the last first."""
        columns = tables.alias_moves.c
        query = sa.select(tables.alias_moves).where(columns.alias == name)
        if before is not None:
            query = query.where(columns.generation < before)
        rows = self._connection.execute(query.order_by(columns.generation.desc()).limit(limit)).mappings()
        return [AliasMove(**row) for row in rows]
