"""What every `Suggester` promises, whatever it learns from."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from app.adapters.bayes_opt import BayesianSuggester
from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import CategoricalParameter, IntParameter, SearchSpace, preset
from app.domain.tuning.suggester import Observation

Make = Callable[[SearchSpace, int], Suggester]

SPACE = preset("article", epochs=3, overrides={})
SMALL = SearchSpace(
    parameters=(
        IntParameter(name="window", low=1, high=5),
        CategoricalParameter(name="scoring", choices=("input", "output", "sum")),
    ),
    fixed={},
)
N_INITIAL = 3


def bayesian(space: SearchSpace, seed: int) -> Suggester:
    return BayesianSuggester(space, seed=seed, n_initial=N_INITIAL, acquisition="ei")


pytestmark = pytest.mark.parametrize("make", [bayesian, RandomSearch], ids=["bayesian", "random"])


def objective(parameters: TrainingParameters) -> float:
    return math.exp(-abs(math.log10(parameters.alpha) + 1.3)) / parameters.window


def studied(suggester: Suggester, *, n: int) -> list[Observation]:
    seen: list[Observation] = []
    for number in range(n):
        parameters = suggester.suggest(seen, number=number)
        seen.append(Observation(number, parameters, objective(parameters)))
    return seen


def test_same_seed_number_and_observations_make_the_same_point(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=6)
    assert seen == studied(make(SPACE, 1), n=6)
    assert make(SPACE, 1).suggest(seen, number=6) == make(SPACE, 1).suggest(seen, number=6)


def test_another_seed_makes_other_points(make: Make) -> None:
    assert studied(make(SPACE, 1), n=4) != studied(make(SPACE, 2), n=4)


def test_study_goes_on_as_if_it_had_never_stopped(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=6)
    for number in range(6):
        assert make(SPACE, 1).suggest(seen[:number], number=number) == seen[number].parameters


def test_global_random_state_is_neither_read_nor_changed(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=4)
    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    first = make(SPACE, 1).suggest(seen, number=4)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert make(SPACE, 1).suggest(seen, number=4) == first


def test_observations_are_left_as_they_were(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=5)
    given = list(seen)
    make(SPACE, 1).suggest(given, number=5)
    assert given == seen


def test_no_point_comes_again_while_the_space_has_others(make: Make) -> None:
    seen = studied(make(SMALL, 1), n=15)
    assert len({observation.parameters for observation in seen}) == 15


def test_used_up_space_still_gives_a_point_of_it(make: Make) -> None:
    again = make(SMALL, 1).suggest(studied(make(SMALL, 1), n=15), number=15)
    assert SMALL.decode(SMALL.encode(again)) == again


def test_parallel_workers_do_not_repeat_each_other(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=5)
    for number in range(5, 9):
        seen.append(Observation(number, make(SPACE, 1).suggest(seen, number=number), value=None))
    assert len({observation.parameters for observation in seen}) == 9


@pytest.mark.parametrize("value", [None, 0.0, 0.25])
def test_equal_or_missing_values_are_no_obstacle(make: Make, value: float | None) -> None:
    seen: list[Observation] = []
    for number in range(6):
        seen.append(Observation(number, make(SPACE, 1).suggest(seen, number=number), value))
    assert len({observation.parameters for observation in seen}) == 6


def test_nothing_but_infeasible_points_is_no_obstacle(make: Make) -> None:
    seen: list[Observation] = []
    for number in range(6):
        parameters = make(SPACE, 1).suggest(seen, number=number)
        seen.append(Observation(number, parameters, value=None, is_infeasible=True))
    assert len({observation.parameters for observation in seen}) == 6


def test_what_is_expected_is_an_improvement_or_unknown_and_the_same_each_time(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=8)
    suggested = make(SPACE, 1).suggest(seen, number=8)
    expected = make(SPACE, 1).expected_improvement(seen, suggested, number=8)
    assert expected is None or 0 <= expected <= 1
    assert make(SPACE, 1).expected_improvement(seen, suggested, number=8) == expected


def test_nothing_is_expected_while_points_are_drawn_at_random(make: Make) -> None:
    seen = studied(make(SPACE, 1), n=2)
    suggested = make(SPACE, 1).suggest(seen, number=2)
    assert make(SPACE, 1).expected_improvement(seen, suggested, number=2) is None
    equal = [Observation(number, observation.parameters, 0.2) for number, observation in enumerate(seen)]
    assert make(SPACE, 1).expected_improvement(equal, suggested, number=9) is None


@pytest.mark.parametrize("searched", [SPACE, SMALL, preset("extended", epochs=3, overrides={})])
def test_every_point_is_one_of_the_space(make: Make, searched: SearchSpace) -> None:
    for seen in studied(make(searched, 1), n=6):
        assert searched.decode(searched.encode(seen.parameters)) == seen.parameters
