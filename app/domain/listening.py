"""Listening: plays cut into sessions, sessions into training songs and held-out pairs.

Notation: a corpus has n_songs songs, named by their row in the vocabulary (most played first, ties by song id), and
n_sessions sessions laid end to end in `plays`; session i is `plays[offsets[i]:offsets[i + 1]]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import InvalidRequest

MAX_ID_LENGTH = 256
"""Characters a song, user, session or event id may have."""

MIXED = "mixed"
"""The segment of a session in which no segment has more than half of the songs."""

UNKNOWN = "unknown"
"""The segment of a song whose segment column is empty."""


class Repeats(StrEnum):
    """What becomes of a pair whose query is its target: such a pair cannot be answered."""

    DROP = "drop"
    HIT = "hit"
    MISS = "miss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How raw plays become sessions. Lengths count songs; `sample_fraction` is in (0, 1]."""

    session_gap_minutes: int = 30
    min_length: int = 3
    max_length: int | None = None
    min_song_plays: int = 1
    sample_fraction: float = 1.0
    sample_by: Literal["session", "user"] = "session"
    seed: int = 0

    def __post_init__(self) -> None:
        _within("session_gap_minutes", self.session_gap_minutes, 1, 10_080)
        _within("min_length", self.min_length, 3, 1_000)
        if self.max_length is not None:
            _within("max_length", self.max_length, self.min_length, 1_000_000)
        _within("min_song_plays", self.min_song_plays, 1, 1_000_000)
        if not 0 < self.sample_fraction <= 1:
            raise InvalidRequest(
                f"sample_fraction must be above 0 and at most 1, not {self.sample_fraction}.",
                pointer="/preparation/sample_fraction",
            )
        _within("seed", self.seed, 0, 2**31 - 1)


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be between {low} and {high}, not {value}.", pointer=f"/preparation/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How pairs are held out. `test_fraction` of them, the later ones where times are known, are the test set."""

    query_in_training: bool = False
    repeats: Repeats = Repeats.DROP
    test_fraction: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise InvalidRequest(
                f"test_fraction must be above 0 and below 1, not {self.test_fraction}.",
                pointer="/split/test_fraction",
            )

    @property
    def n_held_out(self) -> int:
        """Songs at a session's end that training does not see: the target, and the query unless it is trained on."""
        return 1 if self.query_in_training else 2


@dataclass(frozen=True, slots=True)
class Pairs:
    """Held-out (query, target) pairs: three int32 arrays of shape `(n_pairs,)`; segments index `Corpus.segments`."""

    query: NDArray[np.int32]
    target: NDArray[np.int32]
    segment: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query)

    def of_segment(self, segment: int) -> "Pairs":
        """Those of one segment, in their order: new arrays."""
        chosen = np.flatnonzero(self.segment == segment)
        return Pairs(self.query[chosen], self.target[chosen], self.segment[chosen])

    def spread(self, n: int) -> "Pairs":
        """Up to `n` of them, evenly spaced over the whole; the same ones each time."""
        if len(self) <= n:
            return self
        chosen = np.arange(n) * len(self) // n
        return Pairs(self.query[chosen], self.target[chosen], self.segment[chosen])


PLAYS_AT_ONCE = 1 << 22
"""Plays that are looked at together where only some sessions count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A compiled dataset, usually memory-mapped and never written to.

    `plays` int32 `(n_plays,)` vocabulary rows; `offsets` int64 `(n_sessions + 1,)`; `segments` the segment names;
    `session_segments` int32 `(n_sessions,)` index them; `artists` int32 `(n_songs,)` numbers the songs' artists, -1 for
    none, None when no song has one. With a `scope` (a segment's number) training sees the sessions of that segment
    alone; the arrays stay as they are.
    """

    n_songs: int
    plays: NDArray[np.int32]
    offsets: NDArray[np.int64]
    segments: tuple[str, ...]
    validation: Pairs
    test: Pairs
    split: Split
    session_segments: NDArray[np.int32] | None = None
    artists: NDArray[np.int32] | None = None
    scope: int | None = None

    def scoped(self, segment: str) -> "Corpus":
        """The same corpus, of which training and pairs see one segment's sessions alone.

        Raises: ValueError when no segment has that name.
        """
        if self.session_segments is None or segment not in self.segments:
            msg = f"The corpus has no segment {segment!r}."
            raise ValueError(msg)
        number = self.segments.index(segment)
        validation, test = self.validation.of_segment(number), self.test.of_segment(number)
        return replace(self, scope=number, validation=validation, test=test)

    @property
    def n_sessions(self) -> int:
        """Sessions, each at least `min_length` songs long."""
        return len(self.offsets) - 1

    def training_ends(self, *, held_out: bool = True) -> NDArray[np.int64]:
        """Where, in `plays`, training stops reading each session, int64 `(n_sessions,)`: a new array.

        What is hidden is left out when `held_out`; a session outside the scope ends where it starts.
        """
        ends: NDArray[np.int64] = np.asarray(self.offsets[1:]) - (self.split.n_held_out if held_out else 0)
        if self.scope is not None:
            np.copyto(ends, self.offsets[:-1], where=self.session_segments != self.scope)
        return ends

    def training_sessions(self, *, held_out: bool = True) -> Iterator[NDArray[np.int32]]:
        """The sessions as training sees them, in order; whole when `held_out` is false (a fit on everything)."""
        ends = self.training_ends(held_out=held_out)
        for start, end in zip(self.offsets[:-1].tolist(), ends.tolist(), strict=True):
            if self.scope is None or end > start:
                yield self.plays[start:end]

    def training_counts(self, *, held_out: bool = True) -> NDArray[np.int64]:
        """How often training sees each song, int64 `(n_songs,)`."""
        if self.scope is not None:
            return self._scoped_counts(held_out=held_out)
        counts = np.bincount(self.plays, minlength=self.n_songs)
        if held_out:
            for back in range(1, self.split.n_held_out + 1):
                counts -= np.bincount(self.plays[self.offsets[1:] - back], minlength=self.n_songs)
        return counts.astype(np.int64)

    def _scoped_counts(self, *, held_out: bool) -> NDArray[np.int64]:
        """By the same rule over some of the sessions, a piece of plays at a time."""
        counts = np.zeros(self.n_songs, dtype=np.int64)
        starts, ends = np.asarray(self.offsets[:-1]), self.training_ends(held_out=held_out)
        starts, ends = starts[ends > starts], ends[ends > starts]
        for begin in range(0, len(self.plays), PLAYS_AT_ONCE):
            piece = self.plays[begin : begin + PLAYS_AT_ONCE]
            first, stop = np.searchsorted(ends, begin, side="right"), np.searchsorted(starts, begin + len(piece))
            edges = np.zeros(len(piece) + 1, dtype=np.int8)
            edges[np.maximum(starts[first:stop] - begin, 0)] += 1
            edges[np.minimum(ends[first:stop] - begin, len(piece))] -= 1
            counts += np.bincount(piece[np.cumsum(edges[:-1]) > 0], minlength=self.n_songs)
        return counts
