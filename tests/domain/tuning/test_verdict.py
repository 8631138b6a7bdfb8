"""Verdicts: the rule, by a table, and the numbers that it stands on."""

from math import sqrt

import numpy as np
import pytest
from scipy.stats import ttest_rel

from app.domain.measurement import Estimate
from app.domain.pairing import paired_difference
from app.domain.tuning.verdict import (
    Difference,
    Finding,
    Rival,
    Standing,
    judged,
    of_intervals,
    on_pairs,
    over_seeds,
    spread,
)

ABOVE, AROUND, BELOW = (0.1, 0.05, 0.15), (0.01, -0.04, 0.06), (-0.1, -0.15, -0.05)
Numbers = tuple[float, float, float]


def rival(standing: Standing, pairs: Numbers, seeds: Numbers | None = None, *, name: str = "") -> Rival:
    value, low, high = pairs
    return Rival(
        name=name or standing,
        standing=standing,
        on_pairs=Difference(value=value, low=low, high=high, p_value=None, n=500, basis="pairs"),
        over_seeds=None
        if seeds is None
        else Difference(value=seeds[0], low=seeds[1], high=seeds[2], p_value=None, n=5, basis="seeds"),
    )


@pytest.mark.parametrize(
    ("rivals", "finding", "against", "beaten_by"),
    [
        ([rival("reference", ABOVE)], "improved", "reference", ()),
        ([rival("reference", AROUND)], "no_evidence", "reference", ()),
        ([rival("reference", BELOW)], "worse", "reference", ()),
        ([rival("reference", ABOVE), rival("control", AROUND)], "no_evidence", "control", ()),
        ([rival("reference", ABOVE), rival("control", BELOW)], "no_evidence", "control", ("control",)),
        ([rival("reference", ABOVE), rival("plain", BELOW)], "improved", "reference", ("plain",)),
        ([rival("reference", ABOVE), rival("plain", AROUND)], "improved", "reference", ()),
        ([rival("reference", ABOVE), rival("reference", BELOW, name="other")], "worse", "other", ()),
        ([rival("reference", ABOVE, ABOVE)], "improved", "reference", ()),
        ([rival("reference", ABOVE, AROUND)], "no_evidence", "reference", ()),
        ([rival("reference", BELOW, AROUND)], "no_evidence", "reference", ()),
        ([rival("reference", BELOW, BELOW)], "worse", "reference", ()),
    ],
)
def test_the_finding_follows_the_rule(
    rivals: list[Rival], finding: str, against: str, beaten_by: tuple[str, ...]
) -> None:
    verdict = judged(rivals)
    assert verdict is not None
    assert (verdict.finding, verdict.against, verdict.beaten_by) == (Finding(finding), against, beaten_by)
    assert f"{against}:" in verdict.reason
    assert "95 % interval" in verdict.reason


def test_without_a_reference_there_is_no_verdict() -> None:
    assert judged([rival("control", ABOVE), rival("plain", ABOVE)]) is None


def test_what_decided_is_named_with_all_that_is_known_of_it() -> None:
    verdict = judged([rival("reference", ABOVE, ABOVE)])
    assert verdict is not None
    assert [difference.basis for difference in verdict.differences] == ["pairs", "seeds"]
    assert "500 test pairs" in verdict.reason
    assert "5 seeds" in verdict.reason


def test_seeds_are_paired_as_students_test_pairs_them() -> None:
    winner = {1: 0.31, 2: 0.29, 3: 0.33, 9: 0.9}
    other = {1: 0.25, 2: 0.26, 3: 0.24, 8: 0.1}
    found = over_seeds(winner, other)
    assert found is not None
    expected = ttest_rel([0.31, 0.29, 0.33], [0.25, 0.26, 0.24])
    interval = expected.confidence_interval(0.95)
    assert (found.n, found.basis) == (3, "seeds")
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_what_seeds_cannot_tell_is_not_told() -> None:
    assert over_seeds({1: 0.3}, {1: 0.2}) is None
    assert over_seeds({1: 0.5, 2: 0.5}, {1: 0.25, 2: 0.25}) is None
    one = spread([0.5])
    assert one is not None
    assert one.sd is None
    assert spread([]) is None


def test_intervals_are_combined_by_their_squares() -> None:
    found = of_intervals(Estimate(0.5, 0.4, 0.6, 100), Estimate(0.3, 0.25, 0.4, 80))
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - sqrt(0.1**2 + 0.1**2))
    assert found.high == pytest.approx(0.2 + sqrt(0.1**2 + 0.05**2))
    assert found.n == 80


def test_a_paired_difference_keeps_its_numbers() -> None:
    paired = paired_difference(
        np.array([1, 0, 2, 0], dtype=np.uint8), np.array([0, 0, 1, 3], dtype=np.uint8), hr_weight=0.5
    )
    assert paired is not None
    found = on_pairs(paired)
    assert (found.value, found.low, found.high, found.n) == (paired.value, paired.low, paired.high, 4)


def test_equal_models_are_rarely_told_apart() -> None:
    """On pairs where chance alone decides, of 400 studies hardly one is called improved: two references to pass."""
    rng = np.random.default_rng(3)
    n_wrong = 0
    for _ in range(400):
        ranks = np.where(rng.random((3, 400)) < 0.1, rng.integers(1, 11, (3, 400)), 0).astype(np.uint8)
        rivals = []
        for other in ranks[1:]:
            paired = paired_difference(ranks[0], other, hr_weight=0.5)
            assert paired is not None
            rivals.append(Rival(name="default", standing="reference", on_pairs=on_pairs(paired)))
        verdict = judged(rivals)
        assert verdict is not None
        n_wrong += verdict.finding is Finding.IMPROVED
    assert n_wrong <= 400 * 0.025
