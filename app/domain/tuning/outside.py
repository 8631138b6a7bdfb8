"""What a suggester is told that was not measured by the study itself: taken over from earlier studies, or attached.

Such observations come before trial 0, so their numbers count up to -1, and each stands for one of the study's random
initial points.
"""

from collections.abc import Sequence

from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Trial
from app.domain.tuning.warm_start import Inherited


def outside_observations(inherited: Sequence[Inherited], attached: Sequence[Trial]) -> list[Observation]:
    """First what was inherited, then what was attached, each in the order given."""
    told = [(found.parameters, found.value) for found in inherited]
    told += [(trial.parameters, trial.objective) for trial in attached if trial.parameters is not None]
    return [
        Observation(number=place - len(told), parameters=parameters, value=value, is_infeasible=value is None)
        for place, (parameters, value) in enumerate(told)
    ]
