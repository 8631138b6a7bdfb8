"""What experiments show, as clients see it."""

from datetime import date, datetime
from typing import Any

from pydantic import ConfigDict, Field

from app.api.schemas.base import Parameters, View
from app.domain.experiments.decision import RULE, Action, Standing
from app.domain.experiments.effects import Estimate, Heterogeneity, Interval, Unknown
from app.domain.experiments.experiment import ExperimentState
from app.domain.experiments.health import Check, CheckName, CheckState
from app.domain.experiments.metrics import MetricKind, MetricRole, MetricUnit
from app.domain.experiments.power import Power
from app.domain.experiments.results import Arm, Differing, Effect, Look, MetricResult
from app.domain.filtering import MAX_COLUMN_LENGTH
from app.services.experiment_results import DecisionReport, PowerReport, ResultsReport

EXPERIMENT_ID = "exp_0199d0c41c9f7a0d8a52"

CUT_WARNING = (
    "Exploratory: users are grouped by what they played after their exposure, which the variant itself may have "
    "changed. Differences between such groups may come from who is in them. Decide by segments, which were fixed "
    "before the exposure."
)

READING = (
    "lift is treatment less control, relative_lift treatment / control less 1. p_value and interval are right for one "
    "look at the planned end; sequential ones at every look, and may be watched daily."
)


class ResultsParameters(Parameters):
    """What results ask for."""

    cut: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_COLUMN_LENGTH,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="A detail of songs in the catalogue: group users by its value in most of their plays after the "
        "exposure, instead of by segment. Exploratory.",
    )


class PowerParameters(Parameters):
    """What power asks for."""

    lift: float = Field(gt=-1, le=10, description="The relative lift to be shown, not 0.", examples=[0.03])


class IntervalView(View):
    """Both ends included."""

    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval | None) -> "IntervalView | None":
        """The view, None where there is none."""
        return None if interval is None else cls(low=interval.low, high=interval.high)


class CheckView(View):
    """One check of health."""

    name: CheckName
    state: CheckState
    detail: str
    p_value: float | None
    figures: dict[str, float]

    @classmethod
    def of(cls, check: Check) -> "CheckView":
        """The view of a check."""
        return cls(
            name=check.name,
            state=check.state,
            detail=check.detail,
            p_value=check.p_value,
            figures=dict(check.figures),
        )


class ExposedView(View):
    """Users of a variant, as of now."""

    variant: str
    n_exposed: int
    n_crossed: int = Field(description="Seen with another variant too: left out of everything else.")


class ArmView(View):
    """Users and mean of a variant."""

    variant: str
    n_users: int
    mean: float | None = Field(description="Before CUPED; null where its denominator is 0.")

    @classmethod
    def of(cls, arm: Arm) -> "ArmView":
        """The view of an arm."""
        return cls(variant=arm.variant, n_users=arm.n_users, mean=arm.mean)


class EffectView(View):
    """One treatment against the control; figures are null, and `reason` says why, where they can't be computed."""

    variant: str
    segment: str | None = Field(description="Null for all users.")
    n_control: int
    n_treatment: int
    control_mean: float | None
    treatment_mean: float | None
    lift: float | None
    relative_lift: float | None
    interval: IntervalView | None
    relative_interval: IntervalView | None
    p_value: float | None
    p_adjusted: float | None = Field(description="Among the segments, by Holm's method.")
    variance_left: float | None = Field(description="The share that CUPED left; null without a covariate.")
    reason: str | None

    @classmethod
    def of(cls, effect: Effect) -> "EffectView":
        """The view of an effect."""
        found = effect.estimate if isinstance(effect.estimate, Estimate) else None
        return cls(
            variant=effect.treatment.variant,
            segment=effect.segment,
            n_control=effect.control.n_users,
            n_treatment=effect.treatment.n_users,
            control_mean=effect.control.mean,
            treatment_mean=effect.treatment.mean,
            lift=None if found is None else found.lift,
            relative_lift=None if found is None else found.relative,
            interval=None if found is None else IntervalView.of(found.interval),
            relative_interval=None if found is None else IntervalView.of(found.relative_interval),
            p_value=None if found is None else found.p_value,
            p_adjusted=effect.p_adjusted,
            variance_left=None if found is None else found.variance_left,
            reason=effect.estimate.reason if isinstance(effect.estimate, Unknown) else None,
        )


class LookView(View):
    """A treatment's lift at the end of a UTC day, with intervals that hold the truth on all days together."""

    day: date
    n_control: int
    n_treatment: int
    lift: float
    relative_lift: float | None
    boundary: float | None = Field(description="Standard errors that the interval reaches; null while it is too early.")
    interval: IntervalView | None
    relative_interval: IntervalView | None
    is_conclusive: bool = Field(description="Whether the interval leaves 0 out.")

    @classmethod
    def of(cls, look: Look) -> "LookView":
        """The view of a look."""
        return cls(
            day=look.day,
            n_control=look.n_control,
            n_treatment=look.n_treatment,
            lift=look.lift,
            relative_lift=look.relative,
            boundary=look.boundary,
            interval=IntervalView.of(look.interval),
            relative_interval=IntervalView.of(look.relative_interval),
            is_conclusive=look.direction != 0,
        )


class SequentialView(View):
    """One treatment's looks, the first day first."""

    variant: str
    looks: list[LookView]


class HeterogeneityView(View):
    """Whether one treatment's lift differs between segments, by Cochran's Q."""

    variant: str
    n_segments: int | None
    q: float | None
    i_squared: float | None = Field(description="The share of the scatter that is more than chance.")
    p_value: float | None
    p_adjusted: float | None = Field(description="Among metrics and treatments, by Holm's method.")
    reason: str | None

    @classmethod
    def of(cls, differing: Differing) -> "HeterogeneityView":
        """The view of what differs."""
        found = differing.found if isinstance(differing.found, Heterogeneity) else None
        return cls(
            variant=differing.variant,
            n_segments=None if found is None else found.n_segments,
            q=None if found is None else found.q,
            i_squared=None if found is None else found.i_squared,
            p_value=None if found is None else found.p_value,
            p_adjusted=differing.p_adjusted,
            reason=differing.found.reason if isinstance(differing.found, Unknown) else None,
        )


class MetricResultView(View):
    """What one metric shows."""

    name: str
    role: MetricRole
    kind: MetricKind
    unit: MetricUnit
    higher_is_better: bool
    alpha: float = Field(description="The error allowed to each treatment of this metric.")
    variants: list[ArmView]
    effects: list[EffectView]
    segments: list[EffectView]
    heterogeneity: list[HeterogeneityView]
    sequential: list[SequentialView]

    @classmethod
    def of(cls, result: MetricResult) -> "MetricResultView":
        """The view of a metric."""
        return cls(
            name=result.metric.name,
            role=result.metric.role,
            kind=result.metric.kind,
            unit=result.metric.unit,
            higher_is_better=result.metric.higher_is_better,
            alpha=result.level,
            variants=[ArmView.of(arm) for arm in result.arms],
            effects=[EffectView.of(effect) for effect in result.effects],
            segments=[EffectView.of(effect) for effect in result.segments],
            heterogeneity=[HeterogeneityView.of(each) for each in result.differing],
            sequential=[
                SequentialView(variant=variant, looks=[LookView.of(look) for look in looks])
                for variant, looks in result.looks.items()
            ],
        )


_ENDS: Any = {"low": 4.1, "high": 18.3}
_RELATIVE: Any = {"low": 0.005, "high": 0.022}
_EFFECT: Any = {
    "variant": "treatment",
    "segment": None,
    "n_control": 50210,
    "n_treatment": 49873,
    "control_mean": 842.1,
    "treatment_mean": 853.6,
    "lift": 11.2,
    "relative_lift": 0.0133,
    "interval": _ENDS,
    "relative_interval": _RELATIVE,
    "p_value": 0.0019,
    "p_adjusted": None,
    "variance_left": 0.61,
    "reason": None,
}
_LOOK: Any = {
    "day": "2026-03-14",
    "n_control": 50210,
    "n_treatment": 49873,
    "lift": 11.2,
    "relative_lift": 0.0133,
    "boundary": 2.14,
    "interval": {"low": 3.4, "high": 19.0},
    "relative_interval": {"low": 0.004, "high": 0.023},
    "is_conclusive": True,
}
_METRIC: Any = {
    "name": "seconds_per_session",
    "role": "goal",
    "kind": "mean",
    "unit": "session",
    "higher_is_better": True,
    "alpha": 0.05,
    "variants": [
        {"variant": "control", "n_users": 50210, "mean": 842.1},
        {"variant": "treatment", "n_users": 49873, "mean": 853.6},
    ],
    "effects": [_EFFECT],
    "segments": [{**_EFFECT, "segment": "ar", "p_adjusted": 0.0038}],
    "heterogeneity": [
        {
            "variant": "treatment",
            "n_segments": 2,
            "q": 9.1,
            "i_squared": 0.89,
            "p_value": 0.0026,
            "p_adjusted": 0.0026,
            "reason": None,
        }
    ],
    "sequential": [{"variant": "treatment", "looks": [_LOOK]}],
}
_CHECK: Any = {
    "name": "sample_ratio",
    "state": "ok",
    "detail": "Users are shared out as they were assigned (control 50210, treatment 49873).",
    "p_value": 0.29,
    "figures": {"control": 50210, "treatment": 49873},
}


class ResultsView(View):
    """What an experiment shows; without effects `reason` says why."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": EXPERIMENT_ID,
                    "state": "running",
                    "until": "2026-03-15T00:00:00Z",
                    "read_at": "2026-03-15T00:00:07Z",
                    "n_days": 14,
                    "reading": READING,
                    "cut": None,
                    "warning": None,
                    "exposed": [
                        {"variant": "control", "n_exposed": 50310, "n_crossed": 3},
                        {"variant": "treatment", "n_exposed": 49951, "n_crossed": 5},
                    ],
                    "health": "ok",
                    "checks": [_CHECK],
                    "reason": None,
                    "metrics": [_METRIC],
                }
            ]
        }
    )

    experiment_id: str
    state: ExperimentState
    until: datetime | None = Field(description="Up to when it is read: the last midnight in UTC, or the stop.")
    read_at: datetime | None = Field(description="When: plays that came later are not in it yet.")
    n_days: int
    reading: str = Field(description="How to read the figures.")
    cut: str | None
    warning: str | None = Field(description="What to mind; null where groups were fixed before the exposure.")
    exposed: list[ExposedView]
    health: CheckState | None = Field(description="The worst of the checks; null before there is anything to check.")
    checks: list[CheckView]
    reason: str | None = Field(description="Why there are no effects; null where there are.")
    metrics: list[MetricResultView]

    @classmethod
    def of(cls, report: ResultsReport) -> "ResultsView":
        """The view of a report."""
        results = report.results
        counts = {variant.name: report.exposed.get(variant.name, (0, 0)) for variant in report.experiment.spec.variants}
        return cls(
            experiment_id=report.experiment.id,
            state=report.experiment.state,
            until=report.until,
            read_at=report.read_at,
            n_days=results.n_days,
            reading=READING,
            cut=report.cut,
            warning=None if report.cut is None else CUT_WARNING,
            exposed=[
                ExposedView(variant=name, n_exposed=n, n_crossed=n_crossed) for name, (n, n_crossed) in counts.items()
            ],
            health=None if results.health is None else results.health.state,
            checks=[] if results.health is None else [CheckView.of(check) for check in results.health.checks],
            reason=results.reason,
            metrics=[MetricResultView.of(result) for result in results.metrics],
        )


class PowerOfMetricView(View):
    """What it takes to show the lift in one metric and treatment; null, with a reason, where that can't be told."""

    metric: str
    variant: str
    mean: float | None
    deviation: float | None = Field(description="Standard deviation of what a user adds, after CUPED.")
    n_users: int | None
    n_control: int | None
    n_treatment: int | None
    n_days: int | None
    smallest_lift: float | None = Field(description="The relative lift that the planned days show with this power.")
    users_a_day: float | None = Field(description="New ones, of all users.")
    reason: str | None

    @classmethod
    def of(cls, metric: str, variant: str, power: Power) -> "PowerOfMetricView":
        """The view of one metric."""
        return cls(
            metric=metric,
            variant=variant,
            mean=power.mean,
            deviation=power.deviation,
            n_users=power.n_users,
            n_control=power.n_control,
            n_treatment=power.n_treatment,
            n_days=power.n_days,
            smallest_lift=power.smallest_lift,
            users_a_day=power.users_a_day,
            reason=power.reason,
        )


class PowerView(View):
    """What it takes to show a lift, by the plays before the experiment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": EXPERIMENT_ID,
                    "lift": 0.03,
                    "power": 0.8,
                    "since": "2026-02-15T00:00:00Z",
                    "until": "2026-03-01T00:00:00Z",
                    "metrics": [
                        {
                            "metric": "seconds_per_session",
                            "variant": "treatment",
                            "mean": 842.1,
                            "deviation": 911.0,
                            "n_users": 43280,
                            "n_control": 21640,
                            "n_treatment": 21640,
                            "n_days": 6,
                            "smallest_lift": 0.019,
                            "users_a_day": 7720.0,
                            "reason": None,
                        }
                    ],
                }
            ]
        }
    )

    experiment_id: str
    lift: float
    power: float
    since: datetime
    until: datetime
    metrics: list[PowerOfMetricView]

    @classmethod
    def of(cls, report: PowerReport, *, lift: float) -> "PowerView":
        """The view of a report."""
        return cls(
            experiment_id=report.experiment.id,
            lift=lift,
            power=report.experiment.spec.power,
            since=report.since,
            until=report.until,
            metrics=[PowerOfMetricView.of(metric, variant, power) for (metric, variant), power in report.power.items()],
        )


class StandView(View):
    """How a treatment stands in a goal or guardrail."""

    variant: str
    metric: str
    role: MetricRole
    standing: Standing


class AdviceView(View):
    """What the results advise, and the rule that says so."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": EXPERIMENT_ID,
                    "until": "2026-03-15T00:00:00Z",
                    "action": "bundle",
                    "variant": "treatment",
                    "segments": {"ar": "treatment", "en": "control"},
                    "reason": "The lift of treatment differs between segments: it gains in ar, and not everywhere.",
                    "stands": [
                        {
                            "variant": "treatment",
                            "metric": "seconds_per_session",
                            "role": "goal",
                            "standing": "open",
                        }
                    ],
                    "rule": RULE,
                }
            ]
        }
    )

    experiment_id: str
    until: datetime | None
    action: Action
    variant: str | None = Field(description="What to ship, wholly or in some segments.")
    segments: dict[str, str] = Field(description="Of a bundle: the variant of each segment.")
    reason: str
    stands: list[StandView]
    rule: str

    @classmethod
    def of(cls, report: DecisionReport) -> "AdviceView":
        """The view of a report."""
        advice = report.advice
        return cls(
            experiment_id=report.experiment.id,
            until=report.until,
            action=advice.action,
            variant=advice.variant,
            segments=advice.segments,
            reason=advice.reason,
            stands=[
                StandView(variant=each.variant, metric=each.metric, role=each.role, standing=each.standing)
                for each in advice.stands
            ],
            rule=RULE,
        )
