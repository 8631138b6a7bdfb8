"""Tables of neighbours in SQL."""

from collections.abc import Collection

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.rows import LeasedRows
from app.domain.neighbour_tables import NeighbourTable, TableState


class SqlNeighbourTables(LeasedRows[NeighbourTable]):
    """Tables of neighbours."""

    table = tables.neighbour_tables
    kind = NeighbourTable
    noun = "table"

    def next_claimable(self) -> NeighbourTable | None:
        """The oldest table that waits and that nobody else is claiming, locked."""
        return self.first(
            sa.select(self.table)
            .where(self.table.c.state == TableState.WAITING)
            .order_by(self.table.c.id)
            .with_for_update(skip_locked=True)
        )

    def of_model(self, model_id: str) -> NeighbourTable | None:
        """The model's table, locked, if it has one."""
        return self.first(sa.select(self.table).where(self.table.c.model_id == model_id).with_for_update())

    def of_models(self, model_ids: Collection[str]) -> list[NeighbourTable]:
        """The tables of these models."""
        return self.many(sa.select(self.table).where(self.table.c.model_id.in_(model_ids)).order_by(self.table.c.id))

    def having(self, identities: Collection[str]) -> list[NeighbourTable]:
        """Those of the tables with these ids that there are."""
        return self.many(sa.select(self.table).where(self.table.c.id.in_(identities)).order_by(self.table.c.id))

    def delete(self, identity: str) -> None:
        """Remove a table's row."""
        self._connection.execute(sa.delete(self.table).where(self.table.c.id == identity))
