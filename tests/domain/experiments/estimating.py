"""The fake estimator: a normal approximation by closed forms, for the domain's tests know no library."""

from math import exp, log, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from app.domain.experiments.effects import Estimate, Interval, Unknown
from app.domain.experiments.moments import Moments, standard_errors, theta


def estimate(control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05) -> Estimate | Unknown:
    """See `app.domain.experiments.effects.Estimator`."""
    n_days = control.n_days if day == -1 else day + 1
    one, other = control.until(n_days), treatment.until(n_days)
    error = float(standard_errors(one, other)[0][-1])
    means = one.mean(), other.mean()
    if not np.isfinite(error) or means[0] is None or means[1] is None:
        return Unknown("Nothing varies.")
    taken_off = theta(one, other, -1)
    pooled = (one + other).covariate() or 0.0
    adjusted = [
        mean - taken_off * ((each.covariate() or 0.0) - pooled)
        for mean, each in zip(means, (one, other), strict=True)
        if mean is not None
    ]
    lift = adjusted[1] - adjusted[0]
    width = float(-ndtri(alpha / 2))
    found = Estimate(
        lift=lift,
        error=error,
        interval=Interval(lift - width * error, lift + width * error),
        p_value=float(2 * ndtr(-abs(lift) / error)),
        variance_left=None,
    )
    if min(adjusted) <= 0:
        return found
    relative_error = error / sqrt(adjusted[0] * adjusted[1])
    ratio = log(adjusted[1] / adjusted[0])
    return Estimate(
        lift=lift,
        error=error,
        interval=found.interval,
        p_value=found.p_value,
        relative=exp(ratio) - 1,
        relative_error=relative_error,
        relative_interval=Interval(exp(ratio - width * relative_error) - 1, exp(ratio + width * relative_error) - 1),
    )
