"""Effects: intervals, heterogeneity against SciPy, Holm against its definition."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from app.domain.experiments.effects import Estimate, Heterogeneity, Interval, Unknown, heterogeneity, holm


def _estimate(lift: float, error: float = 1.0, relative: float | None = None) -> Estimate:
    return Estimate(
        lift=lift,
        error=error,
        interval=Interval(lift - 2 * error, lift + 2 * error),
        p_value=0.5,
        relative=relative,
        relative_error=None if relative is None else 0.1,
    )


def test_intervals_reach_as_many_errors_as_are_asked_for() -> None:
    estimate = _estimate(1.0, 0.5, 0.2)

    assert estimate.within(3.0) == Interval(-0.5, 2.5)
    relative = estimate.relative_within(2.0)
    assert relative is not None
    assert relative.low == pytest.approx(exp(log(1.2) - 0.2) - 1)
    assert relative.high == pytest.approx(exp(log(1.2) + 0.2) - 1)


def test_a_relative_interval_needs_a_relative_lift_and_an_end() -> None:
    assert _estimate(1.0).relative_within(2.0) is None
    assert _estimate(1.0, relative=0.1).relative_within(1e5) is None


def test_heterogeneity_is_cochrans_q() -> None:
    lifts, errors = np.array([1.0, -0.5, 0.2]), np.array([0.3, 0.2, 0.5])

    found = heterogeneity({str(i): _estimate(*each) for i, each in enumerate(zip(lifts, errors, strict=True))})

    weights = errors**-2
    q = np.sum(weights * (lifts - np.average(lifts, weights=weights)) ** 2)
    assert isinstance(found, Heterogeneity)
    assert found.q == pytest.approx(q)
    assert found.p_value == pytest.approx(chi2.sf(q, 2))
    assert found.i_squared == pytest.approx(1 - 2 / q)
    assert found.n_segments == 3


def test_equal_lifts_show_no_heterogeneity() -> None:
    found = heterogeneity({"a": _estimate(1.0), "b": _estimate(1.0, 2.0)})

    assert isinstance(found, Heterogeneity)
    assert (found.q, found.p_value, found.i_squared) == (0.0, 1.0, 0.0)


def test_one_segment_cannot_differ() -> None:
    assert isinstance(heterogeneity({"a": _estimate(1.0)}), Unknown)


@given(st.lists(st.floats(0.0, 1.0), max_size=12))
def test_holm_adjusts_upward_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)

    assert all(p <= q <= 1.0 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    if p_values:
        assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
