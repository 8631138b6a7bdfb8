import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.embedding import Embeddings, Rows, Scoring, scoring_rows, served_bytes, unit_rows


def embeddings() -> Embeddings:
    """Song 2 is not known: its rows are zero."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, 5, 3)).astype(np.float32)
    vectors[:, 2] = 0.0
    return Embeddings(vectors[0], vectors[1], np.array([True, True, False, True, True]))


def cosine(a: np.ndarray[tuple[int], np.dtype[np.float32]], b: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(("query", "song"), [(0, 1), (3, 4), (4, 0), (1, 1)])
def test_each_scoring_is_the_inner_product_that_its_header_says(query: int, song: int) -> None:
    given = embeddings()
    u, v = given.input, given.output
    expected = {
        Scoring.INPUT: cosine(u[query], u[song]),
        Scoring.OUTPUT: float(u[query] @ v[song] / np.linalg.norm(u[query])),
        Scoring.SUM: cosine(u[query] + v[query], u[song] + v[song]),
    }
    for scoring, score in expected.items():
        rows = scoring_rows(given, scoring)
        assert rows.queries.whole()[query] @ rows.songs.whole()[song] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("scoring", Scoring)
def test_rows_are_single_precision_copies_and_unknown_songs_stay_zero(scoring: Scoring) -> None:
    given = embeddings()
    rows = scoring_rows(given, scoring)
    queries, songs = rows.queries.whole(), rows.songs.whole()
    assert queries.dtype == songs.dtype == np.float32
    assert not queries[2].any()
    assert not songs[2].any()
    assert rows.is_known.tolist() == given.is_known.tolist()
    for array in (queries, songs):
        assert not np.shares_memory(array, given.input)
        assert not np.shares_memory(array, given.output)
    assert not np.shares_memory(rows.is_known, given.is_known)


@pytest.mark.parametrize("scoring", Scoring)
@pytest.mark.parametrize("dim", [1, 3, 32, 100])
def test_a_row_is_the_same_to_the_bit_in_every_block(scoring: Scoring, dim: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(2, 70, dim)).astype(np.float32)
    rows = scoring_rows(Embeddings(vectors[0], vectors[1], np.ones(70, dtype=np.bool_)), scoring)
    for part in (rows.queries, rows.songs):
        whole = part.whole()
        for size in (1, 3, 64):
            blocks = [part.block(start, start + size) for start in range(0, 70, size)]
            assert np.array_equal(np.concatenate(blocks), whole)
        chosen = np.array([69, 0, 3, 3])
        assert np.array_equal(part.at(chosen).whole(), whole[chosen])
        assert np.array_equal(part.at(chosen).at(np.array([2, 0])).whole(), whole[[3, 69]])


def test_only_the_block_is_made_of_rows() -> None:
    given = np.ones((20_000, 50), dtype=np.float32)
    rows = Rows(given, added=given, is_unit=True).at(np.arange(20_000, dtype=np.int32))
    tracemalloc.start()
    rows.block(1_000, 1_100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 100 * 50 * 4


@pytest.mark.parametrize("matrix", [np.asfortranarray(np.eye(4, 3, dtype=np.float32)), np.eye(8, 6)[::2, ::2]])
def test_a_block_lies_row_after_row_in_single_precision(matrix: NDArray[np.float32]) -> None:
    block = Rows(matrix).block(1, 9)
    assert block.flags.c_contiguous
    assert block.dtype == np.float32
    assert np.array_equal(block, matrix[1:])


def test_unit_rows_have_length_one_but_for_zero_rows() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0], [1e-12, 0]], dtype=np.float32))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0], [pytest.approx(1.0), 0.0]]


def test_served_bytes_count_known_songs_and_both_matrices_where_they_differ() -> None:
    given = embeddings()
    n_known, dim = int(given.is_known.sum()), given.input.shape[1]
    assert {scoring: served_bytes(scoring_rows(given, scoring)) for scoring in Scoring} == {
        Scoring.INPUT: 4 * n_known * dim,
        Scoring.OUTPUT: 8 * n_known * dim,
        Scoring.SUM: 4 * n_known * dim,
    }
