"""Aggregating: one objective from the scores of many segments, with its interval.

Notation: segment s has mean m_s with 95 % limits l_s and u_s; c_s is its weight, and the S segments that count have
weights that sum to 1.

    macro, weights   m = sum of c_s m_s
                     from m - sqrt(sum of c_s^2 (m_s - l_s)^2) to m + sqrt(sum of c_s^2 (u_s - m_s)^2)
    worst segment    m = least m_s
                     from the least l'_s to the least u'_s: the limits moved away from m_s by the factor
                     z(1 - 0.025 / S) / z(0.975), so that they hold for all segments at once

Rules
macro            segments with at least MIN_PAIRS measured pairs, each weighing 1 / S; `mixed` and `unknown` are
                 segments like any other
worst segment    the same segments; of equal ones the first by name
weights          in proportion to the weights given; a segment without a measured pair is left out
none counts      nothing (None), never zero

Source: Zou and Donner 2008 (the limits of a sum from those of its terms, which need not be symmetric); Bonferroni.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from statistics import NormalDist

from app.domain.measurement import Aggregated, Estimate, Measurement, Scores
from app.domain.tuning.objectives import MIN_PAIRS, Aggregate

TAIL = 0.025
"""What a 95 % interval leaves out on either side."""


def aggregated(measurement: Measurement, *, aggregate: Aggregate, weights: Mapping[str, float]) -> Measurement:
    """The measurement with what its study maximises; as it is for `micro`, which is `overall`."""
    if aggregate is Aggregate.MICRO:
        return measurement
    scores = measurement.segments
    shares = segment_shares(scores, aggregate=aggregate, weights=weights)
    combined = _worst if aggregate is Aggregate.WORST_SEGMENT else _mean
    return replace(
        measurement,
        aggregated=Aggregated(
            hit_ratio=combined({name: scores[name].hit_ratio for name in shares}, shares),
            ndcg=combined({name: scores[name].ndcg for name in shares}, shares),
            objective=combined({name: scores[name].objective for name in shares}, shares),
        ),
    )


def segment_shares(
    scores: Mapping[str, Scores], *, aggregate: Aggregate, weights: Mapping[str, float]
) -> dict[str, float]:
    """The weight of each segment that counts, by name, 1 together; for the worst segment, those it is sought among."""
    if aggregate is Aggregate.WEIGHTS:
        counting = {name: weight for name, weight in weights.items() if name in scores and scores[name].n_pairs > 0}
    else:
        counting = {name: 1.0 for name, score in scores.items() if score.n_pairs >= MIN_PAIRS}
    total = sum(counting.values())
    return {name: counting[name] / total for name in sorted(counting)}


def _mean(estimates: Mapping[str, Estimate | None], shares: Mapping[str, float]) -> Estimate | None:
    known = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    if not known:
        return None
    value = sum(shares[name] * estimate.value for name, estimate in known.items())
    below = sqrt(sum((shares[name] * (estimate.value - estimate.low)) ** 2 for name, estimate in known.items()))
    above = sqrt(sum((shares[name] * (estimate.high - estimate.value)) ** 2 for name, estimate in known.items()))
    return _within_unit(value, low=value - below, high=value + above, n=sum(each.n for each in known.values()))


def _worst(estimates: Mapping[str, Estimate | None], shares: Mapping[str, float]) -> Estimate | None:
    known = [estimate for estimate in estimates.values() if estimate is not None]
    if not known:
        return None
    farther = NormalDist().inv_cdf(1 - TAIL / len(shares)) / NormalDist().inv_cdf(1 - TAIL)
    worst = min(known, key=lambda estimate: estimate.value)
    return _within_unit(
        worst.value,
        low=min(estimate.value - farther * (estimate.value - estimate.low) for estimate in known),
        high=min(estimate.value + farther * (estimate.high - estimate.value) for estimate in known),
        n=worst.n,
    )


def _within_unit(value: float, *, low: float, high: float, n: int) -> Estimate:
    """Values stay in [0, 1], and rounding moves no limit to the wrong side of the value."""
    return Estimate(value, max(0.0, min(low, value)), min(1.0, max(high, value)), n)
