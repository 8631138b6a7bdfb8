"""What a study may maximise: how segments make one number, and which numbers two objectives may be.

    hr_ndcg        w HR@k + (1 - w) NDCG@k, the study's own weight w     maximised
    hit_ratio      HR@k, which is hr_ndcg with w = 1                     maximised
    ndcg           NDCG@k, which is hr_ndcg with w = 0                   maximised
    coverage       share of the songs that are recommended               maximised
    popularity     how popular what is recommended is                    minimised
    artist_share   how often two songs of a list share their artist      minimised

The first three follow the study's aggregate; the others are of all lists together and have no interval.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import isfinite

from app.domain.datasets import Counts
from app.domain.errors import InvalidRequest
from app.domain.measurement import Estimate, Measurement

MIN_PAIRS = 30
"""Measured pairs that a segment needs to count in `macro` and `worst_segment`: with fewer it is mostly noise."""

MAX_WEIGHT = 1e6
"""The largest weight that a segment may have; only their proportions matter."""


class Aggregate(StrEnum):
    """How the segments' scores make the study's objective; `aggregating` computes it."""

    MICRO = "micro"
    """Over all pairs, whatever their segment: the article."""
    MACRO = "macro"
    """The mean of the segments, each weighing the same."""
    WORST_SEGMENT = "worst_segment"
    """The segment that scores least."""
    WEIGHTS = "weights"
    """The mean of the segments named, by their weights."""


class ObjectiveName(StrEnum):
    """See the module header."""

    HR_NDCG = "hr_ndcg"
    HIT_RATIO = "hit_ratio"
    NDCG = "ndcg"
    COVERAGE = "coverage"
    POPULARITY = "popularity"
    ARTIST_SHARE = "artist_share"

    @property
    def is_minimised(self) -> bool:
        """Whether less is better."""
        return self in {ObjectiveName.POPULARITY, ObjectiveName.ARTIST_SHARE}


ACCURACY_WEIGHTS: dict[ObjectiveName, float | None] = {
    ObjectiveName.HR_NDCG: None,
    ObjectiveName.HIT_RATIO: 1.0,
    ObjectiveName.NDCG: 0.0,
}
"""The objectives that may come first, and the `hr_weight` that makes the study's objective that one (None: any)."""

N_OBJECTIVES = 2

NO_SEGMENTS = "it has no segments at all, for it was made without segment_by."


def estimate_of(measurement: Measurement, name: ObjectiveName) -> Estimate | None:
    """The objective with its interval; None where it has none, or nothing was measured."""
    judged = measurement.judged
    if name is ObjectiveName.HR_NDCG:
        return judged.objective
    if name is ObjectiveName.HIT_RATIO:
        return judged.hit_ratio
    return judged.ndcg if name is ObjectiveName.NDCG else None


def value_of(measurement: Measurement, name: ObjectiveName) -> float | None:
    """The objective's value, in [0, 1]; None when it could not be measured."""
    if name in ACCURACY_WEIGHTS:
        estimate = estimate_of(measurement, name)
        return None if estimate is None else estimate.value
    breadth = {
        ObjectiveName.COVERAGE: measurement.coverage,
        ObjectiveName.POPULARITY: measurement.popularity,
        ObjectiveName.ARTIST_SHARE: measurement.artist_share,
    }
    return breadth[name]


def check_aggregate(aggregate: Aggregate, *, weights: Mapping[str, float], scope: str | None) -> None:
    """Demand that the three fit together. Raises: InvalidRequest."""
    if scope is not None and aggregate is not Aggregate.MICRO:
        message = f"A scope has one segment: there is nothing to aggregate by {aggregate.value}."
        raise InvalidRequest(message, pointer="/objective/aggregate")
    if (aggregate is Aggregate.WEIGHTS) != bool(weights):
        message = "weights are given with the aggregate 'weights', for at least one segment, and with no other."
        raise InvalidRequest(message, pointer="/objective/weights")
    for name, weight in weights.items():
        if not (isfinite(weight) and 0 < weight <= MAX_WEIGHT):
            message = f"The weight of segment {name!r} must be above 0 and at most {MAX_WEIGHT:g}, not {weight}."
            raise InvalidRequest(message, pointer="/objective/weights")


def check_objectives(names: Sequence[ObjectiveName], *, hr_weight: float) -> None:
    """Demand none, or two different ones of which the first is an accuracy. Raises: InvalidRequest."""
    if not names:
        return
    if len(names) != N_OBJECTIVES or len(set(names)) != N_OBJECTIVES:
        message = f"A study has one objective or {N_OBJECTIVES} different ones, not {len(names)}."
        raise InvalidRequest(message, pointer="/objectives")
    if names[0] not in ACCURACY_WEIGHTS:
        allowed = ", ".join(name.value for name in ACCURACY_WEIGHTS)
        message = f"The first objective decides which trial is the best and must be one of {allowed}."
        raise InvalidRequest(message, pointer="/objectives/0")
    needed = ACCURACY_WEIGHTS[names[0]]
    if needed is not None and hr_weight != needed:
        message = f"With {names[0].value} as the first objective hr_weight is {needed:g}, not {hr_weight:g}."
        raise InvalidRequest(message, pointer="/objective/hr_weight")


def check_segments(
    aggregate: Aggregate, *, weights: Mapping[str, float], scope: str | None, segments: Mapping[str, Counts]
) -> None:
    """Demand that the dataset has the segments asked for, with pairs to measure. Raises: InvalidRequest."""
    if aggregate is Aggregate.MICRO and scope is None:
        return
    if not segments:
        pointer = "/objective/aggregate" if scope is None else "/objective/scope"
        raise InvalidRequest(f"The dataset cannot be looked at by segment: {NO_SEGMENTS}", pointer=pointer)
    if scope is not None:
        demand_segment(scope, segments, pointer="/objective/scope/segment")
    for name in weights:
        demand_segment(name, segments, pointer="/objective/weights")
    is_any_large = any(counts.validation_pairs >= MIN_PAIRS for counts in segments.values())
    if aggregate in {Aggregate.MACRO, Aggregate.WORST_SEGMENT} and not is_any_large:
        message = f"No segment of the dataset has {MIN_PAIRS} validation pairs, from which on one counts."
        raise InvalidRequest(message, pointer="/objective/aggregate")


def demand_segment(name: str, segments: Mapping[str, Counts], *, pointer: str) -> None:
    """Demand that the dataset has the segment, with pairs to measure. Raises: InvalidRequest."""
    if name not in segments:
        known = ", ".join(map(repr, sorted(segments)))
        told = f"its segments are {known}." if known else NO_SEGMENTS
        raise InvalidRequest(f"The dataset has no segment {name!r}: {told}", pointer=pointer)
    if segments[name].validation_pairs == 0:
        raise InvalidRequest(f"Segment {name!r} has no validation pair to measure.", pointer=pointer)
