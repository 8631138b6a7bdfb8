"""Events in SQL: appended beside the row that changed, read in the order of their ids."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.events import Event, Kind, epochs_of
from app.domain.measurement import Estimate, Measurement
from app.domain.tuning.study import Study
from app.domain.tuning.trial import Trial


class SqlEvents:
    """See `app.domain.repositories.EventRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(self, study_id: str, cursor: int, *, limit: int) -> list[Event]:
        """Up to `limit` events of a study with an id above `cursor`, in order."""
        columns = tables.events.c
        query = (
            sa.select(tables.events)
            .where(columns.study_id == study_id, columns.id > cursor)
            .order_by(columns.id)
            .limit(limit)
        )
        return [
            Event(id=row["id"], study_id=row["study_id"], kind=row["kind"], document=row["document"])
            for row in self._connection.execute(query).mappings()
        ]

    def latest(self, study_id: str) -> int:
        """The id of the study's last event; 0 before the first."""
        query = sa.select(sa.func.max(tables.events.c.id)).where(tables.events.c.study_id == study_id)
        return self._connection.execute(query).scalar_one() or 0


def append_study(connection: Connection, study: Study) -> None:
    """The study is in another state, or has another best trial."""
    document = {
        "state": study.state.value,
        "best_trial_id": study.best_trial_id,
        "failure": None if study.failure is None else {"code": study.failure.code, "reason": study.failure.reason},
    }
    _append(connection, study.id, "study", document)


def append_trial(connection: Connection, trial: Trial) -> None:
    """The trial is in another state; what it measured comes next."""
    at = trial.finished_at or trial.started_at or trial.created_at
    document = {
        **_named(trial),
        "state": trial.state.value,
        "attempt": trial.attempt,
        "at": _instant(at),
        "failure": None if trial.failure is None else {"code": trial.failure.code, "reason": trial.failure.reason},
    }
    _append(connection, trial.study_id, "trial", document)
    if trial.outcome is not None:
        measured = {
            **_named(trial),
            "validation": _scores(trial.outcome.validation),
            "test": _scores(trial.outcome.test),
            "epochs": epochs_of(trial.outcome),
            "times_s": trial.outcome.times_s,
        }
        _append(connection, trial.study_id, "measurement", measured)


def _append(connection: Connection, study_id: str, kind: Kind, document: dict[str, Any]) -> None:
    connection.execute(sa.insert(tables.events).values(study_id=study_id, kind=kind, document=document))


def _named(trial: Trial) -> dict[str, Any]:
    return {"trial_id": trial.id, "role": trial.role.value, "number": trial.number, "name": trial.name}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _scores(measurement: Measurement | None) -> dict[str, Any] | None:
    if measurement is None:
        return None
    judged = measurement.judged
    return {name: _estimate(getattr(judged, name)) for name in ("objective", "hit_ratio", "ndcg")}


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
