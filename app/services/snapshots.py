"""Snapshots: one pass over the plays for everybody who reads an experiment, made ahead by the workers.

Only closed UTC days are read, and all of a stopped experiment: everybody who asks on one day sees the same look.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.snapshots import Snapshot, Timing
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitsOfWork

STARTED = (ExperimentState.RUNNING, ExperimentState.PAUSED, ExperimentState.STOPPED, ExperimentState.DECIDED)

SETTLED_AFTER = timedelta(days=1)
"""How long after an experiment's stop plays are waited for."""

CLAIMED_FOR = timedelta(minutes=15)
"""How long one worker leaves a pass to another, who may have died."""

_log = logging.getLogger(__name__)


class SnapshotService:
    """Makes and keeps snapshots. `seconds` is a clock that never goes back."""

    def __init__(self, units: UnitsOfWork, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._seconds = seconds
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def of(self, experiment: Experiment, until: datetime, *, cut: str | None) -> Snapshot:
        """The sums up to an instant: kept, or made once for all who ask this server meanwhile. Raises: Unavailable."""
        found = self._kept(experiment, until, cut=cut)
        if found is None:
            with self._lock:
                making = self._making.setdefault(experiment.id, threading.Lock())
            with making:
                found = self._kept(experiment, until, cut=cut) or self._made(experiment, until, cut=cut)
        return found

    def refresh(self) -> int:
        """Make what is missing of closed days, and anew what plays may have come late for; how many were made.

        Workers do, now and then. Of cuts those are made that somebody has asked for before. Raises: Unavailable.
        """
        with self._units.reading() as unit:
            now = unit.now()
            due = [
                (experiment, until, cut)
                for experiment in unit.experiments.in_states(*STARTED)
                if experiment.kind == "assignment"
                and (until := closed_until(experiment, now)) is not None
                and now - until < SETTLED_AFTER
                for cut, timing in _wanted(unit.snapshots.timings(experiment.id))
                if _is_due(timing, until, now)
            ]
        return sum(self._taken_on(*each) for each in due)

    def _taken_on(self, experiment: Experiment, until: datetime, cut: str | None) -> bool:
        with self._units() as unit:
            now = unit.now()
            timing = unit.snapshots.timings(experiment.id).get(cut)  # somebody may have made it since it was due
            is_ours = _is_due(timing, until, now) and unit.snapshots.claim(
                experiment.id, cut, at=now, until=now + CLAIMED_FOR
            )
            unit.commit()
        if is_ours:
            took_s = self._made(experiment, until, cut=cut).timing.took_s
            _log.info("Read the plays of experiment %s up to %s in %.1f s.", experiment.id, until, took_s)
        return is_ours

    def _kept(self, experiment: Experiment, until: datetime, *, cut: str | None) -> Snapshot | None:
        with self._units.reading() as unit:
            found = unit.snapshots.find(experiment.id, cut)
            return found if found is not None and found.timing.answers(until, unit.now()) else None

    def _made(self, experiment: Experiment, until: datetime, *, cut: str | None) -> Snapshot:
        spec, until_ms = experiment.spec, epoch_ms(until)
        began_s = self._seconds()
        with self._units.reading() as unit:
            made_at = unit.now()
            outcomes = unit.outcomes.of_experiment(
                experiment.id,
                metrics=spec.metrics,
                covariate_days=spec.covariate_days,
                since_ms=epoch_ms(experiment.started_at or until),
                until_ms=until_ms,
                cut=cut,
            )
            revisions = unit.outcomes.revisions(experiment.id, until_ms=until_ms)
        timing = Timing(until=until, made_at=made_at, took_s=self._seconds() - began_s)
        snapshot = Snapshot(experiment_id=experiment.id, cut=cut, timing=timing, outcomes=outcomes, revisions=revisions)
        with self._units() as unit:
            unit.snapshots.keep(snapshot)
            unit.commit()
        return snapshot


def closed_until(experiment: Experiment, now: datetime) -> datetime | None:
    """Up to when it is read: its stop, or the last midnight in UTC; None before the first one."""
    if experiment.started_at is None:
        return None
    until = experiment.stopped_at or day_of(now)
    return until if until > experiment.started_at else None


def day_of(instant: datetime) -> datetime:
    """The beginning of its UTC day."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _wanted(kept: dict[str | None, Timing]) -> list[tuple[str | None, Timing | None]]:
    """Without a cut always, and the cuts that are there."""
    return list(({None: None} | kept).items())


def _is_due(timing: Timing | None, until: datetime, now: datetime) -> bool:
    return timing is None or timing.is_due(until, now)
