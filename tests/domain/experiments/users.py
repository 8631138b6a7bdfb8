"""Users of experiments for tests: what each did by day, and the moments of that by definition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.experiments.metrics import Metric
from app.domain.experiments.moments import SIZE, D, Moments, Steps, Y
from app.domain.experiments.outcomes import Group, Outcomes

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Users:
    """`exposed_on` `(n,)` is a day; `y` and `d` `(n, n_days)` are cumulative, 0 before; d is None for a mean."""

    exposed_on: NDArray[np.int64]
    y: Array
    d: Array | None = None
    y_before: Array | None = None
    d_before: Array | None = None

    @property
    def values(self) -> Array:
        """v_i(k), `(n, n_days, 5)`."""
        n, n_days = self.y.shape
        ones = np.ones((n, n_days))
        before = np.zeros(n) if self.y_before is None else self.y_before
        base = np.ones(n) if self.d_before is None else self.d_before
        found = np.stack(
            [
                ones,
                self.y,
                ones if self.d is None else self.d,
                np.repeat(before[:, None], n_days, axis=1),
                np.repeat(base[:, None], n_days, axis=1),
            ],
            axis=2,
        )
        return np.asarray(found * (np.arange(n_days)[None, :] >= self.exposed_on[:, None])[:, :, None])

    def moments(self) -> Moments:
        """By definition: every user on every day."""
        v = self.values
        totals = np.einsum("nki,nkj->kij", v, v)
        lags = np.zeros_like(totals)
        lags[1:] = np.einsum("nki,nkj->kij", v[:, :-1], v[:, 1:])
        return Moments(totals=totals, lags=lags, is_ratio=self.d is not None, has_covariate=self.y_before is not None)

    def steps(self) -> Steps:
        """What each day adds."""
        v = self.values
        n, n_days = self.y.shape
        earlier = np.concatenate([np.zeros((n, 1, SIZE)), v[:, :-1]], axis=1)
        products = np.einsum("nki,nkj->nkij", v, v) - np.einsum("nki,nkj->nkij", earlier, earlier)
        is_first = np.arange(n_days)[None, :] == self.exposed_on[:, None]
        changes = (v - earlier) * ~is_first[:, :, None]
        grams = np.zeros((n_days, SIZE, SIZE))
        for i in (Y, D):
            for j in (Y, D):
                grams[:, i, j] = np.einsum("nk,nk->k", changes[:, :, i], changes[:, :, j])
        return Steps(
            first=np.einsum("nkij,nk->kij", products, is_first),
            later=np.einsum("nkij,nk->kij", products, ~is_first),
            grams=grams,
        )


def listeners(
    rng: np.random.Generator, n: int, *, n_days: int = 14, effect: float = 0.0, ratio: bool = True, spread: float = 1.0
) -> Users:
    """Users with a taste of their own, heavy tails and days that differ; `effect` is relative, on y."""
    exposed_on = rng.integers(0, n_days, n)
    activity = np.exp(rng.normal(0.0, spread, n))
    taste = np.exp(rng.normal(0.0, 0.4, n))
    is_in = np.arange(n_days)[None, :] >= exposed_on[:, None]
    sessions = rng.poisson(0.7 * activity[:, None], (n, n_days)) * is_in
    sessions[np.arange(n), exposed_on] += 1
    y = sessions * taste[:, None] * np.exp(rng.normal(0.0, 0.5, (n, n_days))) * (1.0 + effect)
    before = rng.poisson(0.7 * activity * 14.0).astype(float)
    y_before = before * taste * np.exp(rng.normal(0.0, 0.2, n))
    return Users(
        exposed_on=exposed_on,
        y=np.cumsum(y, axis=1),
        d=np.cumsum(sessions, axis=1).astype(float) if ratio else None,
        y_before=y_before,
        d_before=before if ratio else None,
    )


def outcomes_of(
    users: Mapping[Group, Users], metrics: Sequence[Metric], *, n_days: int = 14, n_idle: int = 5
) -> Outcomes:
    """Outcomes in which every metric shows the same of these users; of `n_idle` in each group nothing is played."""
    steps = {group: each.steps() for group, each in users.items()}
    active = {}
    for group, each in users.items():
        n = len(each.y)
        played = (np.arange(n) >= n_idle).astype(float)[:, None] * np.ones((1, n_days))
        is_in = np.arange(n_days)[None, :] >= each.exposed_on[:, None]
        active[group] = Users(exposed_on=each.exposed_on, y=played * is_in).steps()
    return Outcomes(first_day=20_000, n_days=n_days, steps={each.name: steps for each in metrics}, active=active)
