"""Boundaries against published constants and simulated paths."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from app.domain.experiments.sequential import boundaries, crossing_chance, nominal_level, planned_spending


def _even(n_looks: int) -> list[float]:
    """The correlations of looks that each bring as much as the others."""
    return [0.0, *(sqrt((look - 1) / look) for look in range(2, n_looks + 1))]


@pytest.mark.parametrize(("n_looks", "constant"), [(2, 2.178), (3, 2.289), (5, 2.413), (10, 2.555), (20, 2.672)])
def test_the_constants_of_pocock_cross_five_times_in_a_hundred(n_looks: int, constant: float) -> None:
    assert crossing_chance([constant] * n_looks, _even(n_looks)) == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(("n_looks", "constant"), [(2, 1.977), (3, 2.004), (5, 2.040), (10, 2.087), (20, 2.126)])
def test_the_constants_of_obrien_and_fleming_cross_five_times_in_a_hundred(n_looks: int, constant: float) -> None:
    bounds = [constant * sqrt(n_looks / look) for look in range(1, n_looks + 1)]

    assert crossing_chance(bounds, _even(n_looks)) == pytest.approx(0.05, abs=1e-4)


def test_boundaries_are_those_published_for_the_spending_of_lan_and_demets() -> None:
    spent = [4.0 * float(ndtr(ndtri(0.0125) / sqrt(look / 5))) for look in range(1, 6)]

    assert boundaries(spent, _even(5)) == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=1e-4)


def test_one_planned_look_is_an_ordinary_test() -> None:
    (boundary,) = boundaries([0.05], [0.0])

    assert boundary == pytest.approx(1.959964, abs=1e-5)
    assert nominal_level(boundary) == pytest.approx(0.05, abs=1e-6)


def test_boundaries_cross_as_often_as_was_spent() -> None:
    spent = planned_spending(20, n_planned=14, alpha=0.05)
    correlations = _even(20)

    assert crossing_chance(boundaries(spent, correlations), correlations) == pytest.approx(spent[-1], abs=1e-6)


def test_nearly_all_of_alpha_is_spent_and_never_more() -> None:
    spent = planned_spending(5_000, n_planned=14, alpha=0.05)

    assert spent == sorted(spent)
    assert spent[13] == pytest.approx(0.045)
    assert 0.0499 < spent[-1] < 0.05


def test_the_first_of_many_looks_can_conclude_nothing() -> None:
    bounds = boundaries(planned_spending(14, n_planned=14, alpha=0.05), _even(14))

    assert bounds[0] == inf
    assert bounds[13] < 2.2


@settings(max_examples=25, deadline=None)
@given(correlations=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8), seed=st.integers(0, 2**32 - 1))
def test_paths_without_an_effect_cross_no_more_than_was_spent(correlations: list[float], seed: int) -> None:
    spent = planned_spending(len(correlations), n_planned=len(correlations), alpha=0.05)
    bounds = boundaries(spent, correlations)
    rng = np.random.default_rng(seed)
    n = 20_000
    z = rng.standard_normal(n)
    crossed = np.abs(z) > bounds[0]
    for rho, bound in zip(correlations[1:], bounds[1:], strict=True):
        z = rho * z + sqrt(1.0 - rho * rho) * rng.standard_normal(n)
        crossed |= np.abs(z) > bound

    assert crossed.mean() < spent[-1] + 5.0 * sqrt(0.05 * 0.95 / n)


def test_looks_that_bring_nothing_cost_next_to_nothing() -> None:
    spent = planned_spending(4, n_planned=4, alpha=0.05)

    bounds = boundaries(spent, [0.0, 1.0, 1.0, 1.0])

    assert bounds[-1] == pytest.approx(nominal_boundary(spent[-1]), abs=0.03)


def nominal_boundary(level: float) -> float:
    return float(-ndtri(level / 2.0))
