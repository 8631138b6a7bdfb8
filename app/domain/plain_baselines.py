"""Plain baselines: recommendations by counting, which a tuned model has to stand beside.

Notation: a and b are songs, counted over the training part of every session (what is held out is never counted).

    most popular    how often b is played                          the same list for every query a, but for a itself
    next song       how often b comes right after a
    co-occurrence   how often b is within `window` plays of a in a session, before or after, each meeting counted

The query is left out of its own list; equal counts: the lower vocabulary row first; songs never met are not listed.
Queries are counted in blocks, and plays in pieces, so that neither an `(n_songs, n_songs)` nor an
`(n_plays, 2 window)` array is ever built.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.domain.evaluating import Lists, without_query
from app.domain.listening import Corpus

MEETINGS_PER_BLOCK = 1 << 23
"""Meetings (a, b) that may be held at once: 64 MiB of int64 keys."""

PLAYS_PER_PIECE = 1 << 18
"""Plays that are looked at together."""


def most_popular(corpus: Corpus, queries: NDArray[np.int64], *, k: int) -> Lists:
    """The k songs that training sees most, for each query."""
    counts = corpus.training_counts()
    by_plays = np.argsort(-counts, kind="stable")
    top = by_plays[counts[by_plays] > 0][: k + 1]
    padded = np.full(k + 1, -1, dtype=np.int64)
    padded[: len(top)] = top
    return without_query(np.tile(padded, (len(queries), 1)), queries)


def next_song_counts(corpus: Corpus, queries: NDArray[np.int64], *, k: int) -> Lists:
    """The k songs that most often come right after each query."""
    return _most_met(corpus, queries, shifts=(1,), k=k)


def co_occurrence(corpus: Corpus, queries: NDArray[np.int64], *, k: int, window: int = 5) -> Lists:
    """The k songs most often played within `window` plays of each query."""
    shifts = tuple(shift for shift in range(-window, window + 1) if shift != 0)
    return _most_met(corpus, queries, shifts=shifts, k=k)


def _most_met(corpus: Corpus, queries: NDArray[np.int64], *, shifts: tuple[int, ...], k: int) -> Lists:
    """The k songs most often found at one of the `shifts` from each query."""
    lists = np.full((len(queries), k), -1, dtype=np.int64)
    n_meetings = corpus.training_counts()[queries] * len(shifts)
    for block in _blocks(n_meetings):
        keys, counts = _count_meetings(corpus, queries[block], shifts=shifts)
        lists[block] = _top(keys, counts, shape=(block.stop - block.start, k), n_songs=corpus.n_songs)
    return lists


def _blocks(n_meetings: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of queries, in order, with at most MEETINGS_PER_BLOCK meetings each; a single query may have more."""
    before = np.concatenate(([0], np.cumsum(n_meetings)))
    start = 0
    while start < len(n_meetings):
        stop = int(np.searchsorted(before, before[start] + MEETINGS_PER_BLOCK, side="right")) - 1
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


def _count_meetings(
    corpus: Corpus, queries: NDArray[np.int64], *, shifts: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys `i * n_songs + b` of the songs b that query i meets, ascending, and how often."""
    block_row = np.full(corpus.n_songs, -1, dtype=np.int64)
    block_row[queries] = np.arange(len(queries))
    keys, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    parts = [(keys, counts)]
    n_waiting = 0
    for met in _meetings(corpus, block_row, shifts=shifts):
        part = np.unique(met, return_counts=True)
        parts.append(part)
        n_waiting += len(part[0])
        if n_waiting > MEETINGS_PER_BLOCK:
            parts = [_merged(parts)]
            n_waiting = 0
    return _merged(parts)


def _merged(parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One count a key, keys ascending."""
    keys, part_of_key = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    counts = np.zeros(len(keys), dtype=np.int64)
    np.add.at(counts, part_of_key, np.concatenate([counts for _, counts in parts]))
    return keys, counts


def _meetings(corpus: Corpus, block_row: NDArray[np.int64], *, shifts: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    """Keys of all meetings, one array for every piece of plays."""
    plays, starts = corpus.plays, corpus.offsets[:-1]
    ends = corpus.training_ends()
    for begin in range(0, len(plays), PLAYS_PER_PIECE):
        piece = plays[begin : begin + PLAYS_PER_PIECE]
        at = begin + np.flatnonzero(block_row[piece] >= 0)
        session = np.searchsorted(corpus.offsets, at, side="right") - 1
        is_trained_on = at < ends[session]
        at, session = at[is_trained_on], session[is_trained_on]
        rows, songs = [], []
        for shift in shifts:
            met_at = at + shift
            is_inside = (met_at >= starts[session]) & (met_at < ends[session])
            rows.append(block_row[plays[at[is_inside]]])
            songs.append(plays[met_at[is_inside]].astype(np.int64))
        row, song = np.concatenate(rows), np.concatenate(songs)
        is_other = block_row[song] != row
        yield row[is_other] * corpus.n_songs + song[is_other]


def _top(keys: NDArray[np.int64], counts: NDArray[np.int64], *, shape: tuple[int, int], n_songs: int) -> Lists:
    """The most met songs of each query of a block, by count, then by vocabulary row."""
    lists = np.full(shape, -1, dtype=np.int64)
    row, song = np.divmod(keys, n_songs)
    order = np.lexsort((song, -counts, row))
    row, song = row[order], song[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    is_listed = rank < shape[1]
    lists[row[is_listed], rank[is_listed]] = song[is_listed]
    return lists
