"""Pairing: what became of each held-out pair under one model, and how two models differ on the same pairs.

Notation: pair p of segment s has value x_p under one model and y_p under the other, both in [0, 1]: w h_p + (1 - w) g_p
of `evaluating`, so w = 1 is HR and w = 0 NDCG. a_s and b_s weigh the segments' means (all pairs are one segment of
weight 1 where none are named). n_s pairs of the segment are measured.

    difference = sum over s of mean of d_p      d_p = a_s x_p - b_s y_p      one d_p a pair: no clusters, for a
                                                                             session gives one pair
    interval   Student's t around the difference, its variance the sum of Var_s(d_p) / n_s, degrees of freedom by
               Welch and Satterthwaite. Before that every segment is given two pairs more: one with d = 0, and half of
               one each with d = c and d = -c, c = max(a_s, b_s). So few pairs, or pairs that hardly ever differ, never
               make an interval of no width
    p value    two-sided, of the same t: it is below 1 - level where the interval leaves 0 out

Source: Agresti and Min 2005 (the pairs added, for paired shares); Welch 1947.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
import scipy
from numpy.typing import NDArray

Ranks = NDArray[np.uint8]
"""The rank of each pair's target, `(n_pairs,)`: 1 to k, MISSED or LEFT_OUT."""

MISSED = 0
"""The target is not among the k songs of the list."""

LEFT_OUT = 255
"""The pair is not measured: its query is its target, and the split drops such pairs."""

N_ADDED = 2
"""Pairs that each segment is given; see the module header."""


@dataclass(frozen=True, slots=True)
class PairRanks:
    """What became of each pair, and its segment: `segment` uint8 `(n_pairs,)` indexes `segments`; all 0 without any."""

    ranks: Ranks
    segment: NDArray[np.uint8]
    segments: tuple[str, ...]

    def of_segment(self, name: str) -> Ranks:
        """The ranks of one segment's pairs, in their order. Raises: ValueError when no segment has that name."""
        ranks: Ranks = self.ranks[self.segment == self.segments.index(name)]
        return ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How much more one model scores than another on the same n pairs, its interval at `level`, and the p value."""

    value: float
    low: float
    high: float
    p_value: float
    n: int
    level: float


def pair_values(ranks: Ranks, *, hr_weight: float) -> NDArray[np.float64]:
    """The value of each pair, `(n_pairs,)`: 1 for rank 1, 0 for a miss, NaN for a pair left out.

    >>> pair_values(np.array([1, 3, 0, 255], dtype=np.uint8), hr_weight=0.5).tolist()
    [1.0, 0.75, 0.0, nan]
    """
    values = np.arange(256, dtype=np.float64)
    values[1:] = hr_weight + (1.0 - hr_weight) / np.log2(1.0 + values[1:])
    values[LEFT_OUT] = np.nan
    looked_up: NDArray[np.float64] = values[ranks]
    return looked_up


def paired_difference(ranks: Ranks, others: Ranks, *, hr_weight: float, level: float = 0.95) -> PairedDifference | None:
    """The mean of `ranks`' values less that of `others`'; None without a measured pair.

    Raises: ValueError when the two are not of the same pairs.
    """
    differences = _measured(pair_values(ranks, hr_weight=hr_weight), pair_values(others, hr_weight=hr_weight))
    return _combined([_Part.of(differences, largest=1.0)], level=level)


def weighted_difference(
    pairs: PairRanks,
    others: PairRanks,
    *,
    weights: Mapping[str, float],
    other_weights: Mapping[str, float],
    hr_weight: float,
    level: float = 0.95,
) -> PairedDifference | None:
    """The same for objectives that weigh segments: `weights` are a_s, `other_weights` b_s, 0 where absent.

    A segment of weight 0 on both sides is not looked at; None when one that is has no measured pair, or none is.
    Raises: ValueError when the two are not of the same pairs, or no segment has such a name.
    """
    if pairs.segments != others.segments or not np.array_equal(pairs.segment, others.segment):
        msg = "The two models were not measured on the same pairs."
        raise ValueError(msg)
    parts = []
    for name in sorted({*weights, *other_weights}):
        a, b = weights.get(name, 0.0), other_weights.get(name, 0.0)
        if a or b:
            x = a * pair_values(pairs.of_segment(name), hr_weight=hr_weight)
            y = b * pair_values(others.of_segment(name), hr_weight=hr_weight)
            parts.append(_Part.of(_measured(x, y), largest=max(a, b)))
    return _combined(parts, level=level)


def _measured(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The differences of the measured pairs."""
    if values.shape != others.shape or not np.array_equal(np.isnan(values), np.isnan(others)):
        msg = "The two models were not measured on the same pairs."
        raise ValueError(msg)
    differences = values - others
    return differences[~np.isnan(differences)]


@dataclass(frozen=True, slots=True)
class _Part:
    """One segment's n pairs: their mean; and with the pairs added, mean and squared standard error."""

    n: int
    mean: float
    shrunk: float
    squared_error: float

    @classmethod
    def of(cls, differences: NDArray[np.float64], *, largest: float) -> "_Part":
        n = len(differences)
        total, squares = float(differences.sum()), float(differences @ differences) + largest**2
        shrunk = total / (n + N_ADDED)
        variance = max(0.0, squares - (n + N_ADDED) * shrunk**2) / (n + N_ADDED - 1)
        return cls(n, total / n if n else 0.0, shrunk, variance / (n + N_ADDED))


def _combined(parts: list[_Part], *, level: float) -> PairedDifference | None:
    if not parts or any(part.n == 0 for part in parts):
        return None
    value, centre = sum(part.mean for part in parts), sum(part.shrunk for part in parts)
    squared_error = sum(part.squared_error for part in parts)
    freedom = squared_error**2 / sum(part.squared_error**2 / (part.n + N_ADDED - 1) for part in parts)
    error = sqrt(squared_error)
    reach = float(scipy.special.stdtrit(freedom, (1.0 + level) / 2.0)) * error
    return PairedDifference(
        value=value,
        low=max(-1.0, min(value, centre - reach)),
        high=min(1.0, max(value, centre + reach)),
        p_value=float(2.0 * scipy.special.stdtr(freedom, -abs(centre) / error)),
        n=sum(part.n for part in parts),
        level=level,
    )
