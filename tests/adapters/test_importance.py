"""Importance: the parameter that makes the objective is found, the same each time."""

import numpy as np

from app.adapters.importance import importance
from app.domain.tuning.importance import Observed


def made(*, noise: float) -> Observed:
    rng = np.random.default_rng(4)
    rows = [[float(alpha), float(window), float(rng.integers(3))] for alpha, window in rng.random((40, 2))]
    values = [row[0] + noise * float(rng.normal()) for row in rows]
    return Observed(("alpha", "window", "scoring"), (False, False, True), rows, values)


def test_the_parameter_that_decides_comes_first_and_the_surrogate_fits() -> None:
    found = importance(made(noise=0.02))
    first, *others = found.parameters
    assert first.name == "alpha"
    assert first.low > max(other.value for other in others)
    assert all(each.low <= each.value <= each.high for each in found.parameters)
    assert found.r2 > 0.7
    assert found.n_trials == 40
    assert found == importance(made(noise=0.02))


def test_a_surrogate_that_explains_nothing_says_so() -> None:
    rng = np.random.default_rng(5)
    rows = [[float(value), 0.5] for value in rng.random(30)]
    found = importance(Observed(("alpha", "window"), (False, False), rows, rng.random(30).tolist()))
    assert found.r2 < 0.3
