"""What a suggester is told of earlier trials.

A suggester keeps nothing between calls: each suggestion is computed anew from the study's trials in the order of their
numbers, with a seed drawn from the study's seed and the trial's number, and is stored before it is used.
"""

from dataclasses import dataclass, field

from app.domain.measurement import Measurement
from app.domain.training import TrainingParameters
from app.domain.tuning.trial import Trial, TrialState


@dataclass(frozen=True, slots=True)
class Observation:
    """One earlier point. `value` is maximised; None while pending. An infeasible point is worth the worst seen."""

    number: int
    parameters: TrainingParameters
    value: float | None
    is_infeasible: bool = False
    measurement: Measurement | None = field(default=None, compare=False, repr=False)
    """What the value was read from, for a study that looks at more than one."""


def observations(trials: list[Trial]) -> list[Observation]:
    """What the search's trials say, by number; failed and cancelled ones say nothing."""
    told = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.parameters is None or trial.state in {TrialState.FAILED, TrialState.CANCELLED}:
            continue
        told.append(
            Observation(
                number=trial.number,
                parameters=trial.parameters,
                value=trial.objective,
                is_infeasible=trial.state is TrialState.INFEASIBLE,
                measurement=None if trial.outcome is None else trial.outcome.validation,
            )
        )
    return told
