"""Search of a model's song rows by inner product while it serves: exact, or through an inverted file (IVF).

Notation: n songs, n_lists cells of the inverted file, n_probed of them searched for each query. Recall@10: the share of
the 10 nearest songs by exact search, the query's own song left out, that the inverted file finds too.

IVF is built with n_lists = 4 sqrt(n), and n_probed is doubled until the recall measured reaches MIN_RECALL.
"""

import math
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from app.adapters.exact_search import ExactNeighbourSearch
from app.domain.embedding import Matrix, Rows
from app.domain.errors import DamagedArtifact

MIN_RECALL = 0.95
RECALL_K = 10
N_SAMPLED = 1_000
"""Queries on which the recall is measured."""

POINTS_PER_LIST = 64
"""Songs that k-means looks at for each cell."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class FaissVectorIndex:
    """The port `VectorIndex`. Many threads may search at once, each on one core."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    def search(self, queries: Matrix, k: int) -> Found:
        """Rows and scores of the k best of each query, equal scores by row, both `(n_queries, k)`.

        -1 with score -inf pads. Raises: ValueError when a query is not finite.
        """
        faiss.omp_set_num_threads(1)  # of this thread: a request must not wait for cores that others use
        return _searched(self._index, queries, k=k)


@dataclass(frozen=True, slots=True)
class InvertedFile:
    """An inverted file and how well it finds."""

    index: faiss.IndexIVFFlat
    recall: float

    @property
    def n_lists(self) -> int:
        """Cells."""
        return int(self.index.nlist)

    @property
    def n_probed(self) -> int:
        """Cells searched for each query."""
        return int(self.index.nprobe)

    def search(self, queries: Matrix, k: int) -> Found:
        """As `FaissVectorIndex`, on as many cores as the calling thread has set."""
        return _searched(self.index, queries, k=k)


def flat_index(vectors: Matrix) -> FaissVectorIndex:
    """Exact search of a copy of `vectors` `(n, dim)`."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return FaissVectorIndex(index)


def inverted_file(vectors: Matrix, queries: Matrix, *, threads: int) -> InvertedFile:
    """An inverted file of `vectors` `(n, dim)`, tuned on a sample of `queries`, whose row i is that of song i."""
    faiss.omp_set_num_threads(threads)
    n_songs, dim = vectors.shape
    n_lists = max(1, min(round(4 * math.sqrt(n_songs)), n_songs))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # less than that is no reason to warn: the recall tells
    index.cp.max_points_per_centroid = POINTS_PER_LIST
    index.train(vectors)
    index.add(vectors)
    sample = np.sort(np.random.default_rng(0).choice(n_songs, size=min(N_SAMPLED, n_songs), replace=False))
    exact, _ = ExactNeighbourSearch(threads=threads).search(Rows(vectors), Rows(queries).at(sample), RECALL_K + 1)
    expected = without_itself(exact, sample)
    index.nprobe = 1
    while True:
        found, _ = _searched(index, queries[sample], k=RECALL_K + 1)
        recall = _recall(expected, without_itself(found, sample))
        if recall >= MIN_RECALL or index.nprobe == n_lists:
            return InvertedFile(index, recall)
        index.nprobe = min(2 * index.nprobe, n_lists)


def without_itself(found: NDArray[np.signedinteger], itself: NDArray[np.int64]) -> NDArray[np.signedinteger]:
    """Each row of `found` `(n, k + 1)` without the song `itself` `(n,)`, or without its last: `(n, k)`."""
    return np.take_along_axis(found, others(found, itself), axis=1)


def others(found: NDArray[np.signedinteger], itself: NDArray[np.int64]) -> NDArray[np.int64]:
    """The columns of `found` `(n, k + 1)` that `without_itself` keeps, in order."""
    return np.argsort(found == itself[:, np.newaxis], axis=1, kind="stable")[:, :-1]


def index_bytes(inverted: InvertedFile) -> NDArray[np.uint8]:
    """The inverted file as Faiss writes it."""
    return faiss.serialize_index(inverted.index)


def index_from_bytes(content: NDArray[np.uint8], *, n_songs: int, dim: int) -> FaissVectorIndex:
    """What `index_bytes` gave. The content's checksum must have been verified: Faiss reads damaged bytes silently.

    Raises: DamagedArtifact when it is no inverted file of that many songs.
    """
    try:
        index = faiss.deserialize_index(content)
    except RuntimeError as error:
        raise DamagedArtifact("The stored index cannot be read.") from error
    if not isinstance(index, faiss.IndexIVFFlat) or (index.ntotal, index.d) != (n_songs, dim):
        raise DamagedArtifact(f"The stored index is not one of {n_songs} songs in {dim} dimensions.")
    return FaissVectorIndex(index)


def _searched(index: faiss.Index, queries: Matrix, *, k: int) -> Found:
    if not np.isfinite(queries).all():
        msg = "Queries must be finite to be searched with."
        raise ValueError(msg)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    n_found = min(k, index.ntotal)
    found_scores, found = index.search(np.ascontiguousarray(queries, dtype=np.float32), n_found)
    found_scores[found < 0] = -np.inf
    order = np.lexsort((found, -found_scores), axis=-1)
    rows[:, :n_found] = np.take_along_axis(found, order, axis=1)
    scores[:, :n_found] = np.take_along_axis(found_scores, order, axis=1)
    return rows, scores


def _recall(expected: NDArray[np.signedinteger], found: NDArray[np.signedinteger]) -> float:
    is_expected = expected >= 0
    is_found = (expected[:, :, np.newaxis] == found[:, np.newaxis, :]).any(axis=2)
    n_expected = int(is_expected.sum())
    return 1.0 if n_expected == 0 else float((is_found & is_expected).sum() / n_expected)
