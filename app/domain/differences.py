"""Differences: how two models' neighbours differ, over the songs that both know."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSong:
    """A song by its id and names."""

    song_id: str
    title: str | None
    artist: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedSong:
    """A song and the neighbours that only one of the models gives it, nearest first.

    `overlap` is the share of its k neighbours that both give, in [0, 1].
    """

    song: NamedSong
    n_plays: int
    overlap: float
    only_one: list[NamedSong] = field(default_factory=list)
    only_other: list[NamedSong] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourDifference:
    """Mean overlap of k neighbours over the songs that both models know; None when there is no such song.

    `segments` are the number of songs and their mean overlap by the songs' segment.
    """

    k: int
    n_common: int
    n_only_one: int
    n_only_other: int
    overlap: float | None
    segments: dict[str, tuple[int, float]] = field(default_factory=dict)


class Difference(Protocol):
    """Two models compared."""

    @property
    def summary(self) -> NeighbourDifference:
        """Overall and by segment."""
        ...

    def changed(self, *, start: int, limit: int) -> list[ChangedSong]:
        """Songs from place `start` on, those first whose neighbours change most."""
        ...
