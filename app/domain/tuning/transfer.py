"""Transfer: whether what is best on a sample of the sessions is best on all of them.

The same points are trained on nested samples of the dataset's sessions and measured on the same pairs, all of the
dataset's validation pairs: only how much training sees differs. On all sessions a point is what its trial measured.
(A dataset that was sampled when it was prepared has fewer pairs, too, which adds their noise.) Notation: x_i and y_i
are point i's objectives on two samples, i = 1..n.

    spearman   correlation of the ranks of x and y      kendall   tau-b; both in [-1, 1], ties by mean rank
    interval   95 %, percentiles over 2,000 resamples of the points with replacement: what other points of the same
               kind would have given. Resamples in which one side does not vary say nothing and are left out.
               None below 4 points. Points were chosen for being the best, which narrows their range: correlation among
               them is lower than over the whole space
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import scipy
from numpy.typing import NDArray

from app.domain.errors import InvalidRequest

FEWEST_POINTS = 4
"""Points below which no interval is given."""

N_RESAMPLES = 2_000

MOST_FRACTIONS = 10
MOST_POINTS = 100

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSpec:
    """What is asked for: the samples' shares of the sessions, ascending, and how many of the best trials."""

    fractions: tuple[float, ...] = (0.1, 0.3, 1.0)
    n_top: int = 8

    def __post_init__(self) -> None:
        if not 2 <= len(self.fractions) <= MOST_FRACTIONS:
            message = f"fractions must be between 2 and {MOST_FRACTIONS} numbers, not {len(self.fractions)}."
            raise InvalidRequest(message, pointer="/fractions")
        for place, fraction in enumerate(self.fractions):
            if not 0 < fraction <= 1:
                message = f"A fraction must be above 0 and at most 1, not {fraction}."
                raise InvalidRequest(message, pointer=f"/fractions/{place}")
            if place and fraction <= self.fractions[place - 1]:
                raise InvalidRequest("fractions must rise.", pointer=f"/fractions/{place}")
        if not 2 <= self.n_top <= MOST_POINTS:
            raise InvalidRequest(f"n_top must be between 2 and {MOST_POINTS}, not {self.n_top}.", pointer="/n_top")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One transfer as stored: `points` are the trials whose parameters are measured, the best first."""

    id: str
    study_id: str
    spec: TransferSpec
    points: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """A rank correlation and its interval; None with what can't be computed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two samples rank the n points that both measured; None where one of them ranks all points the same."""

    n: int
    spearman: Correlation | None
    kendall: Correlation | None


def agreement(x: Sequence[float], y: Sequence[float]) -> Agreement:
    """The rank correlations of paired values. The same values give the same answer.

    >>> found = agreement([1.0, 2.0, 3.0], [10.0, 20.0, 15.0])
    >>> (found.n, found.spearman.value, round(found.kendall.value, 3), found.kendall.low)
    (3, 0.5, 0.333, None)
    """
    left, right = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = len(left)
    spearman, kendall = _spearman(left, right), _kendall(left, right)
    if spearman is None or kendall is None:
        return Agreement(n=n, spearman=None, kendall=None)
    intervals = _intervals(left, right) if n >= FEWEST_POINTS else ((None, None), (None, None))
    (low, high), (kendall_low, kendall_high) = intervals
    return Agreement(
        n=n,
        spearman=Correlation(value=spearman, low=low, high=high),
        kendall=Correlation(value=kendall, low=kendall_low, high=kendall_high),
    )


def _intervals(x: Values, y: Values) -> tuple[tuple[float, float], tuple[float, float]]:
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(x), size=(N_RESAMPLES, len(x)))
    pairs = [(_spearman(x[rows], y[rows]), _kendall(x[rows], y[rows])) for rows in chosen]
    found = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _spearman(x: Values, y: Values) -> float | None:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.clip(np.corrcoef(scipy.stats.rankdata(x), scipy.stats.rankdata(y))[0, 1], -1.0, 1.0))


def _kendall(x: Values, y: Values) -> float | None:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(scipy.stats.kendalltau(x, y).statistic)
