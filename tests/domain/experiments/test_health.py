"""Each check of health: when it is content, when it warns and when it withholds."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from app.domain.experiments.health import (
    Health,
    RevisionCount,
    before_exposure,
    differing_shares,
    enough_users,
    missing_outcomes,
    multiple_exposures,
    sample_ratio,
)

VARIANTS = ["control", "treatment"]


def _even(_revision: int) -> Mapping[str, float]:
    return {"control": 0.5, "treatment": 0.5}


def _counts(n: int, m: int, *, segment: str | None = "ar", revision: int = 0) -> list[RevisionCount]:
    return [RevisionCount(revision, "control", segment, n, 0), RevisionCount(revision, "treatment", segment, m, 0)]


def test_users_shared_out_as_assigned_are_fine() -> None:
    check = sample_ratio(_counts(5_000, 5_050), variants=VARIANTS, weights=_even)

    assert check.state == "ok"
    assert check.p_value == pytest.approx(chisquare([5_000, 5_050]).pvalue)
    assert check.figures == {"control": 5_000, "treatment": 5_050}


def test_lost_users_withhold_everything_and_say_why() -> None:
    check = sample_ratio(_counts(5_000, 5_500), variants=VARIANTS, weights=_even)

    assert check.state == "failed"
    assert "control 5000, treatment 5500" in check.detail
    assert Health((check,)).reason == check.detail
    assert Health((check,)).state == "failed"


def test_a_mismatch_in_one_segment_is_found_behind_a_top_line_in_order() -> None:
    counts = [*_counts(5_000, 5_500), *_counts(5_500, 5_000, segment="en"), *_counts(5, 5, segment=None)]

    check = sample_ratio(counts, variants=VARIANTS, weights=_even)

    assert check.state == "failed"
    assert "segment 'ar'" in check.detail or "segment 'en'" in check.detail


def test_users_are_expected_by_the_shares_of_their_revision() -> None:
    weights = [{"control": 0.5, "treatment": 0.5}, {"control": 0.9, "treatment": 0.1}]
    counts = [*_counts(1_000, 1_000), *_counts(9_000, 1_000, revision=1)]

    assert sample_ratio(counts, variants=VARIANTS, weights=weights.__getitem__).p_value == 1.0


def test_one_variant_alone_cannot_be_compared() -> None:
    def only(_revision: int) -> Mapping[str, float]:
        return {"control": 1.0, "treatment": 0.0}

    assert sample_ratio(_counts(10, 0), variants=VARIANTS, weights=only).p_value == 1.0


def test_the_ratio_is_refused_once_in_a_thousand_without_a_fault() -> None:
    rng = np.random.default_rng(7)
    draws = rng.binomial(2_000, 0.5, 20_000)
    states = [sample_ratio(_counts(n, 2_000 - n), variants=VARIANTS, weights=_even).state for n in draws.tolist()]

    assert states.count("failed") / 20_000 < 0.002


def _crossed(n: int, m: int) -> list[RevisionCount]:
    return [RevisionCount(0, "control", None, 1_000, n), RevisionCount(0, "treatment", None, 1_000, m)]


@pytest.mark.parametrize(
    ("crossed", "state"), [((1, 1), "ok"), ((20, 22), "warning"), ((60, 60), "failed"), ((2, 25), "failed")]
)
def test_users_in_two_variants_are_counted(crossed: tuple[int, int], state: str) -> None:
    check = multiple_exposures(_crossed(*crossed), variants=VARIANTS)

    assert check.state == state
    assert f"{sum(crossed)} of 2000 users" in check.detail


def test_nobody_is_in_no_two_variants() -> None:
    assert multiple_exposures([], variants=VARIANTS).state == "ok"


@pytest.mark.parametrize(
    ("p_values", "state"),
    [
        ({}, "ok"),
        ({("m", "t"): 0.2, ("o", "t"): 0.04}, "ok"),
        ({("m", "t"): 0.02}, "warning"),
        ({("m", "t"): 0.0001, ("o", "t"): 0.5}, "failed"),
    ],
)
def test_what_differed_before_was_no_treatment(p_values: dict[tuple[str, str], float], state: str) -> None:
    assert before_exposure(p_values).state == state


@pytest.mark.parametrize(
    ("users", "state"),
    [
        ({"control": (1_000, 900), "treatment": (1_000, 905)}, "ok"),
        ({"control": (10_000, 9_000), "treatment": (10_000, 8_700)}, "warning"),
        ({"control": (10_000, 9_000), "treatment": (10_000, 7_000)}, "failed"),
        ({"control": (1_000, 900), "treatment": (1_000, 0)}, "failed"),
        ({"control": (1_000, 0), "treatment": (1_000, 0)}, "failed"),
        ({"control": (0, 0), "treatment": (0, 0)}, "ok"),
    ],
)
def test_reports_that_are_lost_are_told_from_listeners_who_leave(users: dict[str, tuple[int, int]], state: str) -> None:
    assert missing_outcomes(users).state == state


def test_too_few_users_are_named() -> None:
    check = enough_users({"control": 100, "treatment": 99})

    assert check.state == "failed"
    assert "treatment has 99" in check.detail
    assert enough_users({"control": 100}).state == "ok"


def test_the_worst_check_is_the_state() -> None:
    fine, warns = enough_users({"control": 100}), before_exposure({("m", "t"): 0.02})

    assert Health((fine,)).state == "ok"
    assert Health((fine, warns)).state == "warning"
    assert Health((fine, warns)).reason is None


def test_shares_are_compared_by_chi_square() -> None:
    told = chi2_contingency([[10, 90], [30, 70]], correction=False)

    assert differing_shares({"a": (10, 100), "b": (30, 100)}) == pytest.approx(told.pvalue)
    assert differing_shares({"a": (10, 100)}) is None
    assert differing_shares({"a": (0, 100), "b": (0, 50)}) is None
