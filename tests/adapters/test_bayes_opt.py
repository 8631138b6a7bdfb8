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
from app.domain.tuning.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    SearchSpace,
    preset,
)
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


def bayesian(
    space: SearchSpace = SPACE, *, seed: int = 0, acquisition: Acquisition = "ei", n_constraints: int = 0
) -> BayesianSuggester:
    return BayesianSuggester(
        space, seed=seed, n_initial=N_INITIAL, acquisition=acquisition, n_constraints=n_constraints
    )


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
    known = bayes_opt._known(LINE, seen, np.array([1.0, 3.0]), n_constraints=0)
    assert known.points.ravel().tolist() == [0.1, 0.2, 0.3, 0.4]
    assert known.values.tolist() == pytest.approx([-1.0, 1.0, np.nan, -1.0], nan_ok=True)


def constrained(*points: tuple[float, float, tuple[float, ...]]) -> list[Observation]:
    return [
        Observation(number, TrainingParameters(ns_exponent=x), value, violations=violations)
        for number, (x, value, violations) in enumerate(points)
    ]


SLOPE = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("n_constraints", [1, 2])
def test_best_point_is_sought_where_the_constraints_hold(acquisition: Acquisition, n_constraints: int) -> None:
    seen = constrained(*((x, x, ((x - 0.55) * 300, -1.0)[:n_constraints]) for x in SLOPE))
    suggester = bayesian(LINE, acquisition=acquisition, n_constraints=n_constraints)
    assert 0.5 < suggester.suggest(seen, number=9).ns_exponent < 0.65


def test_points_are_drawn_until_one_holds_to_the_constraints() -> None:
    seen = constrained(*((x, x, (0.1, -1.0)) for x in SLOPE))
    drawn = RandomSearch(LINE, 0).suggest(seen, number=9)
    assert bayesian(LINE, n_constraints=2).suggest(seen, number=9) == drawn
    held = [*seen, Observation(9, TrainingParameters(ns_exponent=0.3), 0.3, violations=(0.0, -1.0))]
    drawn = RandomSearch(LINE, 0).suggest(held, number=10)
    assert bayesian(LINE, n_constraints=2).suggest(held, number=10) != drawn


def test_points_are_drawn_while_it_is_known_of_none_whether_it_holds_to_the_constraints() -> None:
    pruned = on_the_line(*((x, x) for x in SLOPE))
    drawn = RandomSearch(LINE, 0).suggest(pruned, number=9)
    assert bayesian(LINE, n_constraints=1).suggest(pruned, number=9) == drawn
    assert bayesian(LINE).suggest(pruned, number=9) != drawn


def test_unknown_violations_are_foretold_not_taken_for_held() -> None:
    seen = constrained(*((x, x, (x - 0.55,)) for x in SLOPE))
    seen.append(Observation(9, TrainingParameters(ns_exponent=0.58), value=None))
    seen.append(Observation(10, TrainingParameters(ns_exponent=0.95), value=None, is_infeasible=True))
    known = bayes_opt._known(LINE, seen, np.array(SLOPE), n_constraints=1)
    assert known.are_feasible.tolist() == [*(x < 0.55 for x in SLOPE), False, False]
    assert bayesian(LINE, n_constraints=1).suggest(seen, number=11).ns_exponent < 0.7


def test_constraint_that_is_met_to_the_letter_has_no_scale() -> None:
    seen = constrained((0.1, 1.0, (0.0,)), (0.2, 3.0, (0.0,)))
    known = bayes_opt._known(LINE, seen, np.array([1.0, 3.0]), n_constraints=1)
    assert known.violations.tolist() == [[0.0], [0.0]]


def test_point_that_holds_to_the_constraints_outlasts_better_ones_that_do_not() -> None:
    n = 2 * bayes_opt.MAX_FITTED
    seen = constrained((0.5, 0.5, (-1.0,)), *((number / n, 1.0 + number, (1.0,)) for number in range(n)))
    known = bayes_opt._known(LINE, seen, np.array([observation.value for observation in seen]), n_constraints=1)
    assert len(known.values) == bayes_opt.MAX_FITTED
    assert known.are_feasible.sum() == 1


def test_constrained_search_with_nothing_left_goes_on() -> None:
    searched = SearchSpace(parameters=(IntParameter(name="window", low=1, high=9),), fixed={})
    seen = [
        Observation(number, TrainingParameters(window=window), -abs(window - 5.0), violations=(window - 3.5,))
        for number, window in enumerate((1, 3, 4, 5, 7, 8, 9))
    ]
    assert bayesian(searched, n_constraints=1).suggest(seen, number=10).window == 2


def test_what_was_measured_before_the_study_informs_it_from_its_first_trial_on() -> None:
    measured = on_the_line(*((x, -((x - 0.7) ** 2)) for x in SLOPE))
    before = [replace(seen, number=seen.number - len(SLOPE)) for seen in measured]
    assert len(before) >= N_INITIAL
    assert bayesian(LINE).suggest(before, number=0).ns_exponent == pytest.approx(0.7, abs=0.15)


def test_choices_that_do_not_matter_are_not_told_apart() -> None:
    searched = SearchSpace(
        parameters=(
            CategoricalParameter(name="sg", choices=(0, 1)),
            FloatParameter(name="ns_exponent", low=0.0, high=1.0, only_if=Condition("sg", (1,))),
        ),
        fixed={},
    )
    seen = [Observation(0, TrainingParameters(sg=0, ns_exponent=0.75), 0.1)]
    seen += [
        Observation(number, TrainingParameters(sg=1, ns_exponent=x), -((x - 0.3) ** 2))
        for number, x in enumerate((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), start=1)
    ]
    suggested = bayesian(searched).suggest(seen, number=8)
    assert suggested.sg == 1


def test_point_measured_twice_has_the_mean_and_no_lie() -> None:
    seen = on_the_line((0.1, 1.0), (0.1, 2.0), (0.1, None), (0.2, 3.0))
    known = bayes_opt._known(LINE, seen, np.array([1.0, 2.0, 3.0]), n_constraints=0)
    assert known.points.ravel().tolist() == [0.1, 0.2]
    assert known.values.tolist() == pytest.approx([-0.5 / np.std([1, 2, 3]), 1 / np.std([1, 2, 3])])


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


def test_what_was_measured_elsewhere_stands_for_random_points() -> None:
    elsewhere = [
        replace(seen, number=seen.number - 4) for seen in on_the_line((0.1, 0.1), (0.4, 0.3), (0.7, 0.2), (1.0, 0.0))
    ]
    random = RandomSearch(LINE, 0)
    assert bayesian(LINE).suggest(elsewhere, number=0) == random.suggest(elsewhere, number=0)
    trained = [*elsewhere, Observation(0, TrainingParameters(ns_exponent=0.5), 0.25)]
    suggested = bayesian(LINE).suggest(trained, number=1)
    assert suggested != random.suggest(trained, number=1)
    assert bayesian(LINE).expected_improvement(elsewhere, suggested, number=0) is None
    assert bayesian(LINE).expected_improvement(trained, suggested, number=1) is not None


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
    known = bayes_opt._known(LINE, seen, measured, n_constraints=0)
    process = bayes_opt._fitted(bayes_opt._process(LINE, seed=bayes_opt._seeds(0, 9)[2]), known.points, known.values)
    grid = np.linspace(0, 1, 201)[:, None]
    mean, deviation = process.predict(grid, return_std=True)
    draws = mean + deviation * np.random.default_rng(0).normal(size=(20_000, 1))
    improvement = np.maximum(draws - np.nanmax(known.values), 0).mean(axis=0).max() * measured.std()
    assert expected == pytest.approx(improvement, rel=0.05)


def test_little_is_expected_where_the_constraints_hardly_hold() -> None:
    peak = TrainingParameters(ns_exponent=0.9)
    held = constrained(*((x, x, (x - 0.45,)) for x in SLOPE[:7]))
    missed = constrained(*((x, x, (0.1,)) for x in SLOPE[:7]))
    unconstrained = bayesian(LINE).expected_improvement(held, peak, number=9)
    constrained_to = bayesian(LINE, n_constraints=1).expected_improvement(held, peak, number=9)
    assert unconstrained is not None
    assert constrained_to is not None
    assert 0 < constrained_to < unconstrained
    assert bayesian(LINE, n_constraints=1).expected_improvement(missed, peak, number=9) is None
