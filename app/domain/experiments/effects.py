"""Effects: how much a metric differs between the control and a treatment, and how the segments differ in that.

Notation: lift = treatment - control, relative lift = treatment / control - 1, both after CUPED where there is a
covariate (see `moments`). Intervals of the relative lift are those of log(treatment / control), so they never fall
below -1. What can't be computed is `Unknown` with its reason.

    Q = sum over segments s of w_s (lift_s - mean lift)^2      w_s = 1 / error_s^2, mean lift weighed by w

is chi-square with one degree of freedom less than segments where all lifts are equal. Where several p values are read
at once they are adjusted by Holm's method, so that the chance of any false one is what a single one's would be.

Source: Cochran 1954; Holm 1979.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log1p
from typing import Protocol

import scipy

from app.domain.experiments.moments import Moments


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why there is no number."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends included."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A lift at one look. `interval`, `relative_interval` and `p_value` are right for one look that was planned.

    `relative_error` is the standard error of log(1 + relative). What is relative is None where a mean is not above 0.
    `variance_left`: the share of the variance that CUPED leaves; None where there is no covariate.
    """

    lift: float
    error: float
    interval: Interval
    p_value: float
    relative: float | None = None
    relative_error: float | None = None
    relative_interval: Interval | None = None
    variance_left: float | None = None

    def within(self, width: float) -> Interval:
        """Lift -+ width standard errors."""
        return Interval(self.lift - width * self.error, self.lift + width * self.error)

    def relative_within(self, width: float) -> Interval | None:
        """The same of the relative lift."""
        if self.relative is None or self.relative_error is None:
            return None
        middle, half = log1p(self.relative), width * self.relative_error
        if middle + half > 700.0:
            return None  # wider than numbers go
        return Interval(exp(middle - half) - 1.0, exp(middle + half) - 1.0)


class Estimator(Protocol):
    """Makes estimates from moments."""

    def __call__(
        self, control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05
    ) -> Estimate | Unknown:
        """Of the sums up to a day."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heterogeneity:
    """Whether lifts differ between segments: Cochran's Q and its p value.

    `i_squared`, in [0, 1]: the share of the scatter that is more than chance.
    """

    q: float
    n_segments: int
    p_value: float
    i_squared: float


def heterogeneity(estimates: Mapping[str, Estimate]) -> Heterogeneity | Unknown:
    """Of the lifts by segment."""
    if len(estimates) < 2:
        return Unknown("Fewer than two segments have an effect to compare.")
    weights = {name: 1.0 / estimate.error**2 for name, estimate in estimates.items()}
    mean = sum(weights[name] * estimate.lift for name, estimate in estimates.items()) / sum(weights.values())
    q = sum(weights[name] * (estimate.lift - mean) ** 2 for name, estimate in estimates.items())
    freedom = len(estimates) - 1
    return Heterogeneity(
        q=q,
        n_segments=len(estimates),
        p_value=float(scipy.special.chdtrc(freedom, q)),
        i_squared=max(0.0, 1.0 - freedom / q) if q > 0 else 0.0,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for being several, in their order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    n = len(p_values)
    adjusted = [0.0] * n
    largest = 0.0
    for rank, place in enumerate(sorted(range(n), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (n - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
