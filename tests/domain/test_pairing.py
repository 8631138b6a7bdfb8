"""Differences on the same pairs: against SciPy, by simulation, and where little is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from app.domain.pairing import (
    LEFT_OUT,
    PairRanks,
    Ranks,
    pair_values,
    paired_difference,
    weighted_difference,
)


def ranks(*values: int) -> Ranks:
    return np.array(values, dtype=np.uint8)


def drawn(rng: np.random.Generator, n: int, share: float) -> Ranks:
    """Ranks of n pairs, of which so many are hits."""
    hits: NDArray[np.uint8] = np.where(rng.random(n) < share, rng.integers(1, 11, n), 0).astype(np.uint8)
    return hits


@pytest.mark.parametrize(("weight", "expected"), [(1.0, [1.0, 1.0, 0.0]), (0.0, [1.0, 1 / np.log2(5), 0.0])])
def test_a_weight_of_one_is_the_hit_ratio_and_of_zero_the_ndcg(weight: float, expected: list[float]) -> None:
    assert pair_values(ranks(1, 4, 0), hr_weight=weight).tolist() == pytest.approx(expected)


def test_with_many_pairs_the_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = drawn(rng, 20_000, 0.3), drawn(rng, 20_000, 0.25)
    found = paired_difference(ours, theirs, hr_weight=0.5)
    assert found is not None
    known = stats.ttest_rel(pair_values(ours, hr_weight=0.5), pair_values(theirs, hr_weight=0.5))
    limits = known.confidence_interval(0.95)
    assert found.value == pytest.approx(limits.low / 2 + limits.high / 2, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=1e-4)
    assert found.p_value == pytest.approx(known.pvalue, rel=0.05)
    assert found.n == 20_000


def test_swapping_the_two_turns_the_sign() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = drawn(rng, 50, 0.3), drawn(rng, 50, 0.3)
    one, other = (paired_difference(a, b, hr_weight=0.5) for a, b in ((ours, theirs), (theirs, ours)))
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_pairs_that_never_differ_leave_room_for_a_difference() -> None:
    found = paired_difference(ranks(1, 0, 2), ranks(1, 0, 2), hr_weight=0.5)
    assert found is not None
    assert found.low < found.value == 0.0 < found.high
    assert found.p_value == pytest.approx(1.0)


def test_pairs_left_out_count_for_nothing() -> None:
    with_repeat = paired_difference(ranks(1, LEFT_OUT, 0), ranks(0, LEFT_OUT, 0), hr_weight=0.5)
    assert with_repeat == paired_difference(ranks(1, 0), ranks(0, 0), hr_weight=0.5)
    assert paired_difference(ranks(LEFT_OUT), ranks(LEFT_OUT), hr_weight=0.5) is None


def test_the_value_lies_in_the_interval_and_that_between_minus_one_and_one() -> None:
    for n in range(1, 6):
        found = paired_difference(ranks(*[1] * n), ranks(*[0] * n), hr_weight=0.5)
        assert found is not None
        assert -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("others", [ranks(1, 2), ranks(1, LEFT_OUT, 3)])
def test_ranks_of_different_pairs_are_refused(others: Ranks) -> None:
    with pytest.raises(ValueError, match="same pairs"):
        paired_difference(ranks(1, 2, 3), others, hr_weight=0.5)


@pytest.mark.parametrize(("n", "share"), [(30, 0.05), (30, 0.3), (400, 0.02), (400, 0.4)])
def test_models_that_are_alike_seldom_differ(n: int, share: float) -> None:
    """The false-positive rate at 5 %, of two models whose hits are drawn alike; 2,000 draws spread it by 0.005."""
    rng = np.random.default_rng(2)
    found = [paired_difference(drawn(rng, n, share), drawn(rng, n, share), hr_weight=0.5) for _ in range(2_000)]
    assert np.mean([each is not None and each.p_value < 0.05 for each in found]) < 0.065


# Segments


def by_segment(*pairs: tuple[int, int], names: tuple[str, ...] = ("ar", "en")) -> PairRanks:
    """Pairs of (rank, segment)."""
    table = np.array(pairs, dtype=np.uint8)
    return PairRanks(table[:, 0], table[:, 1], names)


def test_one_segment_of_weight_one_is_the_plain_difference() -> None:
    ours, theirs = by_segment((1, 0), (0, 0), (2, 1)), by_segment((0, 0), (3, 0), (2, 1))
    assert weighted_difference(
        ours, theirs, weights={"ar": 1.0}, other_weights={"ar": 1.0}, hr_weight=0.5
    ) == paired_difference(ours.of_segment("ar"), theirs.of_segment("ar"), hr_weight=0.5)


def test_the_mean_over_segments_differs_by_the_mean_of_their_differences() -> None:
    ours, theirs = by_segment((1, 0), (1, 0), (0, 1)), by_segment((0, 0), (1, 0), (1, 1))
    halves = {"ar": 0.5, "en": 0.5}
    found = weighted_difference(ours, theirs, weights=halves, other_weights=halves, hr_weight=1.0)
    assert found is not None
    assert found.value == pytest.approx(0.5 * 0.5 - 0.5 * 1.0)
    assert found.n == 3


def test_each_side_may_look_at_a_segment_of_its_own() -> None:
    ours, theirs = by_segment((1, 0), (1, 1), (0, 1)), by_segment((0, 0), (1, 1), (0, 1))
    found = weighted_difference(ours, theirs, weights={"ar": 1.0}, other_weights={"en": 1.0}, hr_weight=1.0)
    assert found is not None
    assert found.value == pytest.approx(1.0 - 0.5)


def test_a_segment_without_pairs_makes_the_difference_unknown() -> None:
    pairs = by_segment((1, 0))
    weights = {"ar": 0.5, "en": 0.5}
    assert weighted_difference(pairs, pairs, weights=weights, other_weights=weights, hr_weight=1.0) is None
    assert weighted_difference(pairs, pairs, weights={"ar": 0.0}, other_weights={}, hr_weight=1.0) is None


def test_other_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="same pairs"):
        weighted_difference(
            by_segment((1, 0)), by_segment((1, 1)), weights={"ar": 1.0}, other_weights={"ar": 1.0}, hr_weight=1.0
        )
