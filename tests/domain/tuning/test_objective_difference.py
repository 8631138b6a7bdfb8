"""Objectives that differ: each aggregate by its formula, and the worst segment's limits by simulation."""

import numpy as np
import pytest

from app.domain.pairing import LEFT_OUT, PairRanks, pair_values, paired_difference, weighted_difference
from app.domain.tuning.objective_difference import objective_difference
from app.domain.tuning.objectives import Aggregate
from app.domain.tuning.verdict import on_pairs

W = 0.5
NAMES = ("ar", "de", "fr")
EVEN = dict.fromkeys(NAMES, 1 / 3)


def ranks(chances: tuple[float, ...], *, seed: int, n: int = 60) -> PairRanks:
    """n pairs a segment, each answered at some rank with its segment's chance."""
    rng = np.random.default_rng(seed)
    segment = np.repeat(np.arange(len(chances)), n)
    is_hit = rng.random(len(segment)) < np.array(chances)[segment]
    found = np.where(is_hit, rng.integers(1, 11, len(segment)), 0).astype(np.uint8)
    return PairRanks(found, segment.astype(np.uint8), NAMES[: len(chances)])


def mean(pairs: PairRanks, name: str) -> float:
    return float(np.nanmean(pair_values(pairs.of_segment(name), hr_weight=W)))


A, B = ranks((0.5, 0.3, 0.4), seed=1), ranks((0.2, 0.3, 0.1), seed=2)


def test_micro_is_over_all_pairs_alike() -> None:
    found = objective_difference(A, B, aggregate=Aggregate.MICRO, shares={}, hr_weight=W)
    paired = paired_difference(A.ranks, B.ranks, hr_weight=W)
    assert paired is not None
    assert found == on_pairs(paired)


@pytest.mark.parametrize("aggregate", [Aggregate.MACRO, Aggregate.WEIGHTS])
def test_segments_weigh_what_they_are_given(aggregate: Aggregate) -> None:
    shares = {"ar": 0.25, "fr": 0.75}
    found = objective_difference(A, B, aggregate=aggregate, shares=shares, hr_weight=W)
    paired = weighted_difference(A, B, weights=shares, other_weights=shares, hr_weight=W)
    assert paired is not None
    assert found == on_pairs(paired)
    expected = sum(share * (mean(A, name) - mean(B, name)) for name, share in shares.items())
    assert found is not None
    assert found.value == pytest.approx(expected)


def test_the_worst_segments_differ_by_their_least_means_and_hold_for_all() -> None:
    found = objective_difference(A, B, aggregate=Aggregate.WORST_SEGMENT, shares=EVEN, hr_weight=W)
    assert found is not None
    theirs = min(NAMES, key=lambda name: mean(B, name))
    assert found.value == pytest.approx(min(mean(A, name) for name in NAMES) - mean(B, theirs))
    assert (found.p_value, found.basis, found.n) == (None, "pairs", 180)
    for name in NAMES:
        alone = weighted_difference(
            A, B, weights={name: 1.0}, other_weights={theirs: 1.0}, hr_weight=W, level=1 - 0.05 / 3
        )
        assert alone is not None
        assert found.low <= alone.low
    assert found.low < found.value < found.high


def test_one_segment_is_the_worst_of_itself() -> None:
    found = objective_difference(A, B, aggregate=Aggregate.WORST_SEGMENT, shares={"de": 1.0}, hr_weight=W)
    paired = paired_difference(A.of_segment("de"), B.of_segment("de"), hr_weight=W)
    assert found is not None
    assert paired is not None
    assert (found.value, found.low, found.high, found.n) == pytest.approx(
        (paired.value, paired.low, paired.high, paired.n)
    )


def test_pairs_that_are_left_out_are_not_counted() -> None:
    first, other = A.ranks.copy(), B.ranks.copy()
    first[:5] = other[:5] = LEFT_OUT
    left, right = PairRanks(first, A.segment, NAMES), PairRanks(other, B.segment, NAMES)
    found = objective_difference(left, right, aggregate=Aggregate.WORST_SEGMENT, shares=EVEN, hr_weight=W)
    assert found is not None
    assert found.n == 175


def test_the_worst_is_sought_among_segments_that_were_measured() -> None:
    first, other = A.ranks.copy(), B.ranks.copy()
    first[A.segment == 2] = other[A.segment == 2] = LEFT_OUT
    left, right = PairRanks(first, A.segment, NAMES), PairRanks(other, B.segment, NAMES)
    found = objective_difference(left, right, aggregate=Aggregate.WORST_SEGMENT, shares=EVEN, hr_weight=W)
    two = {"ar": 0.5, "de": 0.5}
    assert found == objective_difference(A, B, aggregate=Aggregate.WORST_SEGMENT, shares=two, hr_weight=W)


def test_where_no_segment_counts_there_is_no_difference() -> None:
    assert objective_difference(A, B, aggregate=Aggregate.WORST_SEGMENT, shares={}, hr_weight=W) is None
    assert objective_difference(A, B, aggregate=Aggregate.MACRO, shares={}, hr_weight=W) is None


def test_other_pairs_are_refused() -> None:
    other = ranks((0.2, 0.3), seed=2)
    with pytest.raises(ValueError, match="same pairs"):
        objective_difference(A, other, aggregate=Aggregate.WORST_SEGMENT, shares={"ar": 1.0}, hr_weight=W)


@pytest.mark.parametrize("chances", [((0.3, 0.3, 0.3), (0.3, 0.3, 0.3)), ((0.2, 0.4, 0.6), (0.5, 0.3, 0.25))])
def test_the_worst_segments_interval_holds_the_truth(chances: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    """Of 300 pairs of models at least 95 % lie within their limits, all segments alike or not."""
    value = float(np.mean(pair_values(np.arange(1, 11, dtype=np.uint8), hr_weight=W)))
    truth = value * (min(chances[0]) - min(chances[1]))
    n_held = 0
    for seed in range(300):
        ours, theirs = ranks(chances[0], seed=2 * seed), ranks(chances[1], seed=2 * seed + 1)
        found = objective_difference(ours, theirs, aggregate=Aggregate.WORST_SEGMENT, shares=EVEN, hr_weight=W)
        assert found is not None
        n_held += found.low <= truth <= found.high
    assert n_held >= 0.95 * 300
