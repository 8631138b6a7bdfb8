"""Experiments in SQL."""

from typing import Any

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.rows import Rows
from app.domain.errors import NotFound
from app.domain.experiments.experiment import LIVE_STATES, Experiment, ExperimentState

LOCK = 6_190_423_981
"""The number of the advisory lock on PostgreSQL; on SQLite there is one writer anyway."""

STANDING = sa.select(tables.experiments.c.state, tables.experiments.c.version).where(
    tables.experiments.c.id == sa.bindparam("id")
)
"""Made once: every first exposure reads it."""


class SqlExperiments(Rows[Experiment]):
    """Experiments; what is asked for in queries is copied out of the specification."""

    table = tables.experiments
    kind = Experiment
    noun = "experiment"

    def columns(self, value: Experiment) -> dict[str, Any]:
        """The row of an experiment."""
        return {**super().columns(value), "name": value.spec.name, "layer": value.spec.layer}

    def in_states(self, *states: ExperimentState) -> list[Experiment]:
        """Those in one of these states, oldest first."""
        columns = self.table.c
        return self.many(sa.select(self.table).where(columns.state.in_(states)).order_by(columns.id))

    def standing(self, identity: str) -> tuple[ExperimentState, int]:
        """Its state and version. Raises: NotFound."""
        row = self._connection.execute(STANDING, {"id": identity}).first()
        if row is None:
            raise NotFound(self.noun, identity)
        return row.state, row.version

    def live_in_layer(self, layer: str) -> list[Experiment]:
        """The running and paused ones of a layer, oldest first; nobody else gives its buckets out meanwhile."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        columns = self.table.c
        is_live = (columns.layer == layer, columns.state.in_(LIVE_STATES))
        return self.many(sa.select(self.table).where(*is_live).order_by(columns.id))

    def delete(self, identity: str) -> None:
        """Remove one that has no exposures."""
        self._connection.execute(sa.delete(self.table).where(self.table.c.id == identity))
