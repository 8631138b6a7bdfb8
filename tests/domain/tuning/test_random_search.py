import numpy as np
import pytest

from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import FloatParameter, IntParameter, SearchSpace, preset
from app.domain.tuning.suggester import Observation

SPACE = preset("article", epochs=3, overrides={})
FEW = SearchSpace(parameters=(IntParameter(name="window", low=1, high=100, scale="log"),), fixed={})


def observed(search: RandomSearch, *, n: int) -> list[Observation]:
    seen: list[Observation] = []
    for number in range(n):
        seen.append(Observation(number, search.suggest(seen, number=number), value=0.5))
    return seen


def test_seed_and_number_make_the_point_whatever_was_observed() -> None:
    search = RandomSearch(SPACE, 3)
    assert search.suggest(observed(search, n=5), number=7) == RandomSearch(SPACE, 3).suggest([], number=7)


@pytest.mark.parametrize(("seed", "number"), [(4, 7), (3, 8)])
def test_another_seed_or_number_makes_another_point(seed: int, number: int) -> None:
    assert RandomSearch(SPACE, seed).suggest([], number=number) != RandomSearch(SPACE, 3).suggest([], number=7)


def test_global_random_state_is_neither_read_nor_changed() -> None:
    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    before = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    first = RandomSearch(SPACE, 3).suggest([], number=7)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert RandomSearch(SPACE, 3).suggest([], number=7) == first


def test_every_point_of_a_small_space_comes_before_one_comes_again() -> None:
    seen = observed(RandomSearch(FEW, 0), n=100)
    assert {observation.parameters.window for observation in seen} == set(range(1, 101))


def test_used_up_space_repeats_itself() -> None:
    search = RandomSearch(FEW, 0)
    assert 1 <= search.suggest(observed(search, n=100), number=100).window <= 100


def test_space_without_an_end_may_repeat_a_point_that_is_drawn_again_and_again() -> None:
    alike = FloatParameter(name="alpha", low=0.5, high=float(np.nextafter(0.5, 1)))
    search = RandomSearch(SearchSpace(parameters=(alike,), fixed={}), 0)
    assert len({seen.parameters for seen in observed(search, n=4)}) <= 2


def test_points_are_spread_evenly_over_the_space() -> None:
    search = RandomSearch(SPACE, 0)
    points = np.array([SPACE.encode(search.suggest([], number=number)) for number in range(2_000)])
    assert np.allclose(points.mean(axis=0), 0.5, atol=0.03)
    assert np.allclose(points.var(axis=0), 1 / 12, atol=0.01)
    assert np.abs(np.corrcoef(points.T) - np.eye(4)).max() < 0.1


def test_nothing_is_expected_of_any_point() -> None:
    search = RandomSearch(SPACE, 3)
    expected: float | None = search.expected_improvement([], search.suggest([], number=0), number=0)  # type: ignore[func-returns-value]
    assert expected is None
