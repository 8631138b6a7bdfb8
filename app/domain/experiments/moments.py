"""Moments: what sums over users tell of a metric, day by day, without any user.

Notation: user i has v_i(k) = (1, y, d, y', d') at the end of day k: numerator y and denominator d of the metric so far,
and of the same metric before the exposure, y' and d', which stay as they are. Users who are not exposed yet have
v_i(k) = 0. What a metric lacks is 0, but d and d', which are 1 where there is a numerator alone.

    M_k = sum over i of v_i(k) v_i(k)'          totals: M_k[0, 0] is the number of users
    X_k = sum over i of v_i(k - 1) v_i(k)'      lags: how the days hang together, for who is heavy today was yesterday

The metric of a group is R = y / d of the sums, its covariate R' = y' / d'. CUPED takes off what the covariate tells:
R - theta (R' - R'_pooled), theta = cov / var of what each user adds to R and R', pooled over both groups. A user adds
r = (y - R d) / mean d - theta (y' - R' d') / mean d', so var R = var r / n by the delta method, users being clusters;
cov of two days' R is that of their r.

Source: Deng et al. 2013 (CUPED); Deng, Knoblich and Lu 2018 (delta method).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

SIZE = 5
ONE, Y, D, Y_BEFORE, D_BEFORE = range(SIZE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """`totals` and `lags` of a metric in one group, float64 `(n_days, 5, 5)`, the first day first.

    `is_ratio`: there is a denominator. `has_covariate`: there is a metric before the exposure.
    """

    totals: Matrix
    lags: Matrix
    is_ratio: bool = False
    has_covariate: bool = False

    @property
    def n_days(self) -> int:
        """How many days."""
        return len(self.totals)

    @property
    def n_users(self) -> int:
        """Users on the last day."""
        return int(self.totals[-1, ONE, ONE])

    def __add__(self, other: "Moments") -> "Moments":
        """Of both groups together."""
        return Moments(
            totals=self.totals + other.totals,
            lags=self.lags + other.lags,
            is_ratio=self.is_ratio,
            has_covariate=self.has_covariate and other.has_covariate,
        )

    def mean(self, day: int = -1) -> float | None:
        """The metric; None where its denominator is 0."""
        return _quotient(self.totals[day], Y, D)

    def covariate(self, day: int = -1) -> float | None:
        """The metric before the exposure; None where there is none or its denominator is 0."""
        return _quotient(self.totals[day], Y_BEFORE, D_BEFORE) if self.has_covariate else None

    def before(self) -> Self:
        """The covariate as a metric of its own, of the last day alone."""
        order = [ONE, Y_BEFORE, D_BEFORE, Y_BEFORE, D_BEFORE]
        totals = self.totals[-1:, order][:, :, order]
        return type(self)(totals=totals, lags=np.zeros_like(totals), is_ratio=self.is_ratio)

    def until(self, n_days: int) -> Self:
        """Of the first days alone."""
        return type(self)(
            totals=self.totals[:n_days],
            lags=self.lags[:n_days],
            is_ratio=self.is_ratio,
            has_covariate=self.has_covariate,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """What each day adds, float64 `(n_days, 5, 5)`: `first` of the users exposed that day, `later` of the others.

    Both are increments of M. `grams` are sums over the others of products of what they added to y and d, only [Y, Y],
    [Y, D], [D, Y] and [D, D] being used.
    """

    first: Matrix
    later: Matrix
    grams: Matrix

    def moments(self, *, is_ratio: bool, has_covariate: bool) -> Moments:
        """Summed up.

        X_k = M_{k-1} + sum of v(k-1) (v(k) - v(k-1))'. The last sum is part of the increments of M: of those with 1, y'
        and d', which do not change, it is all; of y and d half of what the products of the changes leave. That takes
        the two halves of [Y, D] for equal, which only matters as far as R differs between two days; a mean's d is 1.
        """
        totals = np.cumsum(self.first + self.later, axis=0)
        lags = np.zeros_like(totals)
        lags[1:] = totals[:-1]
        changing = [Y, D]
        constant = [ONE, Y_BEFORE, D_BEFORE]
        lags[np.ix_(range(len(lags)), constant, changing)] += self.later[:, constant][:, :, changing]
        halves = (self.later - self.grams)[:, changing][:, :, changing] / 2.0
        lags[np.ix_(range(len(lags)), changing, changing)] += halves
        if not is_ratio:
            lags[:, D, :] = lags[:, ONE, :]
            lags[:, :, D] = lags[:, :, ONE]
        return Moments(totals=totals, lags=lags, is_ratio=is_ratio, has_covariate=has_covariate)


def theta(control: Moments, treatment: Moments, day: int) -> float:
    """How much of the covariate's difference is taken off; 0 where the covariate does not vary."""
    if not (control.has_covariate and treatment.has_covariate):
        return 0.0
    pooled = control.totals[day] + treatment.totals[day]
    after, before = _contribution(pooled, Y, D), _contribution(pooled, Y_BEFORE, D_BEFORE)
    if after is None or before is None:
        return 0.0
    variance = float(before @ pooled @ before)
    scale = float(pooled[Y_BEFORE, Y_BEFORE]) * float(before[Y_BEFORE]) ** 2
    return float(after @ pooled @ before) / variance if variance > 1e-12 * scale else 0.0


def contributions(moments: Moments, theta: float, day: int) -> Matrix | None:
    """What a user adds to R as weights of v, `(5,)`: r = weights . v. None where a denominator is 0."""
    after = _contribution(moments.totals[day], Y, D)
    if after is None or theta == 0.0:
        return after
    before = _contribution(moments.totals[day], Y_BEFORE, D_BEFORE)
    return None if before is None else after - theta * before


def standard_errors(control: Moments, treatment: Moments) -> tuple[Matrix, Matrix]:
    """Of the difference of R, treatment less control, each day, and its correlation with the day before's, `(n_days,)`.

    NaN where it can't be computed; the first day's correlation is 0.
    """
    n_days = control.n_days
    errors, correlations = np.full(n_days, np.nan), np.zeros(n_days)
    covariance = np.zeros(n_days)
    variance = np.zeros(n_days)
    weights_before: list[Matrix | None] = [None, None]
    for day in range(n_days):
        taken_off = theta(control, treatment, day)
        for place, group in enumerate((control, treatment)):
            n = group.totals[day, ONE, ONE]
            weights = contributions(group, taken_off, day) if n > 1 else None
            if weights is None:
                variance[day] = np.nan
            else:
                variance[day] += max(0.0, float(weights @ group.totals[day] @ weights)) / (n - 1) / n
                earlier = weights_before[place]
                if earlier is not None:
                    n_before = group.totals[day - 1, ONE, ONE]
                    covariance[day] += float(earlier @ group.lags[day] @ weights) / (n_before - 1) / n
            weights_before[place] = weights
        errors[day] = np.sqrt(variance[day]) if variance[day] > 0 else np.nan
        if day and errors[day - 1] > 0 and errors[day] > 0:
            correlations[day] = np.clip(covariance[day] / (errors[day - 1] * errors[day]), 0.0, 1.0)
    return errors, correlations


def _quotient(totals: Matrix, numerator: int, denominator: int) -> float | None:
    below = float(totals[ONE, denominator])
    return float(totals[ONE, numerator]) / below if below > 0 else None


def _contribution(totals: Matrix, numerator: int, denominator: int) -> Matrix | None:
    """(numerator - R denominator) / mean denominator, as weights of v."""
    ratio = _quotient(totals, numerator, denominator)
    if ratio is None:
        return None
    weights = np.zeros(SIZE)
    scale = float(totals[ONE, ONE]) / float(totals[ONE, denominator])
    weights[numerator], weights[denominator] = scale, -ratio * scale
    return weights
