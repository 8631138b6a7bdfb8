import tempfile
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from app.adapters.vector_index import (
    FlatIndex,
    InvertedFile,
    VectorIndex,
    built_inverted_file,
    open_inverted_file,
    planned,
    without_itself,
    write_index,
)
from app.domain.embedding import Matrix, unit_rows
from app.domain.errors import DamagedArtifact
from app.domain.models import Coding, IndexLimits

Make = Callable[[Matrix], VectorIndex]


def unit_vectors(n: int, *, dim: int = 8, seed: int = 0) -> Matrix:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


def inverted_file(vectors: Matrix, queries: Matrix, *, coding: Coding = Coding.FLOAT32) -> InvertedFile:
    return built_inverted_file(vectors, queries, threads=1, coding=coding).inverted


def stored(inverted: InvertedFile, vectors: Matrix) -> InvertedFile:
    """The same, written and opened again."""
    with tempfile.TemporaryDirectory() as folder:
        write_index(inverted, Path(folder) / "index.faiss")
        return open_inverted_file(Path(folder) / "index.faiss", vectors, coding=inverted.coding)


def through_a_file(vectors: Matrix) -> VectorIndex:
    """An inverted file of which every cell is searched: exact."""
    inverted = inverted_file(vectors, vectors)
    inverted.index.nprobe = inverted.n_lists
    return stored(inverted, vectors)


def of_bytes(vectors: Matrix) -> VectorIndex:
    """One of rows in a byte a dimension, all cells searched: exact, but for songs hardly apart."""
    inverted = inverted_file(vectors, vectors, coding=Coding.INT8)
    inverted.index.nprobe = inverted.n_lists
    return stored(inverted, vectors)


def brute_force(vectors: Matrix, queries: Matrix, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")[:, :k]


both = pytest.mark.parametrize("make", [FlatIndex, through_a_file, of_bytes], ids=["flat", "inverted", "bytes"])


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


@pytest.mark.parametrize("make", [FlatIndex, through_a_file], ids=["flat", "inverted"])
def test_index_does_not_follow_changes_of_the_vectors(make: Make) -> None:
    vectors = unit_vectors(20)
    index = make(vectors)
    before, _ = index.search(unit_vectors(1, seed=1), 3)
    vectors[:] = 0
    assert np.array_equal(index.search(unit_vectors(1, seed=1), 3)[0], before)


def test_cells_left_out_of_a_search_are_padded() -> None:
    built = inverted_file(unit_vectors(400), unit_vectors(400))
    built.index.nprobe = 1
    rows, scores = built.search(unit_vectors(1), 400)
    assert (rows[0] == -1).sum() > 0
    assert np.array_equal(rows[0] == -1, np.isneginf(scores[0]))


def test_inverted_file_finds_nearly_all_and_looks_at_few() -> None:
    vectors = unit_vectors(1_500, dim=16)
    built = built_inverted_file(vectors, vectors, threads=1)
    assert built.inverted.n_lists == round(4 * 1_500**0.5)
    assert built.inverted.n_probed < built.inverted.n_lists
    rows, _ = built.inverted.search(vectors, 11)
    itself = np.arange(1_500)
    found, exact = without_itself(rows, itself), without_itself(brute_force(vectors, vectors, 11), itself)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert built.recall >= 0.98
    assert recall == pytest.approx(built.recall, abs=0.02)


def test_inverted_file_is_tuned_for_queries_unlike_the_songs() -> None:
    vectors, queries = unit_vectors(1_000) * 3, unit_vectors(1_000, seed=1)
    built = built_inverted_file(vectors, queries, threads=1)
    assert built.recall >= 0.98


def test_same_vectors_make_the_same_inverted_file() -> None:
    vectors = unit_vectors(500)
    first, second = (faiss.serialize_index(inverted_file(vectors, vectors).index) for _ in range(2))
    assert np.array_equal(first, second)


def test_single_song_has_no_neighbour_to_miss() -> None:
    built = built_inverted_file(unit_vectors(1), unit_vectors(1), threads=1)
    assert (built.recall, built.inverted.n_lists, built.inverted.n_probed) == (1.0, 1, 1)
    assert built.profile_recall is None


def test_cells_searched_are_stored_with_the_index() -> None:
    vectors = unit_vectors(1_000)
    built = inverted_file(vectors, vectors)
    again = stored(built, vectors)
    assert again.n_probed == built.n_probed
    assert np.array_equal(again.search(vectors, 5)[0], built.search(vectors, 5)[0])


@pytest.mark.parametrize("coding", [Coding.INT8, Coding.PRODUCT])
def test_coded_rows_answer_with_the_scores_of_the_vectors_and_find_nearly_all(coding: Coding) -> None:
    centres = unit_vectors(40, dim=16)
    noise = np.random.default_rng(2).normal(size=(2_000, 16)).astype(np.float32)
    vectors = unit_rows(centres[np.arange(2_000) % 40] + 0.1 * noise)
    built = built_inverted_file(vectors, vectors, threads=1, coding=coding)
    assert built.recall >= 0.98
    rows, scores = stored(built.inverted, vectors).search(vectors[:50], 10)
    assert np.allclose(scores, np.take_along_axis(vectors[:50] @ vectors.T, rows, axis=1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_an_inverted_file_is_tuned_for_profiles_too() -> None:
    vectors = unit_vectors(1_500, dim=16)
    profiles = np.array([vectors[[row, row + 700]].mean(axis=0) for row in range(200)])
    built = built_inverted_file(vectors, vectors, profiles=profiles, threads=1)
    assert built.profile_recall is not None
    assert min(built.recall, built.song_recall, built.profile_recall) >= 0.98
    assert built.n_probed_for_songs <= built.inverted.n_probed
    assert built.song_recall <= built.recall
    few, _ = built.inverted.search(vectors, 11, n_probed=built.n_probed_for_songs)
    assert (few[:, 0] == np.arange(1_500)).mean() > 0.99


@pytest.mark.parametrize(
    ("n_songs", "memory_bytes", "expected"),
    [
        (50, 1, None),
        (51, 408 * 51, Coding.FLOAT32),
        (51, 408 * 51 - 1, Coding.INT8),
        (255, 1, Coding.INT8),
        (256, 1, Coding.PRODUCT),
    ],
)
def test_rows_are_coded_once_the_memory_does_not_hold_them(
    n_songs: int, memory_bytes: int, expected: Coding | None
) -> None:
    assert planned(n_songs, 100, limits=IndexLimits(flat_up_to=50, memory_bytes=memory_bytes)) is expected


def test_song_itself_is_left_out_by_id_and_else_the_last() -> None:
    found = np.array([[0, 1, 2], [2, 1, 0], [0, 1, -1], [3, 4, 5]])
    assert without_itself(found, np.arange(4)).tolist() == [[1, 2], [2, 0], [0, 1], [4, 5]]


@pytest.mark.parametrize("content", [b"", b"IwFl", b"no index at all"])
def test_bytes_that_are_no_index_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(content)
    with pytest.raises(DamagedArtifact):
        open_inverted_file(tmp_path / "index.faiss", unit_vectors(1), coding=Coding.FLOAT32)


def test_an_index_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedArtifact):
        open_inverted_file(tmp_path / "index.faiss", unit_vectors(1), coding=Coding.FLOAT32)


@pytest.mark.parametrize(("n_songs", "dim"), [(21, 8), (20, 9)])
def test_index_of_another_size_is_refused(n_songs: int, dim: int) -> None:
    inverted = inverted_file(unit_vectors(20), unit_vectors(20))
    with pytest.raises(DamagedArtifact):
        stored(inverted, unit_vectors(n_songs, dim=dim))


def test_index_of_another_kind_or_coding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    flat = faiss.IndexFlatIP(8)
    flat.add(unit_vectors(20))
    faiss.write_index(flat, str(path))
    with pytest.raises(DamagedArtifact):
        open_inverted_file(path, unit_vectors(20), coding=Coding.FLOAT32)
    write_index(inverted_file(unit_vectors(20), unit_vectors(20)), path)
    with pytest.raises(DamagedArtifact):
        open_inverted_file(path, unit_vectors(20), coding=Coding.INT8)
