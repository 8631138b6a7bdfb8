"""How two models differ in a study's objective, on the same pairs.

Notation: X_s and Y_s are the two models' mean values over the pairs of segment s, of the S segments that count with
weights c_s (`aggregating`); every interval is of `pairing`.

    micro            mean over all pairs of x_p - y_p
    macro, weights   sum of c_s (X_s - Y_s)
    worst segment    min X_s - min Y_s. With i and j the segments where the two are least as measured,
                     low   least low limit of X_s - Y_j over s, as min X_s - min Y_s >= min over s of X_s - Y_j
                     high  greatest high limit of X_i - Y_s over s, as min X_s - min Y_s <= max over s of X_i - Y_s
                     at level 1 - 0.05 / S: i and j were picked by what was measured, and Bonferroni makes the limits
                     hold whichever they are. No p value

A scope needs nothing here: its study measures the pairs of its segment alone.
"""

from collections.abc import Mapping

import numpy as np

from app.domain.pairing import LEFT_OUT, PairRanks, pair_values, paired_difference, weighted_difference
from app.domain.tuning.objectives import Aggregate
from app.domain.tuning.verdict import LEVEL, Difference, on_pairs


def objective_difference(
    ranks: PairRanks, others: PairRanks, *, aggregate: Aggregate, shares: Mapping[str, float], hr_weight: float
) -> Difference | None:
    """The objective by `ranks` less that by `others`; None without a measured pair.

    `shares` are `aggregating.segment_shares`, which micro does not look at. Raises: ValueError when the two are not of
    the same pairs, or no segment has such a name.
    """
    if aggregate is Aggregate.MICRO:
        paired = paired_difference(ranks.ranks, others.ranks, hr_weight=hr_weight)
    elif aggregate is Aggregate.WORST_SEGMENT:
        return _worst_difference(ranks, others, segments=sorted(shares), hr_weight=hr_weight)
    else:
        paired = weighted_difference(ranks, others, weights=shares, other_weights=shares, hr_weight=hr_weight)
    return None if paired is None else on_pairs(paired)


def _worst_difference(
    ranks: PairRanks, others: PairRanks, *, segments: list[str], hr_weight: float
) -> Difference | None:
    segments = [segment for segment in segments if _n_measured(ranks, segment) > 0]
    if not segments:
        return None
    level = 1.0 - (1.0 - LEVEL) / len(segments)
    mine, theirs = (_least(side, segments, hr_weight=hr_weight) for side in (ranks, others))
    pairs = {(mine, theirs), *((segment, theirs) for segment in segments), *((mine, segment) for segment in segments)}
    found = {
        (x, y): weighted_difference(
            ranks, others, weights={x: 1.0}, other_weights={y: 1.0}, hr_weight=hr_weight, level=level
        )
        for x, y in sorted(pairs)
    }
    known = {each: difference for each, difference in found.items() if difference is not None}
    return Difference(
        value=known[mine, theirs].value,
        low=min(known[segment, theirs].low for segment in segments),
        high=max(known[mine, segment].high for segment in segments),
        p_value=None,
        n=sum(_n_measured(ranks, segment) for segment in segments),
        basis="pairs",
    )


def _least(ranks: PairRanks, segments: list[str], *, hr_weight: float) -> str:
    """Where the model scores least; of equal ones the first by name."""
    means = {segment: np.nanmean(pair_values(ranks.of_segment(segment), hr_weight=hr_weight)) for segment in segments}
    return min(segments, key=lambda segment: means[segment])


def _n_measured(ranks: PairRanks, segment: str) -> int:
    return int(np.count_nonzero(ranks.of_segment(segment) != LEFT_OUT))
