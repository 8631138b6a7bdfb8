"""Effects of experiments from sums over users, by tea-tasting.

It is imported when the first experiment is read: it loads Ibis, which takes a second and 150 MB that a server may never
need.
"""

from functools import lru_cache
from math import inf, isfinite, log1p
from typing import TYPE_CHECKING

import numpy as np

from app.domain.experiments.effects import Estimate, Interval, Unknown
from app.domain.experiments.moments import D_BEFORE, ONE, Y_BEFORE, D, Matrix, Moments, Y, contributions, theta

if TYPE_CHECKING:
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics import Mean, RatioOfMeans
    from tea_tasting.metrics.mean import MeanResult

NAMES = ("one", "y", "d", "y_before", "d_before")

NORMAL_ALPHA = 0.05
Z = 1.959963984540054

ROUNDING = 1e-6
"""A deviation below this share of the mean is what rounding left of none."""


def estimate(control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05) -> Estimate | Unknown:
    """See `app.domain.experiments.effects.Estimator`: Welch's t, users being clusters, CUPED where that helps."""
    reason = _why_not(control, treatment, day)
    if reason is not None:
        return Unknown(reason)
    taken_off = theta(control, treatment, day)
    if not _varies(control, treatment, taken_off, day):
        return Unknown("All users have the same value: nothing tells how far chance reaches.")
    is_adjusted = taken_off != 0.0
    groups = aggregates(control, day), aggregates(treatment, day)
    told = _metric(control.is_ratio, is_adjusted, alpha, True).analyze_aggregates(*groups)
    normal = _metric(control.is_ratio, is_adjusted, NORMAL_ALPHA, False).analyze_aggregates(*groups)
    error = (normal.effect_size_ci_upper - normal.effect_size_ci_lower) / 2.0 / Z
    found = Estimate(
        lift=float(told.effect_size),
        error=float(error),
        interval=Interval(float(told.effect_size_ci_lower), float(told.effect_size_ci_upper)),
        p_value=float(told.pvalue),
        variance_left=_variance_left(control, groups, error) if is_adjusted else None,
    )
    return _with_relative(found, told, normal)


def aggregates(moments: Moments, day: int = -1) -> "Aggregates":
    """Counts, means, variances and covariances, as tea-tasting takes them."""
    from tea_tasting.aggr import Aggregates  # noqa: PLC0415 - see the module header

    totals = moments.totals[day]
    n = totals[ONE, ONE]
    means = totals[ONE] / n
    covariances: Matrix = (totals - n * np.outer(means, means)) / (n - 1)
    columns = (Y, D, Y_BEFORE, D_BEFORE)
    return Aggregates(
        count_=int(n),
        mean_={NAMES[i]: float(means[i]) for i in columns},
        var_={NAMES[i]: max(0.0, float(covariances[i, i])) for i in columns},
        cov_={(NAMES[i], NAMES[j]): float(covariances[i, j]) for i in columns for j in columns if i < j},
    )


@lru_cache(maxsize=256)
def _metric(is_ratio: bool, is_adjusted: bool, alpha: float, use_t: bool) -> "Mean | RatioOfMeans":
    from tea_tasting.metrics import Mean, RatioOfMeans  # noqa: PLC0415 - see the module header

    options = {"equal_var": False, "use_t": use_t, "confidence_level": 1.0 - alpha}
    if is_ratio:
        before = ("y_before", "d_before") if is_adjusted else (None, None)
        return RatioOfMeans("y", "d", *before, **options)
    return Mean("y", "y_before" if is_adjusted else None, **options)


def _why_not(control: Moments, treatment: Moments, day: int) -> str | None:
    for group in (control, treatment):
        if group.totals[day, ONE, ONE] < 2:
            return "Fewer than two users."
        if group.mean(day) is None:
            return "The denominator is 0."
    return None


def _varies(control: Moments, treatment: Moments, taken_off: float, day: int) -> bool:
    """Whether users differ in what they add by more than rounding."""
    squares, scale = 0.0, 0.0
    for group in (control, treatment):
        weights, totals = contributions(group, taken_off, day), group.totals[day]
        if weights is not None:
            squares += float(weights @ totals @ weights) / float(totals[ONE, ONE])
        scale = max(scale, abs(group.mean(day) or 0.0))
    return squares > (ROUNDING * scale) ** 2


def _variance_left(control: Moments, groups: tuple["Aggregates", "Aggregates"], error: float) -> float:
    plain = _metric(control.is_ratio, False, NORMAL_ALPHA, False).analyze_aggregates(*groups)
    plain_error = (plain.effect_size_ci_upper - plain.effect_size_ci_lower) / 2.0 / Z
    return float((error / plain_error) ** 2)


def _with_relative(found: Estimate, told: "MeanResult", normal: "MeanResult") -> Estimate:
    if told.control <= 0 or told.treatment <= 0:
        return found
    ends = [float(told.rel_effect_size_ci_lower), float(told.rel_effect_size_ci_upper)]
    above = float(normal.rel_effect_size_ci_upper)
    if not all(map(isfinite, [*ends, above])) or above == inf:
        return found
    relative = float(told.rel_effect_size)
    return Estimate(
        lift=found.lift,
        error=found.error,
        interval=found.interval,
        p_value=found.p_value,
        relative=relative,
        relative_error=(log1p(above) - log1p(relative)) / Z,
        relative_interval=Interval(*ends),
        variance_left=found.variance_left,
    )
