"""Search without an index: every score, sorted. The fake of the port `NeighbourSearch`."""

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix


class FullRanking:
    """Counts what it was asked in `n_queries` and `n_songs`, the last call's."""

    def __init__(self) -> None:
        self.n_queries = 0
        self.n_songs = 0

    def search(self, songs: Matrix, queries: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if not (np.isfinite(songs).all() and np.isfinite(queries).all()):
            msg = "Vectors must be finite to be searched."
            raise ValueError(msg)
        self.n_queries, self.n_songs = len(queries), len(songs)
        all_scores = queries.astype(np.float64) @ songs.astype(np.float64).T
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        n_found = min(k, len(songs))
        rows[:, :n_found] = np.argsort(-all_scores, axis=1, kind="stable")[:, :n_found]
        scores[:, :n_found] = np.take_along_axis(all_scores, rows[:, :n_found], axis=1)
        return rows, scores
