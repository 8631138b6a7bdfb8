"""What the kernel draws by chance, and the curve that it takes its steps from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from app.adapters.lane_kernel import alias_table, draw, random_below, random_bits, random_share, sigmoid

N_DRAWN = 200_000


@njit  # type: ignore[untyped-decorator]  # Numba has no types
def draw_many(
    state: NDArray[np.uint64], share: NDArray[np.float32], alias: NDArray[np.int32], n: int
) -> NDArray[np.int64]:
    drawn = np.zeros(len(share), np.int64)
    for _ in range(n):
        drawn[draw(state, share, alias)] += 1
    return drawn


@njit  # type: ignore[untyped-decorator]
def below_many(state: NDArray[np.uint64], bound: int, n: int) -> NDArray[np.int64]:
    numbers = np.empty(n, np.int64)
    for i in range(n):
        numbers[i] = random_below(state, bound)
    return numbers


@njit  # type: ignore[untyped-decorator]
def share_many(state: NDArray[np.uint64], n: int) -> NDArray[np.float32]:
    shares = np.empty(n, np.float32)
    for i in range(n):
        shares[i] = random_share(random_bits(state))
    return shares


@njit  # type: ignore[untyped-decorator]
def sigmoid_many(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(len(x)):
        y[i] = sigmoid(x[i])
    return y


def state(seed: int = 1) -> NDArray[np.uint64]:
    return np.array([seed], np.uint64)


def odds_of(share: NDArray[np.float32], alias: NDArray[np.int32]) -> NDArray[np.float64]:
    """The odds that a table draws with, summed over it."""
    odds = share.astype(float)
    np.add.at(odds, alias, 1.0 - share.astype(float))
    return odds / len(share)


def assert_table(weights: NDArray[np.float64]) -> None:
    share, alias = alias_table(weights)
    assert share.dtype == np.float32
    assert alias.dtype == np.int32
    assert ((share >= 0) & (share <= 1)).all()
    odds = odds_of(share, alias)
    np.testing.assert_allclose(odds, weights / weights.sum(), rtol=0, atol=1e-6)
    assert not odds[weights == 0].any()


WEIGHT = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@given(st.lists(WEIGHT, min_size=1, max_size=60).filter(any))
@settings(deadline=None)
def test_table_has_the_odds_of_the_weights_and_never_draws_a_zero(weights: list[float]) -> None:
    assert_table(np.array(weights))


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 0.75, 1.0, 2.0])
def test_table_of_a_large_catalogue(exponent: float) -> None:
    counts = np.random.default_rng(3).zipf(1.5, 100_000).clip(1, 10**6).astype(float)
    counts[::7] = 0
    weights = np.zeros(len(counts))
    np.power(counts, exponent, out=weights, where=counts > 0)
    assert_table(weights)


@pytest.mark.parametrize("weights", [[1.0], [5.0], [0.0, 3.0], [3.0, 0.0], [1.0] * 9, [0.1] * 10, [0.0, 1e300, 1e-300]])
def test_table_of_plain_cases(weights: list[float]) -> None:
    assert_table(np.array(weights))


def test_songs_are_drawn_with_the_odds_of_the_table() -> None:
    weights = np.array([5.0, 0.0, 1.0, 0.5, 12.0, 1.5, 0.0])
    drawn = draw_many(state(), *alias_table(weights), N_DRAWN)
    expected = N_DRAWN * weights / weights.sum()
    assert drawn.sum() == N_DRAWN
    assert (np.abs(drawn - expected) <= 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 40, 1_000])
def test_numbers_below_are_uniform(bound: int) -> None:
    numbers = below_many(state(), bound, N_DRAWN)
    assert numbers.min() == 0
    assert numbers.max() == bound - 1
    counts, expected = np.bincount(numbers, minlength=bound), N_DRAWN / bound
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_numbers_below_a_large_bound_stay_below() -> None:
    bound = 2**32 - 1
    numbers = below_many(state(), bound, N_DRAWN)
    assert numbers.min() >= 0
    assert numbers.max() < bound
    assert abs(numbers.mean() / bound - 0.5) < 0.005


def test_shares_are_uniform_and_below_one() -> None:
    shares = share_many(state(), N_DRAWN)
    assert shares.min() >= 0
    assert shares.max() < 1
    counts = np.histogram(shares, bins=20, range=(0.0, 1.0))[0]
    assert (np.abs(counts - N_DRAWN / 20) <= 5 * np.sqrt(N_DRAWN / 20)).all()


def test_bits_are_those_of_splitmix64() -> None:
    """The first numbers for seed 1234567, as in the generator's published test vectors."""
    bits = state(1234567)
    assert [int(random_bits(bits)) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_sigmoid_is_the_closed_form_to_a_millionth() -> None:
    x = np.linspace(-6.0, 6.0, 200_001).astype(np.float32)
    exact = 1.0 / (1.0 + np.exp(-x.astype(float)))
    y = sigmoid_many(x)
    assert np.abs(y - exact).max() < 1e-6
    assert (y > 0).all()
    assert (y < 1).all()
    assert np.abs(y + sigmoid_many(-x) - 1.0).max() < 1e-6
