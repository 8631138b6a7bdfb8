"""What a study may maximise, and how segments make one number."""

from dataclasses import replace

import pytest

from app.domain.datasets import Counts
from app.domain.errors import InvalidRequest
from app.domain.measurement import Estimate, Measurement, Scores
from app.domain.tuning.aggregating import aggregated, segment_shares
from app.domain.tuning.objectives import (
    MIN_PAIRS,
    Aggregate,
    ObjectiveName,
    check_aggregate,
    check_objectives,
    check_segments,
    estimate_of,
    value_of,
)
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Objective
from tests.values import measurement, statistics, study_spec


def scores(value: float | None, *, reach: float = 0.1, n: int = 100) -> Scores:
    found = None if value is None else Estimate(value, value - reach, value + reach, n)
    return Scores(
        hit_ratio=found,
        ndcg=found,
        objective=found,
        n_pairs=0 if value is None else n,
        n_unknown_query=0,
        n_unknown_target=0,
        n_repeats=0,
    )


def by_segment(**segments: Scores) -> Measurement:
    return Measurement(k=10, overall=scores(0.5), segments=segments)


def objective(of: Measurement, aggregate: Aggregate, **weights: float) -> Estimate | None:
    return aggregated(of, aggregate=aggregate, weights=weights).judged.objective


# Aggregating


def test_micro_is_the_overall_score() -> None:
    measured = by_segment(ar=scores(0.2))
    assert aggregated(measured, aggregate=Aggregate.MICRO, weights={}) is measured
    assert measured.judged is measured.overall


def test_macro_is_the_mean_of_the_segments_with_the_error_of_a_mean() -> None:
    found = objective(by_segment(ar=scores(0.2), en=scores(0.4)), Aggregate.MACRO)
    assert found is not None
    reach = 0.1 / 2**0.5
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3 - reach, 0.3 + reach))
    assert found.n == 200


def test_weights_count_in_proportion() -> None:
    measured = by_segment(ar=scores(0.2), en=scores(0.4), fr=scores(0.9))
    found = objective(measured, Aggregate.WEIGHTS, ar=3, en=1)
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert found.value - found.low == pytest.approx(0.1 * (0.75**2 + 0.25**2) ** 0.5)


def test_a_segment_alone_has_its_own_interval() -> None:
    measured = by_segment(ar=scores(0.2))
    expected = measured.segments["ar"].objective
    assert expected is not None
    for aggregate, weights in ((Aggregate.MACRO, {}), (Aggregate.WORST_SEGMENT, {}), (Aggregate.WEIGHTS, {"ar": 2.0})):
        found = objective(measured, aggregate, **weights)
        assert found is not None
        assert (found.value, found.low, found.high, found.n) == pytest.approx((0.2, expected.low, expected.high, 100))


def test_the_worst_segment_is_as_uncertain_as_all_that_may_be_it() -> None:
    found = objective(by_segment(ar=scores(0.3), en=scores(0.35), fr=scores(0.9)), Aggregate.WORST_SEGMENT)
    assert found is not None
    assert found.value == 0.3
    assert found.low < 0.2
    assert 0.4 < found.high < 0.45  # wider than ar's own, by Bonferroni


@pytest.mark.parametrize("aggregate", [Aggregate.MACRO, Aggregate.WORST_SEGMENT])
def test_segments_with_too_few_pairs_do_not_count(aggregate: Aggregate) -> None:
    measured = by_segment(ar=scores(0.3), few=scores(0.0, reach=0.0, n=MIN_PAIRS - 1), none=scores(None))
    found = objective(measured, aggregate)
    assert found is not None
    assert found.value == 0.3
    assert objective(by_segment(few=scores(0.1, n=1)), aggregate) is None


def test_a_weight_counts_with_any_pair_and_is_left_out_without_one() -> None:
    measured = by_segment(ar=scores(0.3, n=1), none=scores(None))
    found = objective(measured, Aggregate.WEIGHTS, ar=1, none=5, unheard=9)
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert objective(measured, Aggregate.WEIGHTS, none=5) is None


def test_shares_are_one_together() -> None:
    measured = by_segment(ar=scores(0.3), en=scores(0.2))
    assert segment_shares(measured.segments, aggregate=Aggregate.MACRO, weights={}) == {"ar": 0.5, "en": 0.5}


def test_a_score_that_is_missing_does_not_count() -> None:
    """As when a trial from elsewhere tells of hits alone."""
    measured = by_segment(ar=replace(scores(0.3), ndcg=None))
    for aggregate in (Aggregate.MACRO, Aggregate.WORST_SEGMENT):
        assert aggregated(measured, aggregate=aggregate, weights={}).judged.ndcg is None


def test_limits_stay_between_zero_and_one() -> None:
    found = objective(by_segment(ar=scores(0.05), en=scores(0.05)), Aggregate.WORST_SEGMENT)
    assert found is not None
    assert found.low == 0.0


# What may be asked for


def test_every_objective_has_its_value() -> None:
    measured = replace(measurement(0.3), coverage=0.6, popularity=0.2, artist_share=0.1)
    found = {name.value: value_of(measured, name) for name in ObjectiveName}
    assert found == {
        "hr_ndcg": 0.3,
        "hit_ratio": 0.3,
        "ndcg": 0.3,
        "coverage": 0.6,
        "popularity": 0.2,
        "artist_share": 0.1,
    }
    assert {name.value for name in ObjectiveName if estimate_of(measured, name) is not None} == {
        "hr_ndcg",
        "hit_ratio",
        "ndcg",
    }
    assert {name.value for name in ObjectiveName if name.is_minimised} == {"popularity", "artist_share"}


def test_what_was_not_measured_has_no_value() -> None:
    empty = Measurement(k=10, overall=scores(None))
    assert [value_of(empty, name) for name in ObjectiveName] == [None] * 6


@pytest.mark.parametrize(
    ("aggregate", "weights", "scope", "pointer"),
    [
        (Aggregate.MACRO, {}, "ar", "/objective/aggregate"),
        (Aggregate.WEIGHTS, {}, None, "/objective/weights"),
        (Aggregate.MICRO, {"ar": 1.0}, None, "/objective/weights"),
        (Aggregate.WEIGHTS, {"ar": 0.0}, None, "/objective/weights"),
        (Aggregate.WEIGHTS, {"ar": float("nan")}, None, "/objective/weights"),
        (Aggregate.WEIGHTS, {"ar": 1e7}, None, "/objective/weights"),
    ],
)
def test_aggregates_that_do_not_fit_together_are_refused(
    aggregate: Aggregate, weights: dict[str, float], scope: str | None, pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Objective(aggregate=aggregate, weights=weights, scope=scope)
    assert refused.value.pointer == pointer
    check_aggregate(Aggregate.WEIGHTS, weights={"ar": 1.0}, scope=None)


HR_NDCG, HIT_RATIO, COVERAGE = ObjectiveName.HR_NDCG, ObjectiveName.HIT_RATIO, ObjectiveName.COVERAGE


@pytest.mark.parametrize(
    ("names", "hr_weight", "pointer"),
    [
        ([HR_NDCG], 0.5, "/objectives"),
        ([HR_NDCG, HR_NDCG], 0.5, "/objectives"),
        ([HR_NDCG, COVERAGE, HIT_RATIO], 0.5, "/objectives"),
        ([COVERAGE, HR_NDCG], 0.5, "/objectives/0"),
        ([HIT_RATIO, COVERAGE], 0.5, "/objective/hr_weight"),
    ],
)
def test_objectives_are_two_different_ones_the_first_an_accuracy(
    names: list[ObjectiveName], hr_weight: float, pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_objectives(names, hr_weight=hr_weight)
    assert refused.value.pointer == pointer


def test_one_objective_or_two_are_taken() -> None:
    check_objectives([], hr_weight=0.3)
    check_objectives([HR_NDCG, COVERAGE], hr_weight=0.3)
    check_objectives([HIT_RATIO, COVERAGE], hr_weight=1.0)


def counts(validation_pairs: int) -> Counts:
    return replace(statistics().overall, validation_pairs=validation_pairs)


SEGMENTS = {"ar": counts(100), "en": counts(3), "none": counts(0)}


@pytest.mark.parametrize(
    ("aggregate", "weights", "scope", "segments", "pointer"),
    [
        (Aggregate.MACRO, {}, None, {}, "/objective/aggregate"),
        (Aggregate.MICRO, {}, "ar", {}, "/objective/scope"),
        (Aggregate.MICRO, {}, "de", SEGMENTS, "/objective/scope/segment"),
        (Aggregate.MICRO, {}, "none", SEGMENTS, "/objective/scope/segment"),
        (Aggregate.WEIGHTS, {"ar": 1.0, "de": 1.0}, None, SEGMENTS, "/objective/weights"),
        (Aggregate.WEIGHTS, {"none": 1.0}, None, SEGMENTS, "/objective/weights"),
        (Aggregate.WORST_SEGMENT, {}, None, {"en": counts(3)}, "/objective/aggregate"),
    ],
)
def test_segments_that_cannot_be_measured_are_refused(
    aggregate: Aggregate, weights: dict[str, float], scope: str | None, segments: dict[str, Counts], pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_segments(aggregate, weights=weights, scope=scope, segments=segments)
    assert refused.value.pointer == pointer


def test_an_unknown_segment_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="'ar', 'en', 'none'"):
        check_segments(Aggregate.MICRO, weights={}, scope="de", segments=SEGMENTS)


def test_segments_that_are_there_are_taken() -> None:
    check_segments(Aggregate.MICRO, weights={}, scope=None, segments={})
    check_segments(Aggregate.MICRO, weights={}, scope="en", segments=SEGMENTS)
    check_segments(Aggregate.WEIGHTS, weights={"en": 1.0}, scope=None, segments=SEGMENTS)
    check_segments(Aggregate.MACRO, weights={}, scope=None, segments=SEGMENTS)


def test_two_objectives_cannot_stop_by_what_one_is_expected_to_gain() -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(
            study_spec("dat_1"),
            algorithm="bayesian",
            objectives=(HR_NDCG, COVERAGE),
            stopping=Stopping(min_expected_improvement=0.1),
        )
    assert refused.value.pointer == "/stopping/min_expected_improvement"
