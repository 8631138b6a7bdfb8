"""Reading experiments: results, power and decisions, from snapshots (`app.services.snapshots`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.errors import Conflict, InvalidRequest
from app.domain.experiments.assignment import N_BUCKETS, n_buckets
from app.domain.experiments.calibration import Measured, OnlineLift
from app.domain.experiments.decision import Advice, advised
from app.domain.experiments.effects import Estimate, Estimator
from app.domain.experiments.experiment import Experiment, ExperimentSpec
from app.domain.experiments.metrics import MetricRole
from app.domain.experiments.moments import Moments
from app.domain.experiments.power import Plan, Power, planned
from app.domain.experiments.results import Effect, Results, examined, level_of, read, withheld
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitsOfWork
from app.services.snapshots import SnapshotService, closed_until, day_of

NOT_STARTED = "The experiment has not started."
NO_DAY = "The first UTC day of the experiment is not over: results are of whole days."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsReport:
    """An experiment's results up to an instant, None before its first day is over.

    `exposed`: users by variant, and those of them who crossed, as of now. `read_at`: which plays had come by then.
    """

    experiment: Experiment
    until: datetime | None
    exposed: Mapping[str, tuple[int, int]]
    results: Results
    cut: str | None = None
    read_at: datetime | None = None


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


class ExperimentResultsService:
    """Results of experiments."""

    def __init__(self, units: UnitsOfWork, *, snapshots: SnapshotService, estimate: Estimator) -> None:
        self._units = units
        self._snapshots = snapshots
        self._estimate = estimate

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
        return self._read(report, until)

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
            until = day_of(experiment.started_at or unit.now())
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

    def _read(self, report: ResultsReport, until: datetime) -> ResultsReport:
        experiment, cut = report.experiment, report.cut
        spec = experiment.spec
        whole = self._snapshots.of(experiment, until, cut=None)
        health = examined(
            spec, whole.outcomes, revisions=whole.revisions, weights=_weights(experiment), estimate=self._estimate
        )
        read_from = whole if cut is None else self._snapshots.of(experiment, until, cut=cut)
        return replace(
            report,
            read_at=read_from.timing.made_at,
            results=read(spec, read_from.outcomes, health=health, estimate=self._estimate),
        )


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
