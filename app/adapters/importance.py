"""Importance by scikit-learn: permutation importance of a random forest, on trials left out of each resample.

Source: Breiman 2001, through `sklearn.inspection.permutation_importance`. A parameter of several choices is one column
until it is inside the surrogate, so its choices are shuffled together. The same trials give the same answer.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from app.domain.tuning.importance import Importance, Observed, ParameterImportance

N_REFITS = 30
N_TREES = 20
N_SHUFFLES = 4
FEWEST_LEFT_OUT = 2


def importance(observed: Observed) -> Importance:
    """The importances of the free parameters."""
    rows, values = np.array(observed.rows), np.array(observed.values)
    n, variance = len(values), float(values.var())
    rng = np.random.default_rng(0)
    told: list[NDArray[np.float64]] = []
    error, n_told = np.zeros(n), np.zeros(n)
    while len(told) < N_REFITS:
        chosen = rng.integers(0, n, size=n)
        left_out = np.setdiff1d(np.arange(n), chosen)
        if len(left_out) < FEWEST_LEFT_OUT:
            continue
        seed = len(told)
        surrogate = _surrogate(observed, seed=seed).fit(rows[chosen], values[chosen])
        error[left_out] += surrogate.predict(rows[left_out]) - values[left_out]
        n_told[left_out] += 1
        shuffled = permutation_importance(
            surrogate,
            rows[left_out],
            values[left_out],
            scoring="neg_mean_squared_error",
            n_repeats=N_SHUFFLES,
            random_state=seed,
        )
        told.append(shuffled.importances_mean / variance)
    found = np.array(told)
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    mean = found.mean(axis=0)
    is_told = n_told > 0
    squared = (error[is_told] / n_told[is_told]) ** 2
    return Importance(
        parameters=tuple(
            ParameterImportance(
                name=observed.names[place], value=float(mean[place]), low=float(low[place]), high=float(high[place])
            )
            for place in np.argsort(-mean, kind="stable")
        ),
        r2=float(1.0 - squared.mean() / variance),
        n_trials=n,
        n_refits=N_REFITS,
    )


def _surrogate(observed: Observed, *, seed: int) -> Pipeline:
    choices = [place for place, is_choice in enumerate(observed.is_choice) if is_choice]
    coder = ColumnTransformer([("choices", OneHotEncoder(handle_unknown="ignore"), choices)], remainder="passthrough")
    forest = RandomForestRegressor(n_estimators=N_TREES, random_state=seed, n_jobs=1)
    return Pipeline([("coder", coder), ("forest", forest)])
