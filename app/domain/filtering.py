"""Filtering: which songs an answer may hold, and the best of those.

A filter is written `column=value`, parted at the first '='. Several values of one column let a song pass that has any
of them; several columns, one that has one of each. A value stands for what the songs table holds as text: numbers as
they are written (`1999`, `0.5`), `true`, `false`. A song without a value never passes.

Notation: n songs, named by their row; a mask says of each whether it passes, bool `(n,)`; `artists` int32 `(n,)`
numbers their artists, -1 where none is known: such songs are each counted by themselves.

What is found is complete: there are k songs as long as so many pass. While few pass, all of those are compared; else
the index gives the best of all, more of them each time, until enough pass.

One query among 50,000 songs in 100 dimensions on one core, k = 10 (`python -m tests.benchmarks.filtering`):
0.12 ms where one song in 1,000 passes, 0.23 ms one in 100, 1.2 ms one in 10, 3.7 ms three in 10, 0.37 ms half, 0.23 ms
nine in 10; recall of the ten 1.000 at each. The first look at a column takes up to 60 ms more, to number its values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.errors import InvalidRequest

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

Value = str | int | float | bool | None

MAX_COLUMNS = 8
MAX_VALUES = 64
"""Of all columns together."""

MAX_COLUMN_LENGTH = 100
MAX_VALUE_LENGTH = 256
MAX_EXCLUDED = 1_000
MAX_PER_ARTIST = 100

MOST_NAMED = 50
"""Columns that a refusal names at most."""

COMPARED = 20_000
"""Passing songs up to which all are compared, without the index: about 4 ms at 100 dimensions."""

MOST_ASKED = 2_048
"""Songs that the index is asked for at most, before all that pass are compared."""

GROWTH = 4
BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SongFilter:
    """Which songs may be answered with: those that `where` lets pass, but for those excluded, so many of an artist."""

    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exclude: tuple[str, ...] = ()
    max_per_artist: int | None = None

    def __post_init__(self) -> None:
        if len(self.where) > MAX_COLUMNS:
            raise InvalidRequest(
                f"A filter names at most {MAX_COLUMNS} columns, not {len(self.where)}.", pointer="filter"
            )
        n_values = sum(len(values) for _, values in self.where)
        if n_values > MAX_VALUES:
            raise InvalidRequest(f"A filter has at most {MAX_VALUES} values, not {n_values}.", pointer="filter")
        for column, values in self.where:
            if not values:
                raise InvalidRequest(f"The filter on {column!r} names no value.", pointer="filter")
            if not 1 <= len(column) <= MAX_COLUMN_LENGTH or any(len(value) > MAX_VALUE_LENGTH for value in values):
                raise InvalidRequest(
                    f"A column's name has between 1 and {MAX_COLUMN_LENGTH} characters, a value at most "
                    f"{MAX_VALUE_LENGTH}.",
                    pointer="filter",
                )
        if len(self.exclude) > MAX_EXCLUDED:
            raise InvalidRequest(
                f"exclude has at most {MAX_EXCLUDED} songs, not {len(self.exclude)}.", pointer="exclude"
            )
        if self.max_per_artist is not None and not 1 <= self.max_per_artist <= MAX_PER_ARTIST:
            raise InvalidRequest(
                f"max_per_artist must be between 1 and {MAX_PER_ARTIST}, not {self.max_per_artist}.",
                pointer="max_per_artist",
            )

    @classmethod
    def parsed(
        cls, written: Sequence[str], *, exclude: Sequence[str] = (), max_per_artist: int | None = None
    ) -> "SongFilter":
        """The filter that `column=value` texts make. Raises: InvalidRequest.

        >>> SongFilter.parsed(["genre=rock", "language=ar", "genre=a=b"]).where
        (('genre', ('a=b', 'rock')), ('language', ('ar',)))
        """
        values_of: dict[str, list[str]] = {}
        for text in written:
            column, equals, value = text.partition("=")
            if not equals or not column:
                raise InvalidRequest("A filter is written column=value.", pointer="filter")
            values_of.setdefault(column, []).append(value)
        return cls.of(values_of, exclude=exclude, max_per_artist=max_per_artist)

    @classmethod
    def of(
        cls,
        values_of: Mapping[str, Sequence[str]],
        *,
        exclude: Sequence[str] = (),
        max_per_artist: int | None = None,
    ) -> "SongFilter":
        """The filter that lets pass what has one of the values in each column. Raises: InvalidRequest."""
        return cls(
            where=tuple((column, tuple(sorted(set(values)))) for column, values in sorted(values_of.items())),
            exclude=tuple(dict.fromkeys(exclude)),
            max_per_artist=max_per_artist,
        )

    @property
    def lets_all_pass(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.where and not self.exclude and self.max_per_artist is None

    def passes(self, values: Mapping[str, Value]) -> bool:
        """Whether a song with these values in its columns passes `where`."""
        return all(text_of(values.get(column)) in wanted for column, wanted in self.where)

    def demand_columns(self, columns: Sequence[str]) -> None:
        """Refuse a column that there is not, naming those that there are. Raises: InvalidRequest."""
        for column, _ in self.where:
            if column not in columns:
                named = ", ".join(columns[:MOST_NAMED])
                raise InvalidRequest(f"The songs have no column {column!r}; they have: {named}.", pointer="filter")


def text_of(value: Value) -> str | None:
    """How a filter writes a value; None for none.

    >>> [text_of(value) for value in ("ar", 1999, 2.0, 0.1, True, None)]
    ['ar', '1999', '2', '0.1', 'true', None]
    """
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"
        case int():
            return str(value)
        case _:
            return value


class Searched(Protocol):
    """What a filtered search looks at."""

    @property
    def n_songs(self) -> int:
        """How many songs there are."""
        ...

    @property
    def artists(self) -> NDArray[np.int32]:
        """The numbers of the songs' artists, int32 `(n,)`, -1 for none; not to be changed."""
        ...

    def song_rows(self, rows: Rows) -> Matrix:
        """The rows that are searched, float32 `(n_rows, dim)`."""
        ...

    def search(self, vector: Matrix, k: int) -> tuple[Rows, Scores]:
        """The k songs nearest to a vector, best first; -1 pads."""
        ...


def best_passing(
    songs: Searched,
    vector: Matrix,
    *,
    k: int,
    passing: Mask | None,
    excluded: Rows,
    max_per_artist: int | None,
    compared: int = COMPARED,
) -> tuple[Rows, Scores]:
    """The k best songs that pass and are not excluded, best first, and their scores; fewer only where there are fewer.

    `passing` None lets all pass. Up to `compared` songs that pass are all looked at.
    """
    n_passing = songs.n_songs if passing is None else int(np.count_nonzero(passing))
    if n_passing == 0:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty.astype(np.float32)

    def chosen(rows: Rows, scores: Scores) -> tuple[Rows, Scores]:
        is_chosen = (rows >= 0) & ~np.isin(rows, excluded, kind="table")
        if passing is not None:
            is_chosen &= passing[rows]
        rows, scores = rows[is_chosen], scores[is_chosen]
        if max_per_artist is not None:
            is_kept = first_of_each(songs.artists[rows], max_per_artist)
            rows, scores = rows[is_kept], scores[is_kept]
        return rows[:k], scores[:k]

    if n_passing > compared or n_passing == songs.n_songs:
        n_asked = -(-(k if max_per_artist is None else GROWTH * k) * songs.n_songs // n_passing) + len(excluded)
        while n_asked <= MOST_ASKED:
            rows, scores = chosen(*songs.search(vector, min(n_asked, songs.n_songs)))
            if len(rows) == k:
                return rows, scores
            if n_asked >= songs.n_songs:
                break
            n_asked *= GROWTH
    candidates = np.arange(songs.n_songs) if passing is None else np.flatnonzero(passing)
    scores = _compared(songs, vector, candidates)
    if max_per_artist is None:
        n_kept = min(k + len(excluded), len(candidates))
        least = np.partition(scores, len(scores) - n_kept)[len(scores) - n_kept]
        candidates, scores = candidates[scores >= least], scores[scores >= least]
    order = np.lexsort((candidates, -scores))
    return chosen(candidates[order], scores[order])


def first_passing(
    n_songs: int,
    *,
    k: int,
    passing: Mask | None,
    excluded: Rows,
    artists: NDArray[np.int32],
    max_per_artist: int | None,
) -> Rows:
    """The first k rows, which are the most played, that pass and are not excluded; so many of an artist."""
    is_candidate = np.ones(n_songs, dtype=np.bool_) if passing is None else passing.copy()
    is_candidate[excluded] = False
    rows = np.flatnonzero(is_candidate)
    return rows[:k] if max_per_artist is None else rows[first_of_each(artists[rows], max_per_artist)][:k]


def first_of_each(kinds: NDArray[np.int32], most: int) -> Mask:
    """Which are among the first `most` of their kind; of kind -1 all are.

    >>> first_of_each(np.array([3, 3, -1, 3, 5, -1], dtype=np.int32), 2).tolist()
    [True, True, True, False, True, True]
    """
    order = np.argsort(kinds, kind="stable")
    sorted_kinds = kinds[order]
    place = np.arange(len(kinds)) - np.searchsorted(sorted_kinds, sorted_kinds, side="left")
    is_first = np.empty(len(kinds), dtype=np.bool_)
    is_first[order] = (place < most) | (sorted_kinds < 0)
    return is_first


def masked(wanted: SongFilter, carriers: Callable[[str, tuple[str, ...]], Mask]) -> Mask | None:
    """The mask of the songs that pass `where`; None when all do. `carriers` gives it for one column."""
    mask: Mask | None = None
    for column, values in wanted.where:
        of_column = carriers(column, values)
        mask = of_column if mask is None else mask & of_column
    return mask


def _compared(songs: Searched, vector: Matrix, rows: Rows) -> Scores:
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        scores[part] = songs.song_rows(rows[part]) @ vector
    return scores
