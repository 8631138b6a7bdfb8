"""Two objectives for a suggester that knows one: weights drawn anew for every trial make one number of the two.

Notation: v_ij objective j of earlier trial i, made so that more is better; l_ij = (max_i v_ij - v_ij) / (max - min) its
loss in [0, 1], over the trials measured so far (0 where all are equal); w a point drawn uniformly from the simplex.

    value_i = - (max over j of w_j l_ij + RHO sum over j of w_j l_ij)

Every trial thus looks for another part of the front; the augmenting sum keeps points out that are only weakly best.
Source: ParEGO, Knowles 2006, equation 2 (whose weights are 11 fixed ones; two objectives need no grid).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.objectives import ObjectiveName, value_of
from app.domain.tuning.suggester import Observation

RHO = 0.05
"""The share of the sum, as in the source."""

STREAM = 2
"""Keeps these draws apart from those of the suggester beneath, which has the same seed and number."""


class ScalarisingSuggester:
    """The port `Suggester` for two objectives, on any suggester for one.

    The same seed, number and observations give the same point. A point whose objectives are not both known, as one that
    was given with its first alone, tells nothing and is left out.
    """

    def __init__(self, single: Suggester, *, names: Sequence[ObjectiveName], seed: int) -> None:
        self._single = single
        self._names = tuple(names)
        self._seed = seed

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """The single suggester's point, for the objectives weighed as drawn for this number."""
        weights = weights_for(self._seed, number, n=len(self._names))
        return self._single.suggest(scalarised(observations, self._names, weights), number=number)

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> None:
        """None: what is expected of weighed objectives is in the units of neither."""


def weights_for(seed: int, number: int, *, n: int) -> NDArray[np.float64]:
    """The weights of one trial, `(n,)`, 1 together."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, STREAM]))
    return rng.dirichlet(np.ones(n))


def scalarised(
    observations: Sequence[Observation], names: Sequence[ObjectiveName], weights: NDArray[np.float64]
) -> list[Observation]:
    """The observations with one value each: at most 0, and 0 for one that is best in every objective."""
    values = [_values(observation, names) for observation in observations]
    measured = np.array([each for each in values if each is not None], dtype=np.float64).reshape(-1, len(names))
    best, spread = measured.max(axis=0, initial=-np.inf), np.ptp(measured, axis=0) if len(measured) else np.ones(1)
    spread[spread == 0] = 1.0
    told = []
    for observation, each in zip(observations, values, strict=True):
        if each is not None:
            losses = weights * (best - np.array(each)) / spread
            told.append(replace(observation, value=-float(losses.max() + RHO * losses.sum())))
        elif observation.value is None:
            told.append(observation)
    return told


def _values(observation: Observation, names: Sequence[ObjectiveName]) -> list[float] | None:
    """Each objective so that more is better; None unless all are known."""
    if observation.value is None or observation.measurement is None:
        return None
    found = [(name, value_of(observation.measurement, name)) for name in names]
    known = [-value if name.is_minimised else value for name, value in found if value is not None]
    return known if len(known) == len(names) else None
