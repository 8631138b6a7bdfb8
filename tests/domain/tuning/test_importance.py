"""What importance is told of a study's trials."""

import pytest

from app.domain.errors import Conflict
from app.domain.tuning.importance import FEWEST_TRIALS, observed
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import CategoricalParameter, FloatParameter, SearchSpace
from app.domain.tuning.suggester import Observation

SPACE = SearchSpace(
    parameters=(
        FloatParameter(name="alpha", low=0.001, high=0.1, scale="log"),
        CategoricalParameter(name="scoring", choices=("input", "output", "sum")),
    ),
    fixed={},
)


def seen(n: int, *, value: float | None = None) -> list[Observation]:
    suggester = RandomSearch(SPACE, 1)
    return [
        Observation(number, suggester.suggest([], number=number), number / 10 if value is None else value)
        for number in range(n)
    ]


def test_a_row_has_one_column_a_parameter() -> None:
    found = observed(SPACE, [*seen(FEWEST_TRIALS), Observation(99, seen(1)[0].parameters, None)])
    assert found.names == ("alpha", "scoring")
    assert found.is_choice == (False, True)
    assert len(found.rows) == len(found.values) == FEWEST_TRIALS
    assert all(0 <= alpha <= 1 and scoring in {0.0, 1.0, 2.0} for alpha, scoring in found.rows)


def test_too_few_trials_are_refused_by_number() -> None:
    with pytest.raises(Conflict, match=f"needs {FEWEST_TRIALS} .* there are 11"):
        observed(SPACE, seen(FEWEST_TRIALS - 1))


def test_trials_that_are_all_alike_are_refused() -> None:
    with pytest.raises(Conflict, match="no variation"):
        observed(SPACE, seen(FEWEST_TRIALS, value=0.5))
