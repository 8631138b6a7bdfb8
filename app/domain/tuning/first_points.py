"""Points that a study begins with, before its suggester is asked."""

from collections.abc import Sequence

from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.suggester import Observation


class FirstPointsSuggester:
    """The port `Suggester`: the given points are the trials 0, 1, ..., unless they were tried; then any suggester's."""

    def __init__(self, suggester: Suggester, points: Sequence[TrainingParameters]) -> None:
        self._suggester = suggester
        self._points = tuple(points)

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """The point for trial `number`."""
        seen = {observation.parameters for observation in observations}
        if number < len(self._points) and self._points[number] not in seen:
            return self._points[number]
        return self._suggester.suggest(observations, number=number)

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float | None:
        """What the suggester expects once the given points are tried; None before."""
        if number < len(self._points):
            return None
        return self._suggester.expected_improvement(observations, suggested, number=number)
