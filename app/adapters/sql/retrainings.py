"""Retrainings in SQL."""

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.adapters.sql.rows import Rows
from app.domain.retraining import UNDER_WAY, Retraining


class SqlRetrainings(Rows[Retraining]):
    """Retrainings."""

    table = tables.retrainings
    kind = Retraining
    noun = "retraining"

    def under_way(self) -> list[Retraining]:
        """Those that have not ended, oldest first."""
        return self.many(sa.select(self.table).where(self.table.c.state.in_(UNDER_WAY)).order_by(self.table.c.id))

    def latest_of(self, alias: str) -> Retraining | None:
        """The alias's last one, whatever became of it."""
        return self.first(sa.select(self.table).where(self.table.c.alias == alias).order_by(self.table.c.id.desc()))

    def of_dataset(self, dataset_id: str) -> Retraining | None:
        """The one that made the dataset."""
        return self.first(sa.select(self.table).where(self.table.c.dataset_id == dataset_id).order_by(self.table.c.id))

    def add_tick(self, value: Retraining) -> bool:
        """Insert one that a schedule asks for; False when another worker did."""
        insert = insert_into(self._connection, self.table).values(self.columns(value))
        new = insert.on_conflict_do_nothing(index_elements=["alias", "tick_at"]).returning(self.table.c.id)
        return self._connection.execute(new).first() is not None
