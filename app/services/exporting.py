"""All trials of a study as a table: one row a trial, read page by page."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from app.domain.measurement import Estimate, Measurement, Scores
from app.domain.repositories import UnitsOfWork
from app.domain.training import TrainingParameters
from app.domain.tuning.trial import Trial, TrialOutcome

PAGE = 200

Row = dict[str, Any]

PARAMETERS: dict[str, type] = {
    "vector_size": int,
    "window": int,
    "negative": int,
    "alpha": float,
    "epochs": int,
    "sg": int,
    "ns_exponent": float,
    "sample": float,
    "scoring": str,
}

SCORES = ("objective", "hit_ratio", "ndcg")
BREADTH = ("coverage", "popularity", "artist_share")
SETS = ("validation", "test")
PHASES = ("load", "train", "evaluate", "write")


def _columns() -> dict[str, type]:
    columns: dict[str, type] = {
        "trial_id": str,
        "role": str,
        "number": int,
        "name": str,
        "method": str,
        "state": str,
        "attempt": int,
        "source_trial_id": str,
        "seed": int,
        "sample_fraction": float,
        "revision": int,
        **PARAMETERS,
    }
    for pair_set in SETS:
        columns[f"{pair_set}_n"] = int
        for score in SCORES:
            columns |= {f"{pair_set}_{score}{end}": float for end in ("", "_low", "_high")}
        columns |= {f"{pair_set}_{name}": float for name in BREADTH}
        columns[f"{pair_set}_segments"] = str
    columns |= {f"{phase}_s": float for phase in PHASES}
    columns |= {"created_at": datetime, "started_at": datetime, "finished_at": datetime}
    columns |= {"model_bytes": int, "last_epoch": int, "last_epoch_objective": float}
    columns |= {"vectors_sha256": str, "threads": int, "cpu": str, "failure_code": str, "failure_reason": str}
    return columns


COLUMNS: dict[str, type] = _columns()
"""The columns in order and what they hold; a value that is not known is None.

Scores are those that the study looks at (its aggregate); `_segments` has the objective of each segment, as JSON.
"""

Writer = Callable[[dict[str, type], Iterator[list[Row]]], Iterator[bytes]]
"""Turns pages of rows into the bytes of a file, piece by piece."""


class ExportService:
    """Exports of studies."""

    def __init__(self, units: UnitsOfWork, *, writers: dict[str, Writer]) -> None:
        self._units = units
        self._writers = writers

    def export(self, study_id: str, file_format: str) -> Iterator[bytes]:
        """The bytes of a file in one of the formats, as they are asked for. Raises: NotFound, at once."""
        with self._units.reading() as unit:
            unit.studies.get(study_id)
        return self._writers[file_format](COLUMNS, self._pages(study_id))

    def _pages(self, study_id: str) -> Iterator[list[Row]]:
        cursor: str | None = None
        while True:
            with self._units.reading() as unit:  # none is held while the client reads
                trials = unit.trials.page_of_study(study_id, role=None, limit=PAGE, cursor=cursor)
            if not trials:
                return
            yield [row_of(trial) for trial in trials]
            cursor = trials[-1].id


def row_of(trial: Trial) -> Row:
    """The trial as a row: a value for each of COLUMNS."""
    outcome = trial.outcome
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "trial_id": trial.id,
        "role": trial.role.value,
        "number": trial.number,
        "name": trial.name,
        "method": trial.method.value,
        "state": trial.state.value,
        "attempt": trial.attempt,
        "source_trial_id": trial.source_trial_id,
        "seed": trial.seed,
        "sample_fraction": trial.sample_fraction,
        "revision": trial.revision,
        "created_at": trial.created_at,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        **_parameters(trial.parameters),
    }
    if trial.failure is not None:
        row |= {"failure_code": trial.failure.code, "failure_reason": trial.failure.reason}
    if outcome is not None:
        row |= {"vectors_sha256": outcome.vectors_sha256, "threads": outcome.threads, "cpu": outcome.cpu}
        row |= {"model_bytes": outcome.model_bytes, **_last_epoch(outcome)}
        row |= {f"{phase}_s": outcome.times_s.get(phase) for phase in PHASES}
        row |= _scores("validation", outcome.validation) | _scores("test", outcome.test)
    return row


def _parameters(parameters: TrainingParameters | None) -> Row:
    if parameters is None:
        return {}
    return {name: kind(getattr(parameters, name)) for name, kind in PARAMETERS.items()}


def _last_epoch(outcome: TrialOutcome) -> Row:
    """How far the trial was measured: all that is known of a pruned one."""
    if not outcome.epochs:
        return {}
    last = outcome.epochs[-1]
    objective = last.scores.objective
    return {"last_epoch": last.epoch, "last_epoch_objective": None if objective is None else objective.value}


def _scores(pair_set: str, measurement: Measurement | None) -> Row:
    if measurement is None:
        return {}
    row: Row = {
        f"{pair_set}_n": measurement.overall.n_pairs,
        f"{pair_set}_segments": json.dumps({name: _value(each) for name, each in measurement.segments.items()}),
        **{f"{pair_set}_{name}": getattr(measurement, name) for name in BREADTH},
    }
    for score in SCORES:
        estimate: Estimate | None = getattr(measurement.judged, score)
        if estimate is not None:
            name = f"{pair_set}_{score}"
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row


def _value(scores: Scores) -> float | None:
    return None if scores.objective is None else scores.objective.value
