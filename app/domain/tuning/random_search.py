"""Random search: every trial's point is drawn uniformly from the unit cube, by a seed of its own."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from app.domain.training import TrainingParameters
from app.domain.tuning.search_space import SearchSpace
from app.domain.tuning.suggester import Observation

N_DRAWS = 100
"""Draws that may be points seen before; by then most of the space has been."""


class RandomSearch:
    """Suggests points at random, the same ones for the same seed, number and points seen."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """A point drawn with the seed (study seed, number), none of those observed while the space has others."""
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, number]))
        seen = {observation.parameters for observation in observations}
        for _ in range(N_DRAWS):
            parameters = self._space.decode(rng.random(self._space.n_dims))
            if parameters not in seen:
                return parameters
        return self._left_over(seen, rng) or parameters

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> None:
        """None: a random search expects nothing."""

    def _left_over(self, seen: AbstractSet[TrainingParameters], rng: np.random.Generator) -> TrainingParameters | None:
        """The first point not seen, counting from one drawn; None when all have been, or they cannot be counted."""
        n_points = self._space.n_points
        if n_points is None:
            return None
        start = int(rng.integers(n_points))
        for step in range(min(len(seen) + 1, n_points)):
            parameters = self._space.at((start + step) % n_points)
            if parameters not in seen:
                return parameters
        return None
