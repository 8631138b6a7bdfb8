"""Importance: how much of the objective's variation over a study's trials each parameter accounts for.

A surrogate is fitted to resamples of the trials and asked about the trials left out of each; a parameter's importance
is how much worse it answers once that parameter's values are shuffled among them.
"""

from dataclasses import dataclass

from app.domain.errors import Conflict
from app.domain.tuning.search_space import CategoricalParameter, SearchSpace
from app.domain.tuning.suggester import Observation

FEWEST_TRIALS = 12
"""Measured trials below which nothing is said, and four for each free parameter."""

FEWEST_A_PARAMETER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterImportance:
    """The rise of the squared error over the objective's variance, mean and 2.5 to 97.5 percentiles over refits.

    About 0 for a parameter that does not matter (below it by chance), unbounded above.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Parameters, the most important first, and how well the surrogate answers: R² on trials it was not fitted to.

    An R² near or below 0 means that the importances say nothing.
    """

    parameters: tuple[ParameterImportance, ...]
    r2: float
    n_trials: int
    n_refits: int


@dataclass(frozen=True, slots=True)
class Observed:
    """One row a trial: each free parameter's value on the unit interval, or the number of its choice; and objectives.

    `is_choice` says which columns number choices.
    """

    names: tuple[str, ...]
    is_choice: tuple[bool, ...]
    rows: list[list[float]]
    values: list[float]


def observed(space: SearchSpace, observations: list[Observation]) -> Observed:
    """What there is to fit. Raises: Conflict when it is too little."""
    free = space.parameters
    measured = [each for each in observations if each.value is not None and not each.is_infeasible]
    fewest = max(FEWEST_TRIALS, FEWEST_A_PARAMETER * len(free))
    if len(measured) < fewest:
        raise Conflict(
            f"Importance needs {fewest} measured trials for {len(free)} free parameters; there are {len(measured)}."
        )
    values = [float(each.value) for each in measured if each.value is not None]
    if len(set(values)) == 1:
        raise Conflict("All trials have the same objective: there is no variation to account for.")
    rows = []
    for each in measured:
        row = []
        for parameter in free:
            value = getattr(each.parameters, parameter.name)
            coded = parameter.encode(value)
            row.append(float(coded.index(max(coded))) if isinstance(parameter, CategoricalParameter) else coded[0])
        rows.append(row)
    return Observed(
        tuple(parameter.name for parameter in free),
        tuple(isinstance(parameter, CategoricalParameter) for parameter in free),
        rows,
        values,
    )
