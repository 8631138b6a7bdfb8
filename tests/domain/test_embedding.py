import numpy as np
import pytest

from app.domain.embedding import Embeddings, Scoring, scoring_rows, unit_rows


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
        assert rows.queries[query] @ rows.songs[song] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("scoring", Scoring)
def test_rows_are_single_precision_copies_and_unknown_songs_stay_zero(scoring: Scoring) -> None:
    given = embeddings()
    rows = scoring_rows(given, scoring)
    assert rows.queries.dtype == rows.songs.dtype == np.float32
    assert not rows.queries[2].any()
    assert not rows.songs[2].any()
    assert rows.is_known.tolist() == given.is_known.tolist()
    for array in (rows.queries, rows.songs):
        assert not np.shares_memory(array, given.input)
        assert not np.shares_memory(array, given.output)
    assert not np.shares_memory(rows.is_known, given.is_known)


def test_unit_rows_have_length_one_but_for_zero_rows() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0], [1e-12, 0]], dtype=np.float32))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0], [pytest.approx(1.0), 0.0]]
