"""The trials of a study with two objectives that no other trial beats in both.

Trial a dominates trial b when it is at least as good in every objective and better in one, as measured: intervals are
shown but do not decide. Trials that are equal in both all stay.
Source: Pareto dominance, as in Knowles 2006.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.measurement import Estimate
from app.domain.tuning.objectives import ObjectiveName, estimate_of, value_of
from app.domain.tuning.trial import Trial, TrialRole, TrialState


@dataclass(frozen=True, slots=True)
class Measured:
    """One objective of a trial; `estimate` is None for what has no interval."""

    name: ObjectiveName
    value: float
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class FrontTrial:
    """A trial of the front with its objectives, in the study's order."""

    trial: Trial
    objectives: tuple[Measured, ...]


def front(trials: Sequence[Trial], names: Sequence[ObjectiveName]) -> list[FrontTrial]:
    """The completed trials of the search that none dominates, best in the first objective first, then by number.

    A trial in which an objective could not be measured is not compared.
    """
    measured = [found for trial in trials if (found := _measured(trial, names)) is not None]
    measured.sort(key=lambda one: (*_losses(one), one.trial.number))
    kept: list[FrontTrial] = []
    least = float("inf")
    for one in measured:  # by the first loss, so only one with less of the second than all before is not dominated
        second = _losses(one)[1]
        is_equal = bool(kept) and _losses(kept[-1]) == _losses(one)
        if second < least or is_equal:
            kept.append(one)
            least = second
    return kept


def _losses(one: FrontTrial) -> tuple[float, ...]:
    """Each objective so that less is better."""
    return tuple(part.value if part.name.is_minimised else -part.value for part in one.objectives)


def _measured(trial: Trial, names: Sequence[ObjectiveName]) -> FrontTrial | None:
    validation = None if trial.outcome is None else trial.outcome.validation
    if trial.role is not TrialRole.SEARCH or trial.state is not TrialState.COMPLETED or validation is None:
        return None
    parts = []
    for name in names:
        value = value_of(validation, name)
        if value is None:
            return None
        parts.append(Measured(name, value, estimate_of(validation, name)))
    return FrontTrial(trial, tuple(parts))
