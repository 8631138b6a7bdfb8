"""Search without an index: every score, sorted. The fake of the port `NeighbourSearch`."""

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Rows


class FullRanking:
    """Counts what it was asked in `n_queries` and `n_songs`, the last call's."""

    def __init__(self) -> None:
        self.n_queries = 0
        self.n_songs = 0

    def search(self, songs: Rows, queries: Rows, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        song_rows, query_rows = songs.whole(), queries.whole()
        if not (np.isfinite(song_rows).all() and np.isfinite(query_rows).all()):
            msg = "Vectors must be finite to be searched."
            raise ValueError(msg)
        self.n_queries, self.n_songs = len(queries), len(songs)
        # Unlike a matrix product, this sums every inner product in the same order.
        all_scores = np.einsum("qd,sd->qs", query_rows, song_rows, dtype=np.float64)
        rows = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        n_found = min(k, len(songs))
        rows[:, :n_found] = np.argsort(-all_scores, axis=1, kind="stable")[:, :n_found]
        scores[:, :n_found] = np.take_along_axis(all_scores, rows[:, :n_found], axis=1)
        return rows, scores
