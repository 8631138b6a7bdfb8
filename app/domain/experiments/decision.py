"""Decisions: what an experiment's results advise, by one rule that is told with the advice.

    state of a goal       better or worse where its sequential interval lies on one side of 0, else open
    state of a guardrail  held where its relative sequential interval lies above -margin, broken where it lies below,
                          else open; signs are turned where lower is better

    1 effects are withheld                                             keep_running, with the reason
    2 a treatment's lifts differ between segments, some gain by it     bundle: the treatment in the segments that gain
      and others do not, or a guardrail is broken in them               (and, where the goal is better, in those that
                                                                        show neither), the control in the others
    3 a goal is better, none worse, every guardrail held                ship
    4 a goal is worse or a guardrail broken                             roll_back
    5 the planned days are over                                         roll_back: no gain, or a guardrail still open
    6 else                                                              keep_running

Lifts differ where Cochran's Q, adjusted over metrics, is below the level of the day's look; a segment gains or loses
where its p value, adjusted over segments, is. That level is what the boundary of the goal's look is worth, so asking
every day is as safe as for the top line. With several treatments the first that ships, or else can be bundled, by its
relative lift in the first goal, is advised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.domain.experiments.effects import Estimate
from app.domain.experiments.experiment import ExperimentSpec
from app.domain.experiments.metrics import Metric, MetricRole
from app.domain.experiments.results import Look, MetricResult, Results

RULE = __doc__ or ""

DEFAULT_MARGIN = 0.02
"""The relative loss that a guardrail tolerates where it says nothing."""

Action = Literal["ship", "roll_back", "keep_running", "bundle"]
Standing = Literal["better", "worse", "held", "broken", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How one treatment stands in one metric."""

    variant: str
    metric: str
    role: MetricRole
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do: ship `variant`, or give each segment its own of `segments`, the rest having the control."""

    action: Action
    reason: str
    variant: str | None = None
    segments: dict[str, str] = field(default_factory=dict)
    stands: tuple[Stand, ...] = ()


def advised(spec: ExperimentSpec, results: Results) -> Advice:
    """By the rule of the module header."""
    if results.reason is not None:
        return Advice(action="keep_running", reason=f"There is nothing to decide by: {results.reason}")
    control, *treatments = (variant.name for variant in spec.variants)
    ranked = sorted(treatments, key=lambda each: _relative(spec, results, each), reverse=True)
    stands = tuple(stand for each in treatments for stand in _stands(results, each))
    bundles = {each: found for each in ranked if (found := _bundle(results, each, control))}
    shipped = [each for each in ranked if _ships([stand for stand in stands if stand.variant == each])]
    if bundles and not (shipped and shipped[0] not in bundles):
        variant = next(iter(bundles))
        return _bundled(variant, bundles[variant], stands)
    if shipped:
        return Advice(
            action="ship",
            variant=shipped[0],
            reason=f"{shipped[0]} is better in a goal, worse in none, and every guardrail is held.",
            stands=stands,
        )
    return _otherwise(spec, results, stands, treatments)


def _bundled(variant: str, segments: dict[str, str], stands: tuple[Stand, ...]) -> Advice:
    gained = ", ".join(name for name, each in segments.items() if each == variant)
    reason = f"The lift of {variant} differs between segments: it gains in {gained}, and not everywhere."
    return Advice(action="bundle", variant=variant, reason=reason, segments=segments, stands=stands)


def _otherwise(spec: ExperimentSpec, results: Results, stands: tuple[Stand, ...], treatments: Sequence[str]) -> Advice:
    """Rules 4 to 6."""
    lost = {stand.variant: stand for stand in stands if stand.standing in {"worse", "broken"}}
    if len(lost) == len(treatments):
        told = "; ".join(f"{each.variant} is {each.standing} in {each.metric}" for each in lost.values())
        return Advice(action="roll_back", reason=f"{told}.", stands=stands)
    if results.n_days >= spec.planned_days:
        reason = f"No gain that every guardrail allows was shown within the {spec.planned_days} days that were planned."
        return Advice(action="roll_back", reason=reason, stands=stands)
    left = spec.planned_days - results.n_days
    reason = f"Nothing is settled yet; {left} of the {spec.planned_days} planned days are left."
    return Advice(action="keep_running", reason=reason, stands=stands)


def _stands(results: Results, variant: str) -> list[Stand]:
    return [
        Stand(variant=variant, metric=result.metric.name, role=result.metric.role, standing=_standing(result, variant))
        for result in results.metrics
        if result.metric.role is not MetricRole.SECONDARY
    ]


def _standing(result: MetricResult, variant: str) -> Standing:
    look = result.last(variant)
    if look is None:
        return "open"
    if result.metric.role is MetricRole.GUARDRAIL:
        return _guarded(result.metric, look)
    direction = look.direction if result.metric.higher_is_better else -look.direction
    return "better" if direction > 0 else "worse" if direction < 0 else "open"


def _guarded(metric: Metric, look: Look) -> Standing:
    if look.relative_interval is None:
        return "open"
    low, high = look.relative_interval.low, look.relative_interval.high
    if not metric.higher_is_better:
        low, high = -high, -low
    margin = margin_of(metric)
    return "held" if low > -margin else "broken" if high < -margin else "open"


def margin_of(metric: Metric) -> float:
    """What a guardrail tolerates."""
    return DEFAULT_MARGIN if metric.margin is None else metric.margin


def _ships(stands: Sequence[Stand]) -> bool:
    goals = {stand.standing for stand in stands if stand.role is MetricRole.GOAL}
    guardrails = {stand.standing for stand in stands if stand.role is MetricRole.GUARDRAIL}
    return "better" in goals and "worse" not in goals and guardrails <= {"held"}


def _bundle(results: Results, variant: str, control: str) -> dict[str, str] | None:
    """The variant of each segment, by the first goal whose lifts differ; None where one for all will do."""
    for result in results.metrics:
        look = result.last(variant)
        if result.metric.role is not MetricRole.GOAL or look is None:
            continue
        differing = next(each for each in result.differing if each.variant == variant)
        if differing.p_adjusted is None or differing.p_adjusted >= look.level:
            continue
        gains = {
            str(effect.segment): _gain(result, effect.segment, variant, look.level)
            for effect in result.segments
            if effect.treatment.variant == variant
        }
        is_better = _standing(result, variant) == "better"
        takes = {
            name: (gain > 0 or (gain == 0 and is_better)) and not _is_broken(results, name, variant)
            for name, gain in gains.items()
        }
        if any(taken and gains[name] > 0 for name, taken in takes.items()) and not all(takes.values()):
            return {name: variant if taken else control for name, taken in takes.items()}
    return None


def _gain(result: MetricResult, segment: str | None, variant: str, level: float) -> int:
    """1 where a segment gains, -1 where it loses, 0 where neither is shown."""
    effect = result.effect(variant, segment)
    if effect is None or not isinstance(effect.estimate, Estimate) or effect.p_adjusted is None:
        return 0
    if effect.p_adjusted >= level:
        return 0
    sign = 1 if effect.estimate.lift > 0 else -1
    return sign if result.metric.higher_is_better else -sign


def _is_broken(results: Results, segment: str, variant: str) -> bool:
    """Whether a guardrail's loss in a segment is shown to be more than its margin."""
    for result in results.metrics:
        effect = result.effect(variant, segment)
        if result.metric.role is not MetricRole.GUARDRAIL or effect is None:
            continue
        if not isinstance(effect.estimate, Estimate) or effect.estimate.relative_interval is None:
            continue
        ends = effect.estimate.relative_interval
        best = ends.high if result.metric.higher_is_better else -ends.low
        if best < -margin_of(result.metric):
            return True
    return False


def _relative(spec: ExperimentSpec, results: Results, variant: str) -> float:
    """How much better a treatment is in the first goal."""
    goal = next(metric.name for metric in spec.metrics if metric.role is MetricRole.GOAL)
    result = next(each for each in results.metrics if each.metric.name == goal)
    look = result.last(variant)
    if look is None or look.relative is None:
        return float("-inf")
    return look.relative if result.metric.higher_is_better else -look.relative
