"""What a suggester is told that was not measured by the study itself: taken over from earlier studies, or attached.

Such observations come before trial 0, so their numbers count up to -1, and each stands for one of the study's random
initial points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.training import TrainingParameters
from app.domain.tuning.constraints import Constraint, violations, violations_of
from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Trial, TrialOutcome
from app.domain.tuning.warm_start import Inherited


def outside_observations(
    inherited: Sequence[Inherited],
    attached: Sequence[Trial],
    *,
    constraints: Sequence[Constraint] = (),
    baselines: Mapping[str, Trial] | None = None,
) -> list[Observation]:
    """First what was inherited, then what was attached, each in the order given.

    As with the study's own trials, what was measured is pending until the baselines tell whether it keeps the
    constraints, and what was pruned or infeasible is not held to them.
    """
    known = baselines or {}
    told = [_inherited(found, constraints, known) for found in inherited]
    told += [
        _observation(trial.parameters, trial.objective, trial.outcome, violations(constraints, trial, known))
        for trial in attached
        if trial.parameters is not None
    ]
    return [replace(observation, number=place - len(told)) for place, observation in enumerate(told)]


def _inherited(found: Inherited, constraints: Sequence[Constraint], known: Mapping[str, Trial]) -> Observation:
    if found.value is None:
        return Observation(0, found.parameters, None, is_infeasible=True)
    outcome = found.outcome
    violated: tuple[float, ...] | None = ()
    if outcome is not None and not found.is_estimate:
        violated = violations_of(constraints, outcome, known)
    return _observation(found.parameters, found.value, outcome, violated)


def _observation(
    parameters: TrainingParameters,
    value: float | None,
    outcome: TrialOutcome | None,
    violated: tuple[float, ...] | None,
) -> Observation:
    return Observation(
        number=0,
        parameters=parameters,
        value=None if violated is None else value,
        violations=violated or (),
        measurement=None if outcome is None else outcome.validation,
    )
