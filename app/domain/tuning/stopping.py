"""Stopping rules: when a study begins no further trial although its budget is not used up. Any of them is enough.

    max_trials                  so many trials of the search have been begun
    max_run_s                   the study has run so many seconds; time spent queued or paused is not counted
    no_improvement              the last n trials that ended raised the best objective by min_delta or less
    target                      the best objective is at least this
    min_expected_improvement    the largest improvement that the suggester expects of any next point is less than this
                                share of the noise floor

Notation: v_1 ... v_m, the objectives (maximised) of the trials that told something, in the order in which they ended;
None for one that can't be the best. The noise floor is the standard error of the best trial's objective, its 95 %
interval's width over 2 * 1.96: improvements far below it could not be told from chance.

Trials under way when a rule fires finish. `min_expected_improvement` is looked at when a point is suggested from what
was measured, the others whenever a trial ends or is about to begin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from app.domain.errors import InvalidRequest
from app.domain.measurement import Estimate

Z_95 = 1.96
"""Standard errors from the middle to either end of a 95 % interval."""

MAX_TRIALS = 10_000
LONGEST_RUN_S = 366 * 86_400.0


class StoppingRule(StrEnum):
    """See the module header."""

    MAX_TRIALS = "max_trials"
    MAX_RUN_S = "max_run_s"
    NO_IMPROVEMENT = "no_improvement"
    TARGET = "target"
    MIN_EXPECTED_IMPROVEMENT = "min_expected_improvement"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImprovement:
    """The last `n_trials` raised the best objective by `min_delta` or less."""

    n_trials: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        _check("no_improvement/n_trials", self.n_trials, 1, MAX_TRIALS)
        _check("no_improvement/min_delta", self.min_delta, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The rules of a study; None where there is none. `min_expected_improvement` is a share of the noise floor."""

    max_trials: int | None = None
    max_run_s: float | None = None
    no_improvement: NoImprovement | None = None
    target: float | None = None
    min_expected_improvement: float | None = None

    def __post_init__(self) -> None:
        if self.max_trials is not None:
            _check("max_trials", self.max_trials, 1, MAX_TRIALS)
        if self.max_run_s is not None:
            _check("max_run_s", self.max_run_s, 1, LONGEST_RUN_S)
        if self.target is not None:
            _check("target", self.target, 0, 1)
        if self.min_expected_improvement is not None:
            _check("min_expected_improvement", self.min_expected_improvement, 0, 100)

    @property
    def has_rules(self) -> bool:
        """Whether there is any."""
        return self != Stopping()

    def without(self, rule: StoppingRule) -> "Stopping":
        """The other rules."""
        return replace(self, **{rule.value: None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why a study began no further trial, and since when."""

    rule: StoppingRule
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSoFar:
    """What the rules look at. `values` and `noise_floor` as in the module header; `best` is the best objective."""

    n_begun: int
    run_s: float
    values: Sequence[float | None] = ()
    best: float | None = None
    noise_floor: float | None = None
    expected_improvement: float | None = None


def due(stopping: Stopping, so_far: SearchSoFar) -> tuple[StoppingRule, str] | None:
    """The first rule that says stop, with its reason; None when none does."""
    for rule, reason_of in _REASONS.items():
        reason = reason_of(stopping, so_far)
        if reason is not None:
            return rule, reason
    return None


def noise_floor(best: Estimate) -> float:
    """The standard error of an objective, from its 95 % interval."""
    return (best.high - best.low) / (2 * Z_95)


def _max_trials(stopping: Stopping, so_far: SearchSoFar) -> str | None:
    limit = stopping.max_trials
    if limit is None or so_far.n_begun < limit:
        return None
    return f"{so_far.n_begun} trials of the search were begun, and max_trials is {limit}."


def _max_run_s(stopping: Stopping, so_far: SearchSoFar) -> str | None:
    limit = stopping.max_run_s
    if limit is None or so_far.run_s < limit:
        return None
    return f"The study has run for {so_far.run_s:.0f} s, and max_run_s is {limit:g}."


def _no_improvement(stopping: Stopping, so_far: SearchSoFar) -> str | None:
    rule, values = stopping.no_improvement, so_far.values
    if rule is None or len(values) <= rule.n_trials:
        return None
    before = [value for value in values[: -rule.n_trials] if value is not None]
    last = [value for value in values[-rule.n_trials :] if value is not None]
    if not before:
        return None
    gain = max(last, default=-math.inf) - max(before)
    if gain > rule.min_delta:
        return None
    return (
        f"The last {rule.n_trials} trials raised the best objective, {max(before):.6g} before them, "
        f"by no more than {rule.min_delta:g}."
    )


def _target(stopping: Stopping, so_far: SearchSoFar) -> str | None:
    target, best = stopping.target, so_far.best
    if target is None or best is None or best < target:
        return None
    return f"The best objective, {best:.6g}, reached the target of {target:g}."


def _min_expected_improvement(stopping: Stopping, so_far: SearchSoFar) -> str | None:
    share, floor, expected = stopping.min_expected_improvement, so_far.noise_floor, so_far.expected_improvement
    if share is None or floor is None or expected is None or expected >= share * floor:
        return None
    return (
        f"No next point is expected to improve the best objective by more than {expected:.3g}, which is below "
        f"{share:g} of the noise floor, {floor:.3g}: the standard error of the best trial's objective."
    )


_REASONS = {
    StoppingRule.MAX_TRIALS: _max_trials,
    StoppingRule.MAX_RUN_S: _max_run_s,
    StoppingRule.NO_IMPROVEMENT: _no_improvement,
    StoppingRule.TARGET: _target,
    StoppingRule.MIN_EXPECTED_IMPROVEMENT: _min_expected_improvement,
}
"""In the order in which the rules are asked."""


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        shown = name.replace("/", ".")
        raise InvalidRequest(
            f"stopping.{shown} must be between {low:g} and {high:g}, not {value}.", pointer=f"/stopping/{name}"
        )
