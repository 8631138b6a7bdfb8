"""Results: what an experiment shows, from sums over its users.

    health fails ──► no effect, with the reason
          │ ok or warning
          ▼
    each metric, each treatment against the control: overall, by segment, by day

The error allowed, alpha, is shared out by Bonferroni's method among treatments, and for goals among goals too: any one
of them may decide. Each of the rest may then be looked at every day (`sequential`); p values and intervals of one look
are right at the end that was planned, and only there. Segments' p values are adjusted by Holm's method within a metric
and treatment, those of heterogeneity over metrics.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import reduce
from math import inf, isfinite

from app.domain.experiments.effects import (
    Estimate,
    Estimator,
    Heterogeneity,
    Interval,
    Unknown,
    heterogeneity,
    holm,
)
from app.domain.experiments.experiment import ExperimentSpec
from app.domain.experiments.health import (
    FEWEST_USERS,
    Health,
    RevisionCount,
    Weights,
    before_exposure,
    enough_users,
    missing_outcomes,
    multiple_exposures,
    sample_ratio,
)
from app.domain.experiments.metrics import Metric, MetricRole
from app.domain.experiments.moments import Moments, standard_errors
from app.domain.experiments.outcomes import Group, Outcomes
from app.domain.experiments.sequential import boundaries, nominal_level, planned_spending

NO_USERS = "Nobody was exposed yet."


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A treatment's lift at the end of a UTC day, and how far it must be from 0: `boundary` standard errors.

    `interval` and `relative_interval` hold the truth together with those of all other days. They are None where it is
    too early to say.
    """

    day: date
    n_control: int
    n_treatment: int
    lift: float
    error: float
    relative: float | None
    boundary: float | None
    interval: Interval | None
    relative_interval: Interval | None

    @property
    def direction(self) -> int:
        """1 where the interval lies above 0, -1 where below, else 0."""
        if self.interval is None:
            return 0
        return 1 if self.interval.low > 0 else -1 if self.interval.high < 0 else 0

    @property
    def level(self) -> float:
        """What the p value of one look has to be below."""
        return 0.0 if self.boundary is None else nominal_level(self.boundary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One variant's users and mean; None where its denominator is 0."""

    variant: str
    n_users: int
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One treatment against the control; `p_adjusted` is among the segments of a metric."""

    control: Arm
    treatment: Arm
    estimate: Estimate | Unknown
    segment: str | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """Whether a treatment's lift differs between segments; `p_adjusted` is among metrics."""

    variant: str
    found: Heterogeneity | Unknown
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """What one metric shows. `looks` are by treatment, the first day first; `level` is the alpha of each of them."""

    metric: Metric
    level: float
    arms: tuple[Arm, ...]
    effects: tuple[Effect, ...]
    segments: tuple[Effect, ...]
    differing: tuple[Differing, ...]
    looks: Mapping[str, tuple[Look, ...]]

    def effect(self, variant: str, segment: str | None = None) -> Effect | None:
        """One treatment's, overall or in a segment."""
        among = self.effects if segment is None else self.segments
        return next((each for each in among if (each.treatment.variant, each.segment) == (variant, segment)), None)

    def last(self, variant: str) -> Look | None:
        """A treatment's last look."""
        looks = self.looks.get(variant, ())
        return looks[-1] if looks else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What an experiment shows after `n_days` UTC days; `reason` says why there is no effect."""

    n_days: int
    health: Health | None
    metrics: tuple[MetricResult, ...]
    reason: str | None


def withheld(reason: str, *, health: Health | None = None, n_days: int = 0) -> Results:
    """No effect, and why."""
    return Results(n_days=n_days, health=health, metrics=(), reason=reason)


def examined(
    spec: ExperimentSpec,
    outcomes: Outcomes,
    *,
    revisions: Sequence[RevisionCount],
    weights: Weights,
    estimate: Estimator,
) -> Health:
    """All checks of health."""
    names = [variant.name for variant in spec.variants]
    users = dict.fromkeys(names, (0, 0))
    for (variant, _), (n, n_active) in outcomes.n_active().items():
        users[variant] = (users[variant][0] + n, users[variant][1] + n_active)
    return Health(
        (
            sample_ratio(revisions, variants=names, weights=weights),
            multiple_exposures(revisions, variants=names),
            before_exposure(_before(spec, outcomes, estimate)),
            missing_outcomes(users),
            enough_users({variant: n for variant, (n, _) in users.items()}),
        )
    )


def _before(spec: ExperimentSpec, outcomes: Outcomes, estimate: Estimator) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for metric in spec.metrics:
        by_variant = _by_variant(outcomes.moments(metric))
        control = by_variant.get(spec.variants[0].name)
        for variant in spec.variants[1:]:
            treatment = by_variant.get(variant.name)
            if control is None or treatment is None or not control.has_covariate:
                continue
            difference = estimate(control.before(), treatment.before())
            if isinstance(difference, Estimate):
                found[metric.name, variant.name] = difference.p_value
    return found


def read(spec: ExperimentSpec, outcomes: Outcomes, *, health: Health, estimate: Estimator) -> Results:
    """Everything, if health allows it."""
    if not outcomes.active:
        return withheld(NO_USERS, health=health, n_days=outcomes.n_days)
    if health.reason is not None:
        return withheld(health.reason, health=health, n_days=outcomes.n_days)
    metrics = [metric_result(spec, metric, outcomes, estimate=estimate) for metric in spec.metrics]
    return Results(n_days=outcomes.n_days, health=health, metrics=tuple(_adjusted(metrics)), reason=None)


def level_of(spec: ExperimentSpec, metric: Metric) -> float:
    """The alpha of one treatment in a metric; see the module header."""
    n_goals = sum(each.role is MetricRole.GOAL for each in spec.metrics)
    return spec.alpha / (len(spec.variants) - 1) / (n_goals if metric.role is MetricRole.GOAL else 1)


def metric_result(spec: ExperimentSpec, metric: Metric, outcomes: Outcomes, *, estimate: Estimator) -> MetricResult:
    """What one metric shows, before p values are adjusted over metrics."""
    groups = outcomes.moments(metric)
    overall, level = _by_variant(groups), level_of(spec, metric)
    control, *treatments = (variant.name for variant in spec.variants)
    effects = tuple(_effect(overall, control, each, estimate=estimate, alpha=level) for each in treatments)
    by_segment: dict[str, dict[str, Moments]] = {}
    for (variant, segment), moments in groups.items():
        if segment is not None:
            by_segment.setdefault(segment, {})[variant] = moments
    segments: list[Effect] = []
    differing: list[Differing] = []
    for treatment in treatments:
        found = [
            replace(_effect(arms, control, treatment, estimate=estimate, alpha=level), segment=segment)
            for segment, arms in sorted(by_segment.items())
        ]
        segments += _holm_among(found)
        known = {str(each.segment): each.estimate for each in found if isinstance(each.estimate, Estimate)}
        differing.append(Differing(variant=treatment, found=heterogeneity(known)))
    return MetricResult(
        metric=metric,
        level=level,
        arms=tuple(_arm(overall, variant.name) for variant in spec.variants),
        effects=effects,
        segments=tuple(segments),
        differing=tuple(differing),
        looks={
            each: looks(
                overall[control], overall[each], first_day=outcomes.first_day, spec=spec, level=level, estimate=estimate
            )
            for each in treatments
        },
    )


def looks(
    control: Moments, treatment: Moments, *, first_day: int, spec: ExperimentSpec, level: float, estimate: Estimator
) -> tuple[Look, ...]:
    """One look a day, from the first day on which there is anything to see."""
    errors, correlations = standard_errors(control, treatment)
    estimates = {
        day: found
        for day in range(control.n_days)
        if isfinite(errors[day]) and isinstance(found := estimate(control, treatment, day=day), Estimate)
    }
    spent = planned_spending(control.n_days, n_planned=spec.planned_days, alpha=level)
    bounds = boundaries([spent[day] for day in estimates], [float(correlations[day]) for day in estimates])
    return tuple(
        _look(found, bound, day=day, first_day=first_day, groups=(control, treatment))
        for (day, found), bound in zip(estimates.items(), bounds, strict=True)
    )


def _look(found: Estimate, bound: float, *, day: int, first_day: int, groups: tuple[Moments, Moments]) -> Look:
    is_early = bound == inf
    return Look(
        day=date(1970, 1, 1) + timedelta(days=first_day + day),
        n_control=int(groups[0].totals[day, 0, 0]),
        n_treatment=int(groups[1].totals[day, 0, 0]),
        lift=found.lift,
        error=found.error,
        relative=found.relative,
        boundary=None if is_early else bound,
        interval=None if is_early else found.within(bound),
        relative_interval=None if is_early else found.relative_within(bound),
    )


def _effect(arms: Mapping[str, Moments], control: str, treatment: str, *, estimate: Estimator, alpha: float) -> Effect:
    told = Effect(control=_arm(arms, control), treatment=_arm(arms, treatment), estimate=Unknown(NO_USERS))
    few = [arm for arm in (told.control, told.treatment) if arm.n_users < FEWEST_USERS]
    if few:
        reason = f"Too few users: {few[0].variant} has {few[0].n_users}, and at least {FEWEST_USERS} are needed."
        return replace(told, estimate=Unknown(reason))
    return replace(told, estimate=estimate(arms[control], arms[treatment], alpha=alpha))


def _arm(arms: Mapping[str, Moments], variant: str) -> Arm:
    moments = arms.get(variant)
    if moments is None:
        return Arm(variant=variant, n_users=0, mean=None)
    return Arm(variant=variant, n_users=moments.n_users, mean=moments.mean())


def _holm_among(effects: Sequence[Effect]) -> list[Effect]:
    known = [each for each in effects if isinstance(each.estimate, Estimate)]
    p_values = [each.estimate.p_value for each in known if isinstance(each.estimate, Estimate)]
    adjusted = {each.segment: p for each, p in zip(known, holm(p_values), strict=True)}
    return [replace(each, p_adjusted=adjusted.get(each.segment)) for each in effects]


def _adjusted(metrics: Sequence[MetricResult]) -> list[MetricResult]:
    """With p values of heterogeneity adjusted over metrics and treatments."""
    p_values = [
        each.found.p_value for result in metrics for each in result.differing if isinstance(each.found, Heterogeneity)
    ]
    adjusted = iter(holm(p_values))
    return [
        replace(
            result,
            differing=tuple(
                replace(each, p_adjusted=next(adjusted)) if isinstance(each.found, Heterogeneity) else each
                for each in result.differing
            ),
        )
        for result in metrics
    ]


def _by_variant(groups: Mapping[Group, Moments]) -> dict[str, Moments]:
    found: dict[str, list[Moments]] = {}
    for (variant, _), moments in groups.items():
        found.setdefault(variant, []).append(moments)
    return {variant: _together(each) for variant, each in found.items()}


def _together(moments: Iterable[Moments]) -> Moments:
    return reduce(lambda one, other: one + other, moments)
