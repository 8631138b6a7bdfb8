"""Calibration: what differences measured offline foretold of lifts measured online, over all finished experiments.

Notation: comparison i of experiment e_i has x_i, by how much its variant's model scored more than the control's on
identical test pairs, and y_i, the relative lift of the experiment's goal.

    correlation  Spearman's, mean ranks for ties
    interval     percentiles of the correlation over resamples of the experiments, each with all its comparisons, for
                 those share a control. Few points that lie in perfect order resample to nothing else, so the interval
                 reaches at least as far as Bonett and Wright's, tanh(atanh r +- z sqrt((1 + r^2 / 2) / (n - 3))), r
                 drawn in to halfway between 1 and the next value that n points can have
    prediction   the line of Theil and Sen at x, and around it the interval of the leave-one-out residuals (jackknife+):
                 with fewer than `FEWEST_TO_PREDICT` experiments it has no end at this level, so nothing is predicted

Errors of x and y both draw the correlation towards 0: one near 0 may mean small experiments as well as a useless
measure.
Source: Bonett and Wright, Psychometrika 2000; Sen, JASA 1968; Barber et al., Predictive inference with the jackknife+,
Annals of Statistics 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import atanh, ceil, floor, isnan, sqrt, tanh
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

LEVEL = 0.95

FEWEST = 5
"""Experiments below which no correlation is told: of fewer, any order is likely by chance."""

FEWEST_TO_PREDICT = 19
"""ceil(0.95 (n + 1)) <= n from here on; see the module header."""

N_RESAMPLES = 2_000

ROUNDING = 1e-9
"""How far a product of the level may be off the whole number that it is."""

Measure = Literal["hit_ratio", "ndcg"]

MEASURES: tuple[Measure, ...] = ("hit_ratio", "ndcg")

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A difference and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineLift:
    """The relative lift of an experiment's goal in one variant, overall (segment None) or in one segment.

    `lift` is None with a `reason`.
    """

    variant: str
    segment: str | None
    lift: Measured | None
    n_users: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One variant beside its control, overall (segment None) or in one segment, offline and online.

    Where one of them is not known `offline` lacks it or `lift` is None, and `reasons` say why.
    """

    experiment_id: str
    variant: str
    segment: str | None
    offline: dict[Measure, Measured]
    n_pairs: int | None
    lift: Measured | None
    n_users: int | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one finished experiment adds to the ledger; `goal` is the metric whose lifts are compared."""

    experiment_id: str
    name: str
    goal: str
    comparisons: tuple[Comparison, ...]
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far one measure's differences and the lifts go together, over comparisons of one kind.

    `correlation` is None with a `reason`. `points` are x and y, `(n, 2)`; `experiment` numbers each one's, `(n,)`.
    """

    measure: Measure
    segment: str | None
    n: int
    n_experiments: int
    correlation: Measured | None
    reason: str | None
    points: Values
    experiment: NDArray[np.intp]

    @property
    def can_predict(self) -> bool:
        """Whether there are experiments enough to predict from."""
        return self.no_prediction is None

    @property
    def no_prediction(self) -> str | None:
        """Why nothing is predicted; None where something is."""
        if self.n_experiments < FEWEST_TO_PREDICT:
            return f"A prediction takes at least {FEWEST_TO_PREDICT} experiments; there are {self.n_experiments}."
        return self.reason


def calibrations(comparisons: Sequence[Comparison], *, draws: np.random.Generator) -> list[Calibration]:
    """One a measure: overall, and for each segment by name."""
    segments = sorted({each.segment for each in comparisons if each.segment is not None})
    return [
        _calibrated(comparisons, measure, segment, draws=draws) for segment in (None, *segments) for measure in MEASURES
    ]


def _calibrated(
    comparisons: Sequence[Comparison], measure: Measure, segment: str | None, *, draws: np.random.Generator
) -> Calibration:
    known = [
        (each.experiment_id, each.offline[measure].value, each.lift.value)
        for each in comparisons
        if each.segment == segment and measure in each.offline and each.lift is not None
    ]
    points = np.array([point[1:] for point in known], dtype=np.float64).reshape(-1, 2)
    _, experiment = np.unique([point[0] for point in known], return_inverse=True)
    n_experiments = int(experiment.max(initial=-1)) + 1
    correlation, reason = _correlation(points, experiment, draws=draws)
    return Calibration(
        measure=measure,
        segment=segment,
        n=len(points),
        n_experiments=n_experiments,
        correlation=correlation,
        reason=reason,
        points=points,
        experiment=experiment,
    )


def _correlation(
    points: Values, experiment: NDArray[np.intp], *, draws: np.random.Generator
) -> tuple[Measured | None, str | None]:
    n_experiments = int(experiment.max(initial=-1)) + 1
    if n_experiments < FEWEST:
        return None, f"A correlation takes at least {FEWEST} experiments; there are {n_experiments}."
    value = spearman(points)
    if value is None:
        return None, "All differences, or all lifts, are the same: they have no order."
    n_times = draws.multinomial(n_experiments, np.full(n_experiments, 1 / n_experiments), size=N_RESAMPLES)
    found = _spearmans(points, n_times[:, experiment].astype(np.float64))
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    least, greatest = _by_formula(value, n_experiments)
    return Measured(value=value, low=min(low, least), high=max(high, greatest)), None


def spearman(points: Values) -> float | None:
    """The rank correlation of the columns of `points` `(n, 2)`; None where one of them is constant.

    >>> spearman(np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0]]))
    0.5
    """
    value = float(_spearmans(points, np.ones((1, len(points))))[0])
    return None if isnan(value) else value


def _spearmans(points: Values, n_times: Values) -> Values:
    """The same with each point so many times, a row of `n_times` `(n_rows, n)` each; NaN where a column is constant."""
    total = n_times.sum(axis=1, keepdims=True)
    x, y = (n_times @ _precedes(column) + 0.5 - (total + 1) / 2 for column in points.T)
    spread = np.sqrt((n_times * x * x).sum(axis=1) * (n_times * y * y).sum(axis=1))
    found: Values = np.full(len(n_times), np.nan)
    np.divide((n_times * x * y).sum(axis=1), spread, out=found, where=spread > 0)
    return found


def _precedes(values: Values) -> Values:
    """How much of a rank point i gives point j, `(n, n)`: 1 below it, a half beside it."""
    before: Values = (values[:, None] < values) + 0.5 * (values[:, None] == values)
    return before


def _by_formula(value: float, n: int) -> tuple[float, float]:
    """The interval of Bonett and Wright; see the module header."""
    furthest = 1.0 - 6.0 / (n**3 - n)
    centre = atanh(min(furthest, max(-furthest, value)))
    reach = float(scipy.special.ndtri((1.0 + LEVEL) / 2.0)) * sqrt((1.0 + value**2 / 2.0) / (n - 3))
    return tanh(centre - reach), tanh(centre + reach)


def predicted(calibration: Calibration, difference: float) -> Measured | None:
    """The lift that a difference of the measure foretells; None where `no_prediction` says why."""
    if not calibration.can_predict:
        return None
    points, n = calibration.points, len(calibration.points)
    at, residuals = np.empty(n), np.empty(n)
    for number in range(calibration.n_experiments):
        is_own = calibration.experiment == number
        slope, intercept = _line(points[~is_own])
        x, y = points[is_own].T
        at[is_own] = slope * difference + intercept
        residuals[is_own] = np.abs(y - slope * x - intercept)
    slope, intercept = _line(points)
    value = slope * difference + intercept
    first = floor((1.0 - LEVEL) * (n + 1) + ROUNDING) - 1
    last = ceil(LEVEL * (n + 1) - ROUNDING) - 1
    return Measured(
        value=value,
        low=min(value, float(np.sort(at - residuals)[first])),
        high=max(value, float(np.sort(at + residuals)[last])),
    )


def _line(points: Values) -> tuple[float, float]:
    """Slope and intercept of the line of Theil and Sen: the median slope, then the median rest; flat where x is one."""
    x, y = points.T
    rows, columns = np.triu_indices(len(points), 1)
    dx, dy = x[columns] - x[rows], y[columns] - y[rows]
    slopes = dy[dx != 0] / dx[dx != 0]
    slope = float(np.median(slopes)) if len(slopes) else 0.0
    return slope, float(np.median(y - slope * x))
