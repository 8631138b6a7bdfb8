"""Random search: every trial's point is drawn uniformly from the unit cube, by a seed of its own."""

from collections.abc import Sequence

import numpy as np

from app.domain.training import TrainingParameters
from app.domain.tuning.search_space import SearchSpace
from app.domain.tuning.suggester import Observation

N_DRAWS = 100
"""Draws before a point seen before is accepted: by then the space is as good as used up."""


class RandomSearch:
    """Suggests points at random, the same ones for the same seed and number."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """A point drawn with the seed (study seed, number), not among the observations while others are found."""
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, number]))
        seen = {observation.parameters for observation in observations}
        parameters = self._space.decode(rng.random(self._space.n_dims))
        for _ in range(N_DRAWS):
            if parameters not in seen:
                break
            parameters = self._space.decode(rng.random(self._space.n_dims))
        return parameters
