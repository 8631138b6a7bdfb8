"""What a suggester is told that was not measured by the study itself: taken over from earlier studies, or attached.

Such observations come before trial 0, so their numbers count up to -1, and each stands for one of the study's random
initial points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.tuning.constraints import Constraint, violations
from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Trial
from app.domain.tuning.warm_start import Inherited


def outside_observations(
    inherited: Sequence[Inherited],
    attached: Sequence[Trial],
    *,
    constraints: Sequence[Constraint] = (),
    baselines: Mapping[str, Trial] | None = None,
) -> list[Observation]:
    """First what was inherited, then what was attached, each in the order given.

    An attached trial is pending until the baselines tell whether it keeps the constraints; a study that has any
    inherits no values.
    """
    told = [Observation(0, found.parameters, found.value, is_infeasible=found.value is None) for found in inherited]
    for trial in attached:
        violated = violations(constraints, trial, baselines or {})
        value = None if violated is None else trial.objective
        if trial.parameters is not None:
            told.append(Observation(0, trial.parameters, value, violations=violated or ()))
    return [replace(observation, number=place - len(told)) for place, observation in enumerate(told)]
