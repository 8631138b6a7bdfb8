"""What a suggester is told of earlier trials.

A suggester keeps nothing between calls: each suggestion is computed anew from the study's trials in the order of their
numbers, with a seed drawn from the study's seed and the trial's number, and is stored before it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.measurement import Measurement
from app.domain.training import TrainingParameters
from app.domain.tuning.constraints import Constraint, violations
from app.domain.tuning.pruning import Curve, curve_of, worth
from app.domain.tuning.trial import Trial, TrialRole, TrialState


@dataclass(frozen=True, slots=True)
class Observation:
    """One earlier point. `value` is maximised; None while pending. An infeasible point is worth the worst seen.

    `violations` has one number a constraint of the study, 0 or less where it is kept, in bounds.
    """

    number: int
    parameters: TrainingParameters
    value: float | None
    is_infeasible: bool = False
    violations: tuple[float, ...] = ()
    measurement: Measurement | None = field(default=None, compare=False, repr=False)
    """What the value was read from, for a study that looks at more than one."""


def observations(trials: list[Trial], *, constraints: Sequence[Constraint] = ()) -> list[Observation]:
    """What the search's trials say, by number; failed and cancelled ones say nothing. Other trials may be among them.

    A pruned trial tells what it may have been worth (`pruning.worth`). A trial of which it isn't known yet whether it
    keeps the constraints is pending.
    """
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    search = sorted((trial for trial in trials if trial.role is TrialRole.SEARCH), key=lambda trial: trial.number)
    finished = [_curve(trial) for trial in search if trial.state is TrialState.COMPLETED]
    told = []
    for trial in search:
        if trial.parameters is None or trial.state in {TrialState.FAILED, TrialState.CANCELLED}:
            continue
        violated: tuple[float, ...] | None = ()
        if trial.state is TrialState.COMPLETED:
            violated = violations(constraints, trial, known)
        value = worth(_curve(trial), finished=finished) if trial.state is TrialState.PRUNED else trial.objective
        told.append(
            Observation(
                number=trial.number,
                parameters=trial.parameters,
                value=None if violated is None else value,
                is_infeasible=trial.state is TrialState.INFEASIBLE,
                measurement=None if trial.outcome is None else trial.outcome.validation,
                violations=violated or (),
            )
        )
    return told


def _curve(trial: Trial) -> Curve:
    return curve_of(() if trial.outcome is None else trial.outcome.epochs)
