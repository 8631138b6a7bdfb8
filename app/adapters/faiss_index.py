"""Exact search with Faiss (`IndexFlatIP`): every song is compared, memory is bounded, equal scores go by row.

Faiss breaks ties as its heaps happen to fall. Here a list that ends inside a run of equal scores is searched again,
wider, until it does not; then equal scores are put in the order of their rows.
"""

import faiss
import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix

CELLS_PER_BATCH = 1 << 20
"""Results (a row and a score, 12 bytes) that are held before they are cut to k."""


class FaissNeighbourSearch:
    """The port `NeighbourSearch`. `threads` is how many cores one search may use."""

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads

    def search(self, songs: Matrix, queries: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of `songs` nearest to each query, best first, equal scores by row; and their scores.

        Both are `(n_queries, k)`; -1 with score -inf pads. Raises: ValueError when a vector is not finite.
        """
        if not (np.isfinite(songs).all() and np.isfinite(queries).all()):
            msg = "Vectors must be finite to be searched."
            raise ValueError(msg)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if len(songs) == 0 or len(queries) == 0:
            return rows, scores
        faiss.omp_set_num_threads(self._threads)
        index = faiss.IndexFlatIP(songs.shape[1])
        index.add(np.ascontiguousarray(songs, dtype=np.float32))
        n_found = min(k, len(songs))
        rows[:, :n_found], scores[:, :n_found] = _ranked(
            index, np.ascontiguousarray(queries, dtype=np.float32), k=n_found, width=min(n_found + 1, len(songs))
        )
        return rows, scores


def _ranked(
    index: faiss.IndexFlatIP, queries: Matrix, *, k: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best k of each query, looking at `width` >= k of them at first."""
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    n_batch = max(1, CELLS_PER_BATCH // width)
    for start in range(0, len(queries), n_batch):
        batch = slice(start, start + n_batch)
        found_scores, found = index.search(queries[batch], width)
        order = np.lexsort((found, -found_scores), axis=-1)[:, :k]
        rows[batch] = np.take_along_axis(found, order, axis=1)
        scores[batch] = np.take_along_axis(found_scores, order, axis=1)
        is_cut_in_tie = (found_scores[:, k - 1] == found_scores[:, -1]) & (width < index.ntotal)
        if is_cut_in_tie.any():
            undecided = start + np.flatnonzero(is_cut_in_tie)
            rows[undecided], scores[undecided] = _ranked(
                index, queries[undecided], k=k, width=min(4 * width, index.ntotal)
            )
    return rows, scores
