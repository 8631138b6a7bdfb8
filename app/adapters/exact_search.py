"""Exact search: every song is compared with every query, in blocks that stay in the processor's cache.

Notation: a block is BLOCK queries by BLOCK songs. Its scores come from one matrix product, in single precision, into
the same array each time, and `best_scores` keeps the best k of each query. Song rows are made anew for each group of
queries; nothing of the size of all songs or of all queries is held but the lists.

A score's error is at most dim u |q| |s|, u = 2^-24 (Higham 2002, section 3.1); `reach` allows twice that. What is
listed was summed in double precision.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no annotations

from app.domain.embedding import Matrix, Rows

BLOCK = 768
"""Queries, and songs, of a block: 2.3 MB of scores. A multiple of `best_scores.CHUNK`."""

GROUP = 8 * BLOCK
"""Queries for which song rows are made once."""

Found = tuple[NDArray[np.int32], NDArray[np.float32]]


class ExactNeighbourSearch:
    """The port `NeighbourSearch`. `threads` is how many cores one search may use."""

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads

    def search(self, songs: Rows, queries: Rows, k: int) -> Found:
        """Rows of `songs` nearest to each query, best first, equal scores by row; and their scores.

        Both are `(n_queries, k)`; -1 with score -inf pads. Raises: ValueError when a vector is not finite, or when
        vectors are so long that their inner products may not be.
        """
        n_queries = len(queries)
        rows = np.full((n_queries, k), -1, dtype=np.int32)
        scores = np.full((n_queries, k), -np.inf, dtype=np.float32)
        if len(songs) == 0 or n_queries == 0:
            return rows, scores
        n_group = min(GROUP, -(-n_queries // self._threads))

        def fill(start: int) -> None:
            group = slice(start, start + n_group)
            scores[group] = _fill(rows[group], songs, queries.block(start, start + n_group))

        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(fill, range(0, n_queries, n_group)):
                pass
        return rows, scores


def _fill(rows: NDArray[np.int32], songs: Rows, queries: Matrix) -> NDArray[np.float64]:
    """Write the best songs of each query into `rows` `(n_queries, k)`; gives their scores."""
    from app.adapters.best_scores import CHUNK, keep_best  # noqa: PLC0415 # the server imports this module, but not Numba

    best = np.full(rows.shape, -np.inf)
    scores = np.zeros((BLOCK, BLOCK), dtype=np.float32)
    chunks = scores.reshape(BLOCK, -1, CHUNK)
    lengths = _finite_lengths(queries)
    for first in range(0, len(songs), BLOCK):
        block = songs.block(first, first + BLOCK)
        reach = _reach(lengths, _finite_lengths(block).max(), dim=block.shape[1])
        for start in range(0, len(queries), BLOCK):
            part = slice(start, start + BLOCK)
            asked = queries[part]
            np.matmul(asked, block.T, out=scores[: len(asked), : len(block)])
            keep_best(chunks, asked, block, first, reach[part], rows[part], best[part])
    return best


def _finite_lengths(vectors: Matrix) -> NDArray[np.float64]:
    """Euclidean norms `(n,)`."""
    if not np.isfinite(vectors).all():
        msg = "Vectors must be finite to be searched."
        raise ValueError(msg)
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return lengths


def _reach(lengths: NDArray[np.float64], longest_song: float, *, dim: int) -> NDArray[np.float64]:
    """How far a score of the matrix product may be from the inner product, for each query."""
    largest = lengths * longest_song
    limits = np.finfo(np.float32)
    if largest.max() > limits.max / 2:
        msg = "Vectors are too long for their inner products to be finite."
        raise ValueError(msg)
    reach: NDArray[np.float64] = (dim + 2) * (float(limits.eps) * largest + float(limits.tiny))
    return reach
