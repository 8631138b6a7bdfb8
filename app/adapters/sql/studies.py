"""Studies in SQL."""

from typing import Any

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.events import append_study
from app.adapters.sql.rows import Rows
from app.domain.training import Trainer
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import TrialRole, TrialState

_running = (
    sa.select(sa.func.count())
    .where(
        tables.trials.c.study_id == tables.studies.c.id,
        tables.trials.c.state == TrialState.RUNNING,
        sa.or_(~tables.studies.c.is_external, tables.trials.c.role != TrialRole.SEARCH),
    )
    .scalar_subquery()
)

_waits_for_a_worker = sa.exists().where(
    tables.trials.c.study_id == tables.studies.c.id,
    tables.trials.c.state == TrialState.WAITING,
    tables.trials.c.role != TrialRole.SEARCH,
)


class SqlStudies(Rows[Study]):
    """Studies; what is asked for in queries is copied out of the specification."""

    table = tables.studies
    kind = Study
    noun = "study"

    def add(self, value: Study) -> None:
        """Insert it, and the event that it is there."""
        super().add(value)
        append_study(self._connection, value)

    def save(self, value: Study) -> None:
        """Write every column of a study that this unit of work locked, and the event if state or best are new."""
        columns = self.table.c
        query = sa.select(columns.state, columns.best_trial_id).where(columns.id == value.id)
        before = self._connection.execute(query).one()
        super().save(value)
        if tuple(before) != (value.state, value.best_trial_id):
            append_study(self._connection, value)

    def columns(self, value: Study) -> dict[str, Any]:
        """The row of a study."""
        spec = value.spec
        return {
            **super().columns(value),
            "dataset_id": spec.dataset_id,
            "parallelism": spec.parallelism,
            "is_external": spec.trainer is Trainer.EXTERNAL,
        }

    def open_with_capacity(self, *, limit: int) -> list[str]:
        """Ids of queued and running studies in which a worker may run a trial, oldest first."""
        query = (
            sa.select(self.table.c.id)
            .where(self.table.c.state.in_([StudyState.QUEUED, StudyState.RUNNING]))
            .where(_running < self.table.c.parallelism)
            .where(sa.or_(~self.table.c.is_external, _waits_for_a_worker))
            .order_by(self.table.c.id)
            .limit(limit)
        )
        return list(self._connection.scalars(query))

    def lock_free(self, identity: str) -> Study | None:
        """The study, locked; None when another unit of work holds the lock."""
        return self.first(sa.select(self.table).where(self.table.c.id == identity).with_for_update(skip_locked=True))

    def delete(self, identity: str) -> None:
        """Remove a study that has no trials left."""
        self._connection.execute(sa.delete(self.table).where(self.table.c.id == identity))
