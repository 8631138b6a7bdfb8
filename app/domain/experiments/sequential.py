"""Sequential monitoring: how far an estimate must be from 0 at each look, so that looking every day is safe.

Notation: look k has the statistic Z_k = estimate / standard error, standard normal where there is no effect, and
corr(Z_{k-1}, Z_k) = rho_k, measured. The error spent up to look k is A_k, which never falls; c_k is such that

    P(|Z_1| <= c_1, ..., |Z_{k-1}| <= c_{k-1}, |Z_k| > c_k) = A_k - A_{k-1}

so that the chance of ever crossing is A_K, however often one looks and whenever one stops. The left side is a recursion
over the density of Z_k before crossing; Z_k given Z_{k-1} = z is normal with mean rho_k z and variance 1 - rho_k^2. For
independent increments rho_k^2 is the ratio of the informations; listeners carry over from day to day, and then the
measured correlation is right where that ratio is not.

Spending: of a, 90 % of alpha, day k of the K planned ones may have spent, with z = -(the normal quantile of a / 4),

    4 - 4 Phi(z / sqrt(k / K))          like O'Brien and Fleming: next to nothing at first, most of it at the end

and the days after that the 10 % that are kept, up to day k the share 1 - K / k of them: going on is safe too. This
spending rather than one that spreads alpha evenly (Pocock), because the first days show what is new and who listens
most; because hardly anything is paid for looking, the last look's level being near alpha; and because it bears best
that correlations are estimates. The interval of look k is estimate -+ c_k standard errors: all looks' intervals hold
the truth together with probability 1 - alpha.

Source: Armitage, McPherson and Rowe 1969 (the recursion); Lan and DeMets 1983 and 1989 (spending, by the calendar);
Jennison and Turnbull 1989 (the intervals).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf, sqrt

import numpy as np
import scipy
from numpy.typing import NDArray

KEPT = 0.1
"""The share of alpha that is spent after the planned days."""

WIDEST = 8.0
"""Statistics beyond are never seen (1e-15); a boundary beyond is none."""

CLOSEST = 0.999
"""Looks that hang together more than that are taken for less correlated: boundaries become a little wider."""

POINTS = 64
"""Grids have a multiple of so many points, at least four a standard deviation."""


def planned_spending(n_looks: int, *, n_planned: int, alpha: float) -> list[float]:
    """A_k of the header for the looks 1 to n.

    >>> [round(spent, 4) for spent in planned_spending(4, n_planned=2, alpha=0.05)]
    [0.0025, 0.045, 0.0467, 0.0475]
    """
    return [_spent(look, n_planned=n_planned, alpha=alpha) for look in range(1, n_looks + 1)]


def _spent(look: int, *, n_planned: int, alpha: float) -> float:
    within = (1.0 - KEPT) * alpha
    if look < n_planned:
        return float(4.0 * scipy.special.ndtr(scipy.special.ndtri(within / 4.0) / sqrt(look / n_planned)))
    return within + KEPT * alpha * (1.0 - n_planned / look)


def boundaries(spent: Sequence[float], correlations: Sequence[float]) -> list[float]:
    """c_k of each look; infinite for one that may spend nothing to speak of.

    `correlations` are with the look before; the first is not looked at. Looks without information can be left out by a
    correlation of 1. Accurate to about 1e-4.
    """
    found: list[float] = []
    grid, density = np.zeros(1), np.ones(1)  # before the first look: a point from which all is still to come
    before = 0.0
    for look, (until, correlation) in enumerate(zip(spent, correlations, strict=True)):
        rho = 0.0 if look == 0 else min(max(correlation, 0.0), CLOSEST)
        spread = sqrt(1.0 - rho * rho)
        boundary = _boundary(grid, density, rho=rho, spread=spread, error=until - before)
        found.append(boundary)
        if boundary < inf:
            before = until
        grid, density = _next(grid, density, rho=rho, spread=spread, boundary=min(boundary, WIDEST))
    return found


def crossing_chance(bounds: Sequence[float], correlations: Sequence[float]) -> float:
    """The chance that some |Z_k| is above its bound where there is no effect: the inverse of `boundaries`."""
    grid, density = np.zeros(1), np.ones(1)
    total = 0.0
    for look, (bound, correlation) in enumerate(zip(bounds, correlations, strict=True)):
        rho = 0.0 if look == 0 else min(max(correlation, 0.0), CLOSEST)
        spread = sqrt(1.0 - rho * rho)
        total += _beyond(grid, density, rho=rho, spread=spread, bound=bound)
        grid, density = _next(grid, density, rho=rho, spread=spread, boundary=min(bound, WIDEST))
    return total


def nominal_level(boundary: float) -> float:
    """The p value that a look has to be below: that of its boundary."""
    return float(2.0 * scipy.special.ndtr(-boundary))


Grid = NDArray[np.float64]


def _beyond(grid: Grid, density: Grid, *, rho: float, spread: float, bound: float) -> float:
    """The chance of crossing at a look; `density` holds the weights of the quadrature."""
    means = rho * grid
    return float(
        density @ (scipy.special.ndtr((-bound - means) / spread) + scipy.special.ndtr((means - bound) / spread))
    )


def _boundary(grid: Grid, density: Grid, *, rho: float, spread: float, error: float) -> float:
    """Where the chance of crossing is `error`; by bisection, for it falls with the boundary."""
    low, high = 0.0, WIDEST
    if error <= 0.0 or _beyond(grid, density, rho=rho, spread=spread, bound=high) >= error:
        return inf
    for _ in range(40):
        middle = (low + high) / 2.0
        if _beyond(grid, density, rho=rho, spread=spread, bound=middle) > error:
            low = middle
        else:
            high = middle
    return high


def _next(grid: Grid, density: Grid, *, rho: float, spread: float, boundary: float) -> tuple[Grid, Grid]:
    """The density of Z_k on a new grid, by Gauss and Legendre, for those who have not crossed."""
    nodes, weights = _legendre(POINTS * (1 + int(4.0 * boundary / spread) // POINTS))
    points = boundary * nodes
    steps = (points[:, None] - rho * grid[None, :]) / spread
    kernel = np.exp(-0.5 * steps * steps) / (spread * sqrt(2.0 * np.pi))
    return points, boundary * weights * (kernel @ density)


@lru_cache(maxsize=32)
def _legendre(n_points: int) -> tuple[Grid, Grid]:
    """Nodes and weights on [-1, 1], not to be changed."""
    rule: tuple[Grid, Grid] = np.polynomial.legendre.leggauss(n_points)
    return rule
