"""Reading experiments: results, power and decisions, from one pass over the plays at most.

Only closed UTC days are read, and all of a stopped experiment, so that everybody who asks on one day sees the same
look. A pass is kept for as long as it was worth the wait: twenty times what it took.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from app.domain.errors import Conflict, InvalidRequest
from app.domain.experiments.assignment import N_BUCKETS, n_buckets
from app.domain.experiments.calibration import Measured, OnlineLift
from app.domain.experiments.decision import Advice, advised
from app.domain.experiments.effects import Estimate, Estimator
from app.domain.experiments.experiment import Experiment, ExperimentSpec
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.metrics import MetricRole
from app.domain.experiments.moments import Moments
from app.domain.experiments.outcomes import Outcomes
from app.domain.experiments.power import Plan, Power, planned
from app.domain.experiments.results import Effect, Results, examined, level_of, read, withheld
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitsOfWork

KEPT_TIMES = 20
MOST_KEPT = 32

NOT_STARTED = "The experiment has not started."
NO_DAY = "The first UTC day of the experiment is not over: results are of whole days."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsReport:
    """An experiment's results up to an instant, None before its first day is over.

    `exposed`: users by variant, and those of them who crossed, as of now.
    """

    experiment: Experiment
    until: datetime | None
    exposed: Mapping[str, tuple[int, int]]
    results: Results
    cut: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReport:
    """Of a relative lift, by metric and treatment; the time that was looked at."""

    experiment: Experiment
    since: datetime
    until: datetime
    power: Mapping[tuple[str, str], Power]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionReport:
    """What the results up to an instant advise."""

    experiment: Experiment
    until: datetime | None
    advice: Advice


@dataclass(slots=True)
class _Kept:
    outcomes: Outcomes
    revisions: Sequence[RevisionCount]
    until_s: float


@dataclass(slots=True)
class _Passes:
    """Passes that are kept, and one lock for each that is being made."""

    kept: dict[tuple[str, str | None, int], _Kept] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    making: dict[str, threading.Lock] = field(default_factory=dict)

    def lock_of(self, experiment_id: str) -> threading.Lock:
        with self.lock:
            return self.making.setdefault(experiment_id, threading.Lock())

    def find(self, key: tuple[str, str | None, int], now_s: float) -> _Kept | None:
        found = self.kept.get(key)
        return found if found is not None and found.until_s > now_s else None

    def keep(self, key: tuple[str, str | None, int], found: _Kept) -> None:
        with self.lock:
            self.kept[key] = found
            while len(self.kept) > MOST_KEPT:
                del self.kept[next(iter(self.kept))]


class ExperimentResultsService:
    """Results of experiments. `seconds` is a clock that never goes back."""

    def __init__(
        self, units: UnitsOfWork, *, estimate: Estimator, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._units = units
        self._estimate = estimate
        self._seconds = seconds
        self._passes = _Passes()

    def results(self, experiment_id: str, *, cut: str | None = None) -> ResultsReport:
        """What it shows.

        With a cut users are grouped by what they played most of after the exposure, which the treatment may change.
        Raises: NotFound, Conflict, Unavailable.
        """
        with self._units.reading() as unit:
            experiment = _assigning(unit.experiments.get(experiment_id))
            exposed = unit.exposures.counts(experiment_id)
            until = closed_until(experiment, unit.now())
        report = ResultsReport(
            experiment=experiment, until=until, exposed=exposed, results=withheld(NOT_STARTED), cut=cut
        )
        if experiment.started_at is None:
            return report
        if until is None:
            return replace(report, results=withheld(NO_DAY))
        return replace(report, results=self._read(experiment, until, cut=cut))

    def decision(self, experiment_id: str) -> DecisionReport:
        """What to do by the rule of `decision`. Raises: NotFound, Conflict, Unavailable."""
        report = self.results(experiment_id)
        return DecisionReport(
            experiment=report.experiment, until=report.until, advice=advised(report.experiment.spec, report.results)
        )

    def power(self, experiment_id: str, *, lift: float) -> PowerReport:
        """What it takes to show a relative lift, from the plays before the start, or before now.

        Raises: NotFound, InvalidRequest, Conflict, Unavailable.
        """
        if lift == 0 or not -1 < lift <= 10:
            raise InvalidRequest(f"lift is relative: above -1, at most 10, and not {lift}.", pointer="lift")
        with self._units.reading() as unit:
            experiment = _assigning(unit.experiments.get(experiment_id))
            spec = experiment.spec
            until = _day_of(experiment.started_at or unit.now())
            since = until - timedelta(days=spec.planned_days)
            outcomes = unit.outcomes.of_history(
                metrics=spec.metrics,
                covariate_days=spec.covariate_days,
                since_ms=max(0, epoch_ms(since)),
                until_ms=epoch_ms(until),
            )
        power = {
            (metric.name, variant.name): planned(
                _history(outcomes.moments(metric)), lift=lift, plan=_plan(spec, variant.name, level_of(spec, metric))
            )
            for metric in spec.metrics
            for variant in spec.variants[1:]
        }
        return PowerReport(experiment=experiment, since=since, until=until, power=power)

    def online_lifts(self, experiment: Experiment) -> list[OnlineLift]:
        """The relative lifts of its first goal by treatment, overall first, then by segment."""
        report = self.results(experiment.id)
        goal = next(metric.name for metric in experiment.spec.metrics if metric.role is MetricRole.GOAL)
        found = next((each for each in report.results.metrics if each.metric.name == goal), None)
        if found is None:
            reason = report.results.reason or NOT_STARTED
            return [
                OnlineLift(variant=variant.name, segment=None, lift=None, n_users=0, reason=reason)
                for variant in experiment.spec.variants[1:]
            ]
        return [_online(effect) for effect in (*found.effects, *found.segments)]

    def _read(self, experiment: Experiment, until: datetime, *, cut: str | None) -> Results:
        spec = experiment.spec
        whole = self._pass(experiment, until, cut=None)
        health = examined(
            spec, whole.outcomes, revisions=whole.revisions, weights=_weights(experiment), estimate=self._estimate
        )
        outcomes = whole.outcomes if cut is None else self._pass(experiment, until, cut=cut).outcomes
        return read(spec, outcomes, health=health, estimate=self._estimate)

    def _pass(self, experiment: Experiment, until: datetime, *, cut: str | None) -> _Kept:
        """The sums up to an instant, made once for all who ask meanwhile."""
        key = (experiment.id, cut, epoch_ms(until))
        with self._passes.lock_of(experiment.id):
            found = self._passes.find(key, self._seconds())
            if found is not None:
                return found
            began = self._seconds()
            found = self._made(experiment, until, cut=cut)
            ended = self._seconds()
            found.until_s = ended + KEPT_TIMES * (ended - began)
            self._passes.keep(key, found)
            return found

    def _made(self, experiment: Experiment, until: datetime, *, cut: str | None) -> _Kept:
        spec, until_ms = experiment.spec, epoch_ms(until)
        with self._units.reading() as unit:
            outcomes = unit.outcomes.of_experiment(
                experiment.id,
                metrics=spec.metrics,
                covariate_days=spec.covariate_days,
                since_ms=epoch_ms(experiment.started_at or until),
                until_ms=until_ms,
                cut=cut,
            )
            revisions = unit.outcomes.revisions(experiment.id, until_ms=until_ms)
        return _Kept(outcomes, revisions, 0.0)


def closed_until(experiment: Experiment, now: datetime) -> datetime | None:
    """Up to when it is read: its stop, or the last midnight in UTC; None before the first one."""
    if experiment.started_at is None:
        return None
    until = experiment.stopped_at or _day_of(now)
    return until if until > experiment.started_at else None


def _day_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _assigning(experiment: Experiment) -> Experiment:
    if experiment.kind != "assignment":
        raise Conflict(f"Experiment {experiment.id!r} interleaves its variants: nobody has one of them alone.")
    return experiment


def _weights(experiment: Experiment) -> Callable[[int], Mapping[str, float]]:
    shares = [
        {name: n_buckets(ranges) / N_BUCKETS for name, ranges in allocation.variants.items()}
        for allocation in experiment.allocations
    ]
    return shares.__getitem__


def _history(groups: Mapping[tuple[str, str | None], Moments]) -> Moments | None:
    return next(iter(groups.values()), None)


def _plan(spec: ExperimentSpec, variant: str, alpha: float) -> Plan:
    total = sum(each.weight for each in spec.variants)
    shares = {each.name: spec.traffic * each.weight / total for each in spec.variants}
    return Plan(
        control=shares[spec.variants[0].name],
        treatment=shares[variant],
        alpha=alpha,
        power=spec.power,
        n_days=spec.planned_days,
    )


def _online(effect: Effect) -> OnlineLift:
    n_users = effect.control.n_users + effect.treatment.n_users
    variant, found = effect.treatment.variant, effect.estimate
    if not isinstance(found, Estimate):
        return OnlineLift(variant=variant, segment=effect.segment, lift=None, n_users=n_users, reason=found.reason)
    if found.relative is None or found.relative_interval is None:
        reason = "A mean is not above 0, so nothing is relative to it."
        return OnlineLift(variant=variant, segment=effect.segment, lift=None, n_users=n_users, reason=reason)
    ends = found.relative_interval
    return OnlineLift(
        variant=variant,
        segment=effect.segment,
        lift=Measured(value=found.relative, low=ends.low, high=ends.high),
        n_users=n_users,
    )
