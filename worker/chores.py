"""Chores: what whichever worker looks next does for all, beside the work that is claimed."""

from collections.abc import Callable


class Chore:
    """Reaped like a queue, for it takes its turns as those do."""

    def __init__(self, do: Callable[[], int]) -> None:
        self._do = do

    def reap(self) -> int:
        """Do it. Nothing is taken back from anybody: always 0."""
        self._do()
        return 0
