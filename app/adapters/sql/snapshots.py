"""Snapshots of experiments in SQL: one row for each experiment and cut, the newest pass alone."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.moments import Steps
from app.domain.experiments.outcomes import Group, Outcomes
from app.domain.experiments.snapshots import Snapshot, Timing

MOST_CUTS = 8
"""So many cuts of an experiment are kept, those made last: clients choose them."""

NO_CUT = ""
"""What is stored where there is none; no cut is empty."""

StepsByGroup = Mapping[Group, Steps]


class SqlSnapshots:
    """Snapshots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, experiment_id: str, cut: str | None) -> Snapshot | None:
        """What is kept."""
        columns = tables.experiment_snapshots.c
        query = sa.select(tables.experiment_snapshots).where(
            columns.experiment_id == experiment_id, columns.cut == (cut or NO_CUT), columns.found.is_not(None)
        )
        row = self._connection.execute(query).mappings().first()
        if row is None:
            return None
        found = row["found"]
        return Snapshot(
            experiment_id=experiment_id,
            cut=cut,
            timing=_timing(row),
            outcomes=Outcomes(
                first_day=found["first_day"],
                n_days=found["n_days"],
                steps={name: _steps_of(groups) for name, groups in found["steps"].items()},
                active=_steps_of(found["active"]),
            ),
            revisions=[RevisionCount(*each) for each in found["revisions"]],
        )

    def timings(self, experiment_id: str) -> dict[str | None, Timing]:
        """Of those that are kept, by cut."""
        columns = tables.experiment_snapshots.c
        query = sa.select(columns.cut, columns.until, columns.made_at, columns.took_s).where(
            columns.experiment_id == experiment_id, columns.found.is_not(None)
        )
        return {row["cut"] or None: _timing(row) for row in self._connection.execute(query).mappings()}

    def claim(self, experiment_id: str, cut: str | None, *, at: datetime, until: datetime) -> bool:
        """Take the making of one on, up to an instant, unless somebody has; whether it was taken."""
        table = tables.experiment_snapshots
        insert = insert_into(self._connection, table).values(
            experiment_id=experiment_id, cut=cut or NO_CUT, claimed_until=until
        )
        is_free = sa.or_(table.c.claimed_until.is_(None), table.c.claimed_until <= at)
        claim = insert.on_conflict_do_update(
            index_elements=["experiment_id", "cut"], set_={"claimed_until": until}, where=is_free
        ).returning(table.c.experiment_id)
        return self._connection.execute(claim).first() is not None

    def keep(self, snapshot: Snapshot) -> None:
        """Keep it in place of one that reads less far or was made before; whoever took it on is done."""
        table = tables.experiment_snapshots
        timing, outcomes = snapshot.timing, snapshot.outcomes
        found = {
            "first_day": outcomes.first_day,
            "n_days": outcomes.n_days,
            "steps": {name: _plain(groups) for name, groups in outcomes.steps.items()},
            "active": _plain(outcomes.active),
            "revisions": [astuple(each) for each in snapshot.revisions],
        }
        row = {"until": timing.until, "made_at": timing.made_at, "took_s": timing.took_s, "found": found}
        insert = insert_into(self._connection, table).values(
            experiment_id=snapshot.experiment_id, cut=snapshot.cut or NO_CUT, **row
        )
        columns = table.c
        is_newer = sa.or_(
            columns.found.is_(None),
            columns.until < timing.until,
            sa.and_(columns.until == timing.until, columns.made_at <= timing.made_at),
        )
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["experiment_id", "cut"], set_={**row, "claimed_until": None}, where=is_newer
            )
        )
        self._forget(snapshot.experiment_id)

    def _forget(self, experiment_id: str) -> None:
        columns = tables.experiment_snapshots.c
        is_cut = (columns.experiment_id == experiment_id, columns.cut != NO_CUT)
        newest = sa.select(columns.cut).where(*is_cut, columns.found.is_not(None)).order_by(columns.made_at.desc())
        self._connection.execute(
            sa.delete(tables.experiment_snapshots).where(
                *is_cut, columns.found.is_not(None), columns.cut.not_in(newest.limit(MOST_CUTS))
            )
        )


def _timing(row: Mapping[Any, Any]) -> Timing:
    return Timing(until=row["until"], made_at=row["made_at"], took_s=row["took_s"])


def _plain(groups: StepsByGroup) -> list[list[Any]]:
    return [
        [variant, segment, *(matrix.tolist() for matrix in (steps.first, steps.later, steps.grams))]
        for (variant, segment), steps in groups.items()
    ]


def _steps_of(told: Sequence[Sequence[Any]]) -> dict[Group, Steps]:
    return {
        (variant, segment): Steps(first=np.array(first), later=np.array(later), grams=np.array(grams))
        for variant, segment, first, later, grams in told
    }
