"""Trials in SQL: the rows are the queue."""

from collections.abc import Collection, Mapping
from datetime import datetime

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.events import append_trial
from app.adapters.sql.rows import LeasedRows
from app.domain.tuning.trial import Origin, Trial, TrialRole, TrialState

_turn = sa.case(
    {
        TrialRole.BASELINE.value: 0,
        TrialRole.SEARCH.value: 1,
        TrialRole.CONFIRMATION.value: 2,
        TrialRole.REPLICATE.value: 3,
        TrialRole.TRANSFER.value: 4,
    },
    value=sa.cast(tables.trials.c.role, sa.String),
)

_line = sa.case({Origin.WARM_START.value: 1}, value=sa.cast(tables.trials.c.origin, sa.String), else_=0)


class SqlTrials(LeasedRows[Trial]):
    """Trials."""

    table = tables.trials
    kind = Trial
    noun = "trial"

    def add(self, value: Trial) -> None:
        """Insert it, and the event that it is there."""
        super().add(value)
        append_trial(self._connection, value)

    def save(self, value: Trial) -> None:
        """Write every column of a trial whose study this unit of work locked, and the event if its state is new."""
        state = self._connection.scalar(sa.select(self.table.c.state).where(self.table.c.id == value.id))
        super().save(value)
        if state is not value.state:
            append_trial(self._connection, value)

    def of_study(self, study_id: str, *, role: TrialRole | None = None) -> list[Trial]:
        """All trials of a study in the order they were made."""
        return self.many(self._of_study(study_id, role))

    def page_of_study(self, study_id: str, *, role: TrialRole | None, limit: int, cursor: str | None) -> list[Trial]:
        """Up to `limit` trials after `cursor` (an id), oldest first."""
        query = self._of_study(study_id, role).limit(limit)
        return self.many(query if cursor is None else query.where(self.table.c.id > cursor))

    def _of_study(self, study_id: str, role: TrialRole | None) -> sa.Select[tuple[object, ...]]:
        query = sa.select(self.table).where(self.table.c.study_id == study_id).order_by(self.table.c.id)
        return query if role is None else query.where(self.table.c.role == role)

    def in_state(self, study_id: str, state: TrialState) -> list[Trial]:
        """The study's trials in one state, in the order they were made."""
        return self.many(self._of_study(study_id, None).where(self.table.c.state == state))

    def next_waiting(self, study_id: str, *, by: datetime | None = None, role: TrialRole | None = None) -> Trial | None:
        """The study's first waiting trial, locked: baselines, then the search, then the confirmation.

        The search by number, a warm start's points last. `by` leaves out those that may not be begun before a later
        instant.
        """
        columns = self.table.c
        query = sa.select(self.table).where(columns.study_id == study_id, columns.state == TrialState.WAITING)
        if by is not None:
            query = query.where(sa.or_(columns.not_before.is_(None), columns.not_before <= by))
        if role is not None:
            query = query.where(columns.role == role)
        return self.first(query.order_by(_turn, _line, columns.number).with_for_update(skip_locked=True))

    def held_by(self, study_id: str, holder: str) -> Trial | None:
        """The trial of the study's search that this client holds, locked."""
        columns = self.table.c
        return self.first(
            sa.select(self.table)
            .where(columns.study_id == study_id, columns.role == TrialRole.SEARCH)
            .where(columns.state == TrialState.RUNNING, columns.worker_id == holder)
            .where(columns.lease_token_sha256.is_not(None))
            .order_by(columns.number)
            .with_for_update()
        )

    def delete_of_study(self, study_id: str) -> None:
        """Remove all trials of a study."""
        self._connection.execute(sa.delete(self.table).where(self.table.c.study_id == study_id))

    def having(self, identities: Collection[str]) -> list[Trial]:
        """Those of the trials with these ids that there are."""
        return self.many(sa.select(self.table).where(self.table.c.id.in_(identities)).order_by(self.table.c.id))

    def counts(self, study_id: str) -> Mapping[tuple[TrialRole, TrialState], int]:
        """How many trials stand in each role and state; absent means none."""
        columns = self.table.c
        rows = self._connection.execute(
            sa.select(columns.role, columns.state, sa.func.count())
            .where(columns.study_id == study_id)
            .group_by(columns.role, columns.state)
        )
        return {(role, state): n for role, state, n in rows}
