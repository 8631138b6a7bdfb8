"""Search of a model's song rows by inner product while it serves: exact, or through an inverted file (IVF).

Notation: n songs in d dimensions, n_lists cells of the inverted file, n_probed of them searched for each query.
Recall@10: the share of the 10 nearest songs by exact search, the query's own song left out, that the index finds too.

    songs                            index                        bytes a song
    up to `flat_up_to`               every song is compared       4 d, a copy in each server
    more, while it fits the memory   IVF, rows as they are        4 d + 8, of one file that all servers map
    else, while that fits            IVF, a byte a dimension      d + 8
    else                             IVF, product quantised       d / 4 + 8

(`planned` says which.) Coded rows only choose RERANKED times as many songs as were asked for: those are compared again
by their vectors, which stay in a mapped file, so a score is always that of the vectors themselves. IVF has n_lists =
4 sqrt(n), and n_probed is doubled until the recall measured on a sample reaches MIN_RECALL, or gains no more.
Source of product quantisation: Jegou, Douze, Schmid 2011, 'Product quantization for nearest neighbor search'.

One query among 50,000 songs in 100 dimensions, on one core: compared with all 1.8 ms, IVF 0.05 to 0.09 ms.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never

import faiss
import numpy as np
from numpy.typing import NDArray

from app.adapters.exact_search import ExactNeighbourSearch
from app.domain.embedding import Matrix, Rows
from app.domain.errors import DamagedArtifact
from app.domain.models import Coding, IndexLimits

MIN_RECALL = 0.98
LEAST_GAIN = 0.002
"""Recall that looking into twice as many cells has to gain: coded rows hide some songs however many are looked into."""

RECALL_K = 10
N_SAMPLED = 1_000
"""Queries on which the recall is measured."""

POINTS_PER_LIST = 64
"""Songs that k-means looks at for each cell."""

RERANKED = 4
"""Songs whose vectors are compared, for each that was asked for, where the index holds coded rows."""

COMPARED_QUERIES = 128
"""Queries whose candidates' vectors are in memory at a time."""

BYTES_OF_ID = 8
DIMENSIONS_PER_CODE = 4
"""Dimensions that one byte of product quantisation stands for."""

N_CODED = 256
"""Different values of a byte of product quantisation: fewer songs do not teach them."""

CODE_ITERATIONS = 10
CODE_POINTS = 65_536
"""Rounds of k-means by which a product quantiser learns, and the songs that it learns from."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class VectorIndex(Protocol):
    """Searches a model's song rows by inner product."""

    def search(self, queries: Matrix, k: int) -> Found:
        """Rows and scores of the k best of each query, both `(n_queries, k)`; -1 pads."""
        ...


class FlatIndex:
    """Every song is compared. Many threads may search at once, each on one core."""

    def __init__(self, vectors: Matrix) -> None:
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def search(self, queries: Matrix, k: int) -> Found:
        """Rows and scores of the k best of each query, equal scores by row, both `(n_queries, k)`.

        -1 with score -inf pads. Raises: ValueError when a query is not finite.
        """
        faiss.omp_set_num_threads(1)  # of this thread: a request must not wait for cores that others use
        return _searched(self._index, queries, k=k)


class InvertedFile:
    """An inverted file beside the vectors that it was made of; see the module header.

    Many threads may search at once, each on one core.
    """

    def __init__(self, index: faiss.IndexIVF, vectors: Matrix, *, coding: Coding) -> None:
        self.index = index
        self.coding = coding
        self._vectors = vectors

    @property
    def n_lists(self) -> int:
        """Cells."""
        return int(self.index.nlist)

    @property
    def n_probed(self) -> int:
        """Cells searched for each query."""
        return int(self.index.nprobe)

    def search(self, queries: Matrix, k: int, *, threads: int = 1, n_probed: int | None = None) -> Found:
        """As `FlatIndex`, on so many cores, in so many cells."""
        faiss.omp_set_num_threads(threads)
        if self.coding is Coding.FLOAT32:
            return _searched(self.index, queries, k=k, n_probed=n_probed)
        n_candidates = min(RERANKED * k, max(k, self.index.ntotal))
        candidates, _ = _searched(self.index, queries, k=n_candidates, n_probed=n_probed)
        return _compared(candidates, queries, self._vectors, k=k)


def planned(n_songs: int, dim: int, *, limits: IndexLimits) -> Coding | None:
    """How an inverted file of so many songs keeps them within the memory; None where all songs are compared.

    >>> planned(25_000_000, 100, limits=IndexLimits(memory_bytes=4 * 2**30))
    <Coding.INT8: 'int8'>
    """
    if n_songs <= limits.flat_up_to:
        return None
    sizes = {Coding.FLOAT32: 4 * dim, Coding.INT8: dim}
    fitting = (coding for coding, size in sizes.items() if n_songs * (size + BYTES_OF_ID) <= limits.memory_bytes)
    return next(fitting, Coding.INT8 if n_songs < N_CODED else Coding.PRODUCT)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltInvertedFile:
    """An inverted file and what was measured of it; `profile_recall` is None where there was no profile to try.

    Profiles lie between songs and ask for more cells: for songs' own queries `n_probed_for_songs` are enough.
    """

    inverted: InvertedFile
    recall: float
    profile_recall: float | None
    n_probed_for_songs: int
    song_recall: float


def built_inverted_file(
    vectors: Matrix, queries: Matrix, *, profiles: Matrix | None = None, threads: int, coding: Coding = Coding.FLOAT32
) -> BuiltInvertedFile:
    """An inverted file of `vectors` `(n, dim)`, tuned on a sample of `queries` `(n, dim)` and on `profiles` `(m, dim)`.

    Query i is song i's own: it is no neighbour of itself.
    """
    faiss.omp_set_num_threads(threads)
    index = _untrained(*vectors.shape, coding=coding)
    index.train(vectors)
    for start in range(0, len(vectors), ADDED_ROWS):
        index.add(vectors[start : start + ADDED_ROWS])
    inverted = InvertedFile(index, vectors, coding=coding)
    sample = np.sort(np.random.default_rng(0).choice(len(queries), size=min(N_SAMPLED, len(queries)), replace=False))
    asked = queries[sample] if profiles is None else np.concatenate([queries[sample], profiles])
    itself = np.full(len(asked), NOBODY)
    itself[: len(sample)] = sample
    exact, _ = ExactNeighbourSearch(threads=threads).search(Rows(vectors), Rows(asked), RECALL_K + 1)
    expected = without_itself(exact, itself)
    index.nprobe = 1
    reached = -1.0
    for_songs: tuple[int, float] | None = None
    while True:
        rows, _ = inverted.search(asked, RECALL_K + 1, threads=threads)
        found = without_itself(rows, itself)
        recall = _recall(expected[: len(sample)], found[: len(sample)])
        of_profiles = None if len(asked) == len(sample) else _recall(expected[len(sample) :], found[len(sample) :])
        if for_songs is None and recall >= MIN_RECALL:
            for_songs = inverted.n_probed, recall
        least = min(recall, 1.0 if of_profiles is None else of_profiles)
        is_enough = least >= MIN_RECALL or (coding is not Coding.FLOAT32 and least - reached < LEAST_GAIN)
        reached = least
        if is_enough or inverted.n_probed == inverted.n_lists:
            n_probed, song_recall = for_songs or (inverted.n_probed, recall)
            return BuiltInvertedFile(
                inverted=inverted,
                recall=recall,
                profile_recall=of_profiles,
                n_probed_for_songs=n_probed,
                song_recall=song_recall,
            )
        index.nprobe = min(2 * inverted.n_probed, inverted.n_lists)


NOBODY = -2
"""The song whose query a profile is: none."""

ADDED_ROWS = 262_144
"""Songs that are given to an index at a time."""


def _untrained(n_songs: int, dim: int, *, coding: Coding) -> faiss.IndexIVF:
    n_lists = max(1, min(round(4 * math.sqrt(n_songs)), n_songs))
    cells = faiss.IndexFlatIP(dim)
    index: faiss.IndexIVF
    match coding:
        case Coding.FLOAT32:
            index = faiss.IndexIVFFlat(cells, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
        case Coding.INT8:
            index = faiss.IndexIVFScalarQuantizer(
                cells, dim, n_lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
            )
        case Coding.PRODUCT:
            product = faiss.IndexIVFPQ(cells, dim, n_lists, _n_codes(dim), 8, faiss.METRIC_INNER_PRODUCT)
            product.pq.cp.niter = CODE_ITERATIONS
            product.pq.cp.min_points_per_centroid = 1
            product.pq.cp.max_points_per_centroid = CODE_POINTS // N_CODED
            index = product
        case _ as never:
            assert_never(never)
    index.cp.min_points_per_centroid = 1  # less than that is no reason to warn: the recall tells
    index.cp.max_points_per_centroid = POINTS_PER_LIST
    return index


def _n_codes(dim: int) -> int:
    """The bytes of a product-quantised row: the most that divide the dimensions, a quarter of them at most."""
    wanted = max(1, dim // DIMENSIONS_PER_CODE)
    return next(n for n in range(wanted, 0, -1) if dim % n == 0)


def without_itself(found: NDArray[np.signedinteger], itself: NDArray[np.int64]) -> NDArray[np.signedinteger]:
    """Each row of `found` `(n, k + 1)` without the song `itself` `(n,)`, or without its last: `(n, k)`."""
    return np.take_along_axis(found, others(found, itself), axis=1)


def others(found: NDArray[np.signedinteger], itself: NDArray[np.int64]) -> NDArray[np.int64]:
    """The columns of `found` `(n, k + 1)` that `without_itself` keeps, in order."""
    return np.argsort(found == itself[:, np.newaxis], axis=1, kind="stable")[:, :-1]


def write_index(inverted: InvertedFile, path: Path) -> None:
    """Write the inverted file as Faiss does. Raises: OSError."""
    content = faiss.serialize_index(inverted.index)
    with path.open("wb") as file:
        file.write(content.data)


def open_inverted_file(path: Path, vectors: Matrix, *, coding: Coding) -> InvertedFile:
    """What `write_index` wrote, its cells mapped: servers of one machine share them.

    The file's checksum must have been verified: Faiss reads damaged bytes silently. Raises: DamagedArtifact when it is
    no inverted file of those vectors in that coding.
    """
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError as error:
        raise DamagedArtifact("The stored index cannot be read.") from error
    if (
        not isinstance(index, faiss.IndexIVF)
        or not isinstance(index, INDEX_OF[coding])
        or (index.ntotal, index.d) != vectors.shape
    ):
        n_songs, dim = vectors.shape
        raise DamagedArtifact(f"The stored index is not one of {n_songs} songs in {dim} dimensions as {coding.value}.")
    # Faiss starts a thread for each list of a search to touch it first: 280 us a search of 4 lists, 57 without them.
    lists: Any = faiss.downcast_InvertedLists(index.invlists)  # type: ignore[arg-type]  # an index of songs has them
    lists.prefetch_nthread = 0
    return InvertedFile(index, vectors, coding=coding)


INDEX_OF = {
    Coding.FLOAT32: faiss.IndexIVFFlat,
    Coding.INT8: faiss.IndexIVFScalarQuantizer,
    Coding.PRODUCT: faiss.IndexIVFPQ,
}


def _searched(index: faiss.Index, queries: Matrix, *, k: int, n_probed: int | None = None) -> Found:
    if not math.isfinite(np.vdot(queries, queries)):  # in half the time of np.isfinite(queries).all()
        msg = "Queries must be finite to be searched with."
        raise ValueError(msg)
    n_found = min(k, index.ntotal)
    how = None
    if n_probed is not None:
        how = faiss.SearchParametersIVF()
        how.nprobe = n_probed
    found_scores, found = index.search(np.ascontiguousarray(queries, dtype=np.float32), n_found, params=how)
    if len(queries) == 1 and n_found == k and found[0, -1] >= 0 and _is_falling(found_scores[0]):
        return found, found_scores  # a request's, nothing pads and no two scores are equal: it is in order
    found_scores[found < 0] = -np.inf
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    order = np.lexsort((found, -found_scores), axis=-1)
    rows[:, :n_found] = np.take_along_axis(found, order, axis=1)
    scores[:, :n_found] = np.take_along_axis(found_scores, order, axis=1)
    return rows, scores


def _is_falling(scores: NDArray[np.float32]) -> bool:
    return not np.count_nonzero(scores[:-1] <= scores[1:])


def _compared(candidates: NDArray[np.int64], queries: Matrix, vectors: Matrix, *, k: int) -> Found:
    """The k best of each query's candidates `(n_queries, n)` by the vectors themselves."""
    exact = np.empty(candidates.shape, dtype=np.float32)
    for start in range(0, len(candidates), COMPARED_QUERIES):
        part = slice(start, start + COMPARED_QUERIES)
        # The last song stands for what pads.
        np.einsum("qnd,qd->qn", vectors[candidates[part]], queries[part], out=exact[part])
    exact[candidates < 0] = -np.inf
    best = np.lexsort((candidates, -exact), axis=-1)[:, :k]
    return np.take_along_axis(candidates, best, axis=1), np.take_along_axis(exact, best, axis=1)


def _recall(expected: NDArray[np.signedinteger], found: NDArray[np.signedinteger]) -> float:
    is_expected = expected >= 0
    is_found = (expected[:, :, np.newaxis] == found[:, np.newaxis, :]).any(axis=2)
    n_expected = int(is_expected.sum())
    return 1.0 if n_expected == 0 else float((is_found & is_expected).sum() / n_expected)
