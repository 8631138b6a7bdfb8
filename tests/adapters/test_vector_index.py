from collections.abc import Callable

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from app.adapters.live_model import VectorIndex
from app.adapters.vector_index import (
    FaissVectorIndex,
    flat_index,
    index_bytes,
    index_from_bytes,
    inverted_file,
    without_itself,
)
from app.domain.embedding import Matrix, unit_rows
from app.domain.errors import DamagedArtifact

Make = Callable[[Matrix], VectorIndex]


def unit_vectors(n: int, *, dim: int = 8, seed: int = 0) -> Matrix:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


def through_a_file(vectors: Matrix) -> VectorIndex:
    """An inverted file of which every cell is searched: exact."""
    built = inverted_file(vectors, vectors, threads=1)
    built.index.nprobe = built.n_lists
    return index_from_bytes(index_bytes(built), n_songs=len(vectors), dim=vectors.shape[1])


def brute_force(vectors: Matrix, queries: Matrix, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")[:, :k]


both = pytest.mark.parametrize("make", [flat_index, through_a_file], ids=["flat", "inverted"])


@both
def test_finds_what_brute_force_finds(make: Make) -> None:
    vectors, queries = unit_vectors(300), unit_vectors(20, seed=1)
    rows, scores = make(vectors).search(queries, 7)
    assert np.array_equal(rows, brute_force(vectors, queries, 7))
    assert np.allclose(scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), atol=1e-6)


@both
def test_fewer_songs_than_asked_are_padded(make: Make) -> None:
    rows, scores = make(unit_vectors(2)).search(unit_vectors(1, seed=1), 4)
    assert sorted(rows[0, :2].tolist()) == [0, 1]
    assert rows[0, 2:].tolist() == [-1, -1]
    assert scores[0, 2:].tolist() == [-np.inf, -np.inf]


@both
def test_equal_scores_go_by_row(make: Make) -> None:
    rows, _ = make(np.ones((5, 3), dtype=np.float32)).search(np.ones((1, 3), dtype=np.float32), 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]


@both
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_query_that_is_not_finite_is_refused(make: Make, value: float) -> None:
    query = unit_vectors(1, seed=1)
    query[0, 3] = value
    with pytest.raises(ValueError, match="finite"):
        make(unit_vectors(20)).search(query, 3)


@both
def test_index_does_not_follow_changes_of_the_vectors(make: Make) -> None:
    vectors = unit_vectors(20)
    index = make(vectors)
    before, _ = index.search(unit_vectors(1, seed=1), 3)
    vectors[:] = 0
    assert np.array_equal(index.search(unit_vectors(1, seed=1), 3)[0], before)


def test_cells_left_out_of_a_search_are_padded() -> None:
    built = inverted_file(unit_vectors(400), unit_vectors(400), threads=1)
    built.index.nprobe = 1
    rows, scores = built.search(unit_vectors(1), 400)
    assert (rows[0] == -1).sum() > 0
    assert np.array_equal(rows[0] == -1, np.isneginf(scores[0]))


def test_inverted_file_finds_nearly_all_and_looks_at_few() -> None:
    vectors = unit_vectors(1_500, dim=16)
    built = inverted_file(vectors, vectors, threads=1)
    assert built.n_lists == round(4 * 1_500**0.5)
    assert built.n_probed < built.n_lists
    rows, _ = built.search(vectors, 11)
    itself = np.arange(1_500)
    found, exact = without_itself(rows, itself), without_itself(brute_force(vectors, vectors, 11), itself)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert built.recall >= 0.95
    assert recall == pytest.approx(built.recall, abs=0.02)


def test_inverted_file_is_tuned_for_queries_unlike_the_songs() -> None:
    vectors, queries = unit_vectors(1_000) * 3, unit_vectors(1_000, seed=1)
    built = inverted_file(vectors, queries, threads=1)
    assert built.recall >= 0.95


def test_same_vectors_make_the_same_inverted_file() -> None:
    vectors = unit_vectors(500)
    first, second = (inverted_file(vectors, vectors, threads=1) for _ in range(2))
    assert np.array_equal(index_bytes(first), index_bytes(second))


def test_single_song_has_no_neighbour_to_miss() -> None:
    built = inverted_file(unit_vectors(1), unit_vectors(1), threads=1)
    assert (built.recall, built.n_lists, built.n_probed) == (1.0, 1, 1)


def test_cells_searched_are_stored_with_the_index() -> None:
    vectors = unit_vectors(1_000)
    built = inverted_file(vectors, vectors, threads=1)
    again = index_from_bytes(index_bytes(built), n_songs=1_000, dim=8)
    assert np.array_equal(again.search(vectors, 5)[0], built.search(vectors, 5)[0])


def test_song_itself_is_left_out_by_id_and_else_the_last() -> None:
    found = np.array([[0, 1, 2], [2, 1, 0], [0, 1, -1], [3, 4, 5]])
    assert without_itself(found, np.arange(4)).tolist() == [[1, 2], [2, 0], [0, 1], [4, 5]]


@pytest.mark.parametrize("content", [b"", b"IwFl", b"no index at all"])
def test_bytes_that_are_no_index_are_refused(content: bytes) -> None:
    with pytest.raises(DamagedArtifact):
        index_from_bytes(np.frombuffer(content, dtype=np.uint8), n_songs=1, dim=8)


@pytest.mark.parametrize(("n_songs", "dim"), [(21, 8), (20, 9)])
def test_index_of_another_size_is_refused(n_songs: int, dim: int) -> None:
    content = index_bytes(inverted_file(unit_vectors(20), unit_vectors(20), threads=1))
    with pytest.raises(DamagedArtifact):
        index_from_bytes(content, n_songs=n_songs, dim=dim)


def test_index_of_another_kind_is_refused() -> None:
    flat = faiss.IndexFlatIP(8)
    flat.add(unit_vectors(20))
    assert isinstance(flat_index(unit_vectors(20)), FaissVectorIndex)
    with pytest.raises(DamagedArtifact):
        index_from_bytes(faiss.serialize_index(flat), n_songs=20, dim=8)
