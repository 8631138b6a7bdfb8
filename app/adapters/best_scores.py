"""Keeping the best songs of each query while blocks of scores pass by, compiled by Numba.

Notation: one block holds `scores` float32 `(n_queries or more, n_chunks, CHUNK)` of `queries` `(n_queries, dim)` and
`songs` `(n_songs, dim)`, whose first is row `first` of all songs; what follows the last song is not looked at. `rows`
int32 and `best` float64, both `(n_queries, k)`, are the lists so far, best first, padded with -1 and -inf.

A score of the block was rounded as its place in the matrix product had it, so that equal songs may differ. It only
tells which songs to look at: those within `reach` of the last song listed, whose inner products are then summed anew
in double precision, always in the same order. Songs come by ascending row, so an equal score never displaces one.
"""

import numpy as np
from numba import float32, float64, int32, int64, void
from numpy.typing import NDArray

from app.adapters.compiled import compiled
from app.domain.embedding import Matrix

CHUNK = 64
"""Scores that are compared at once: known to the compiler, the comparison takes 2 % of the product's time."""


@compiled(fastmath={"reassoc", "contract"})
def inner_product(query: NDArray[np.float32], song: NDArray[np.float32]) -> float:
    """Summed in double precision, where the products of two float32 are exact."""
    total = 0.0
    for i in range(len(query)):
        total += np.float64(query[i]) * np.float64(song[i])
    return total


@compiled()
def _insert(rows: NDArray[np.int32], best: NDArray[np.float64], row: int, score: float) -> None:
    """Below the songs that score as much; the last is dropped."""
    place = len(rows) - 1
    while place > 0 and best[place - 1] < score:
        rows[place] = rows[place - 1]
        best[place] = best[place - 1]
        place -= 1
    rows[place] = row
    best[place] = score


@compiled(
    void(float32[:, :, ::1], float32[:, ::1], float32[:, ::1], int64, float64[::1], int32[:, ::1], float64[:, ::1])
)  # named, so that it is compiled when it is imported: once for a worker, before it forks its children
def keep_best(  # noqa: PLR0917 # Numba's functions take no keywords alone
    scores: NDArray[np.float32],
    queries: Matrix,
    songs: Matrix,
    first: int,
    reach: NDArray[np.float64],
    rows: NDArray[np.int32],
    best: NDArray[np.float64],
) -> None:
    """Put the block's songs into the lists they belong to; `reach` `(n_queries,)` is how far off a score may be."""
    last = rows.shape[1] - 1
    n_chunks = (len(songs) + CHUNK - 1) // CHUNK
    for query in range(len(queries)):
        limit = np.float32(best[query, last] - reach[query])
        for chunk in range(n_chunks):
            is_any_above = np.int32(0)
            for offset in range(CHUNK):
                is_any_above = np.int32(is_any_above | np.int32(scores[query, chunk, offset] > limit))
            if is_any_above:
                for offset in range(min(CHUNK, len(songs) - chunk * CHUNK)):
                    if scores[query, chunk, offset] > limit:
                        song = chunk * CHUNK + offset
                        score = inner_product(queries[query], songs[song])
                        if score > best[query, last]:
                            _insert(rows[query], best[query], first + song, score)
                            limit = np.float32(best[query, last] - reach[query])
