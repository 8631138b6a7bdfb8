import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from app.adapters import bayes_opt
from app.adapters.bayes_opt import Acquisition, BayesianSuggester, suggester_for
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import CategoricalParameter, FloatParameter, IntParameter, SearchSpace, preset
from app.domain.tuning.suggester import Observation
from tests.values import study_spec

SPACE = preset("article", epochs=3, overrides={})
LINE = SearchSpace(parameters=(FloatParameter(name="ns_exponent", low=0.0, high=1.0),), fixed={})
N_INITIAL = 5

ACQUISITIONS: tuple[Acquisition, ...] = ("ei", "ucb", "poi")


def response(parameters: TrainingParameters) -> float:
    """Like a hit ratio over the article's space: alpha matters most, then window; at most 0.22."""
    rate = math.exp(-(((math.log10(parameters.alpha) + 1.2) / 0.5) ** 2))
    reach = math.exp(-(((math.log(parameters.window) - math.log(4)) / 1.6) ** 2))
    size = (1 - 0.25 * math.exp(-parameters.vector_size / 40)) * (1 - 0.3 * math.exp(-parameters.negative / 8))
    return 0.22 * rate * reach * size


def best_of(suggester: BayesianSuggester | RandomSearch, *, seed: int, n: int = 24, n_workers: int = 1) -> float:
    """The true response at the point that looked best through the noise; the last trials are pending."""
    noise = np.random.default_rng(1_000 + seed)
    seen: list[Observation] = []
    for number in range(n):
        told = [replace(other, value=None) if number - other.number < n_workers else other for other in seen]
        parameters = suggester.suggest(told, number=number)
        seen.append(Observation(number, parameters, response(parameters) + noise.normal(0, 0.004)))
    return response(max(seen, key=lambda observation: observation.value or 0.0).parameters)


def bayesian(space: SearchSpace = SPACE, *, seed: int = 0, acquisition: Acquisition = "ei") -> BayesianSuggester:
    return BayesianSuggester(space, seed=seed, n_initial=N_INITIAL, acquisition=acquisition)


def on_the_line(*points: tuple[float, float | None]) -> list[Observation]:
    return [Observation(number, TrainingParameters(ns_exponent=x), value) for number, (x, value) in enumerate(points)]


@pytest.mark.parametrize(("acquisition", "n_workers"), [("ei", 1), ("ucb", 1), ("poi", 1), ("ei", 4)])
def test_learns_faster_than_random_search(acquisition: Acquisition, n_workers: int) -> None:
    seeds = range(3)
    learned = [best_of(bayesian(seed=seed, acquisition=acquisition), seed=seed, n_workers=n_workers) for seed in seeds]
    drawn = [best_of(RandomSearch(SPACE, seed), seed=seed) for seed in seeds]
    assert np.mean(learned) > np.mean(drawn) + 0.02


def test_first_points_are_those_of_random_search() -> None:
    seen = [Observation(0, TrainingParameters(alpha=0.01), 0.1), Observation(1, TrainingParameters(), 0.2)]
    for number in range(N_INITIAL):
        assert bayesian().suggest(seen, number=number) == RandomSearch(SPACE, 0).suggest(seen, number=number)
    assert bayesian().suggest(seen, number=N_INITIAL) != RandomSearch(SPACE, 0).suggest(seen, number=N_INITIAL)


@pytest.mark.parametrize("value", [None, 0.3])
def test_points_are_drawn_while_there_is_nothing_to_learn_from(value: float | None) -> None:
    seen = on_the_line((0.1, value), (0.6, value))
    assert bayesian(LINE).suggest(seen, number=9) == RandomSearch(LINE, 0).suggest(seen, number=9)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_shift_and_scale_of_the_objective_do_not_matter(acquisition: Acquisition) -> None:
    plain = on_the_line((0.1, 1.0), (0.5, 2.0), (0.9, 1.5))
    small = [replace(seen, value=None if seen.value is None else 0.25 + seen.value / 1024) for seen in plain]
    first = bayesian(LINE, acquisition=acquisition).suggest(plain, number=7)
    assert bayesian(LINE, acquisition=acquisition).suggest(small, number=7).ns_exponent == pytest.approx(
        first.ns_exponent, abs=1e-3
    )


def test_next_point_is_near_the_best_known() -> None:
    slope = on_the_line(*((x, -((x - 0.7) ** 2)) for x in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)))
    assert bayesian(LINE).suggest(slope, number=9).ns_exponent == pytest.approx(0.7, abs=0.1)


def test_pending_point_turns_the_search_elsewhere() -> None:
    seen = on_the_line((0.0, 0.2), (0.5, 1.0), (1.0, 0.2))
    first = bayesian(LINE).suggest(seen, number=9)
    pending = [*seen, Observation(9, first, value=None)]
    assert abs(bayesian(LINE).suggest(pending, number=10).ns_exponent - first.ns_exponent) > 0.05


def test_infeasible_region_is_left_alone() -> None:
    seen = on_the_line((0.0, 0.5), (0.3, 0.51), (0.1, 0.52), (0.2, 0.53))
    bad = [
        Observation(4 + number, TrainingParameters(ns_exponent=x), value=None, is_infeasible=True)
        for number, x in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
    ]
    assert bayesian(LINE).suggest([*seen, *bad], number=10).ns_exponent < 0.45


def test_infeasible_counts_as_the_worst_seen_and_pending_as_unknown() -> None:
    seen = [
        *on_the_line((0.1, 1.0), (0.2, 3.0)),
        Observation(2, TrainingParameters(ns_exponent=0.3), value=None),
        Observation(3, TrainingParameters(ns_exponent=0.4), value=None, is_infeasible=True),
    ]
    points, values = bayes_opt._standardised(LINE, seen, np.array([1.0, 3.0]))
    assert points.ravel().tolist() == [0.1, 0.2, 0.3, 0.4]
    assert values.tolist() == pytest.approx([-1.0, 1.0, np.nan, -1.0], nan_ok=True)


def test_point_measured_twice_has_the_mean_and_no_lie() -> None:
    seen = on_the_line((0.1, 1.0), (0.1, 2.0), (0.1, None), (0.2, 3.0))
    points, values = bayes_opt._standardised(LINE, seen, np.array([1.0, 2.0, 3.0]))
    assert points.ravel().tolist() == [0.1, 0.2]
    assert values.tolist() == pytest.approx([-0.5 / np.std([1, 2, 3]), 1 / np.std([1, 2, 3])])


def test_many_observations_are_thinned_to_the_best_and_the_newest() -> None:
    half = bayes_opt.MAX_FITTED // 2
    values = np.r_[np.linspace(1, 2, half), np.zeros(3 * half)]
    assert bayes_opt._kept(values).tolist() == [*range(half), *range(3 * half, 4 * half)]


@pytest.mark.parametrize("n", [1, bayes_opt.MAX_FITTED])
def test_few_observations_are_all_used(n: int) -> None:
    assert bayes_opt._kept(np.zeros(n)).tolist() == list(range(n))


def test_budget_of_hundreds_is_affordable() -> None:
    draws = RandomSearch(SPACE, 0)
    points = [draws.suggest([], number=number) for number in range(600)]
    seen = [Observation(number, point, response(point)) for number, point in enumerate(points)]
    assert response(bayesian().suggest(seen, number=600)) > 0.15


def test_choices_are_learned() -> None:
    searched = SearchSpace(
        parameters=(
            CategoricalParameter(name="scoring", choices=("input", "output", "sum")),
            IntParameter(name="window", low=1, high=40),
        ),
        fixed={},
    )
    seen: list[Observation] = []
    for number in range(20):
        parameters = bayesian(searched).suggest(seen, number=number)
        value = (1.0 if parameters.scoring.value == "output" else 0.2) - abs(parameters.window - 12) / 100
        seen.append(Observation(number, parameters, value))
    last = [observation.parameters for observation in seen[10:]]
    assert sum(parameters.scoring.value == "output" for parameters in last) >= 6
    assert max(observation.value or 0.0 for observation in seen) > 0.97


def test_best_point_seen_before_is_replaced_by_the_next_best() -> None:
    searched = SearchSpace(parameters=(IntParameter(name="window", low=1, high=9),), fixed={})
    seen = [
        Observation(window, TrainingParameters(window=window), -abs(window - 5.0)) for window in (1, 3, 4, 5, 7, 8, 9)
    ]
    assert bayesian(searched).suggest(seen, number=10).window in {2, 6}


def test_no_warning_leaves_a_suggestion() -> None:
    flat = on_the_line(*((x / 40, float(x % 2)) for x in range(40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for acquisition in ACQUISITIONS:
            bayesian(LINE, acquisition=acquisition).suggest(flat, number=40)


def test_another_interpreter_suggests_the_same() -> None:
    program = (
        "from tests.adapters.test_bayes_opt import *\n"
        "print(bayesian().suggest([Observation(0, TrainingParameters(alpha=0.01), 0.1),"
        " Observation(1, TrainingParameters(), 0.2)], number=8))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    ).stdout
    seen = [Observation(0, TrainingParameters(alpha=0.01), 0.1), Observation(1, TrainingParameters(), 0.2)]
    assert told.strip() == repr(bayesian().suggest(seen, number=8))


def test_study_gets_the_suggester_it_asks_for() -> None:
    spec = study_spec("dst_1")
    assert isinstance(suggester_for(replace(spec, algorithm="random")), RandomSearch)
    assert isinstance(suggester_for(replace(spec, algorithm="bayesian", acquisition="ucb")), BayesianSuggester)


def expected_after(n: int, *, scale: float = 1.0, shift: float = 0.0) -> float:
    """What is expected of the next point after so many trials without noise."""
    seen: list[Observation] = []
    for number in range(n):
        parameters = bayesian().suggest(seen, number=number)
        seen.append(Observation(number, parameters, response(parameters)))
    told = [replace(observation, value=shift + scale * (observation.value or 0.0)) for observation in seen]
    expected = bayesian().expected_improvement(told, bayesian().suggest(told, number=n), number=n)
    assert expected is not None
    return expected


def test_expected_improvement_is_in_the_objectives_units() -> None:
    assert expected_after(8, scale=10, shift=3) == pytest.approx(10 * expected_after(8), rel=1e-6)


def test_less_and_less_is_expected_of_a_search_that_has_found_the_best() -> None:
    early, late = expected_after(8), expected_after(40)
    assert early > 0.003
    assert late < early / 4


def test_expected_improvement_is_what_the_process_draws_over_the_best_come_to() -> None:
    seen = on_the_line((0.0, 0.1), (0.35, 0.3), (0.5, 0.2), (0.8, 0.28), (1.0, 0.1), (0.2, None))
    expected = bayesian(LINE).expected_improvement(seen, TrainingParameters(ns_exponent=0.3), number=9)
    measured = np.array([observation.value for observation in seen if observation.value is not None])
    points, values = bayes_opt._standardised(LINE, seen, measured)
    process = bayes_opt._fitted(bayes_opt._process(LINE, seed=bayes_opt._seeds(0, 9)[2]), points, values)
    grid = np.linspace(0, 1, 201)[:, None]
    mean, deviation = process.predict(grid, return_std=True)
    draws = mean + deviation * np.random.default_rng(0).normal(size=(20_000, 1))
    improvement = np.maximum(draws - np.nanmax(values), 0).mean(axis=0).max() * measured.std()
    assert expected == pytest.approx(improvement, rel=0.05)
