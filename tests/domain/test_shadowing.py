"""Overlaps, and quantiles of counts that add up over servers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.shadowing import N_BUCKETS, Tally, bucket, overlap, quantile_ms

SECONDS = st.floats(min_value=1e-6, max_value=60.0)


def counted(seconds: list[float]) -> tuple[int, ...]:
    return tuple(np.bincount([bucket(each) for each in seconds], minlength=N_BUCKETS).tolist())


def test_lists_of_unequal_length_share_of_the_longer() -> None:
    assert overlap([], []) == 1.0
    assert overlap(["a"], []) == 0.0
    assert overlap(["a", "b"], ["b", "a"]) == 1.0


@given(st.lists(SECONDS, min_size=1, max_size=50), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_quantile_is_that_of_the_seconds_up_to_a_bucket(seconds: list[float], share: float) -> None:
    exact = 1000 * float(np.quantile(seconds, share, method="inverted_cdf"))
    found = quantile_ms(counted(seconds), share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.123


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0), (1e-9, 0), (1e9, N_BUCKETS - 1)])
def test_what_is_outside_counts_at_the_end(seconds: float, expected: int) -> None:
    assert bucket(seconds) == expected


def test_nothing_has_no_quantile_and_no_mean() -> None:
    assert quantile_ms(Tally().live, 0.5) is None
    assert Tally().mean_overlap is None


def test_tallies_add_up() -> None:
    one = Tally(n=2, n_errors=1, overlap=1.5, live=counted([0.1, 0.2]), challenger=counted([0.3, 0.4]))
    both = one + Tally(n=1, n_dropped=4, overlap=0.0, live=counted([0.5]), challenger=counted([0.5]))
    assert (both.n, both.n_errors, both.n_dropped, both.mean_overlap) == (3, 1, 4, 0.5)
    assert both.live == counted([0.1, 0.2, 0.5])
