"""What every `NeighbourSearch` promises, on the real one and on the fake."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.adapters.exact_search import ExactNeighbourSearch
from app.domain.embedding import Rows
from app.domain.ports import NeighbourSearch
from tests.fakes.neighbour_search import FullRanking

SEARCHES = [ExactNeighbourSearch(), ExactNeighbourSearch(threads=2), FullRanking()]

pytestmark = pytest.mark.parametrize("search", SEARCHES, ids=["exact", "exact_two_threads", "fake"])


def whole_numbers(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Vectors whose inner products float32 holds exactly, with many equal ones among them."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def test_best_songs_come_first_with_their_inner_products(search: NeighbourSearch) -> None:
    songs = np.array([[1, 0], [0, 1], [2, 2]], dtype=np.float32)
    rows, scores = search.search(Rows(songs), Rows(np.array([[1, 0.5]], dtype=np.float32)), 2)
    assert rows.tolist() == [[2, 0]]
    assert scores.tolist() == [[3.0, 1.0]]
    assert rows.dtype == np.int32
    assert scores.dtype == np.float32


def test_fewer_songs_than_asked_are_padded(search: NeighbourSearch) -> None:
    rows, scores = search.search(Rows(np.ones((1, 3), np.float32)), Rows(np.ones((2, 3), np.float32)), 3)
    assert rows.tolist() == [[0, -1, -1], [0, -1, -1]]
    assert scores.tolist() == [[3.0, -np.inf, -np.inf]] * 2


@pytest.mark.parametrize(("n_songs", "n_queries"), [(0, 2), (2, 0), (0, 0)])
def test_nothing_to_search_is_an_empty_answer(search: NeighbourSearch, n_songs: int, n_queries: int) -> None:
    rows, scores = search.search(Rows(np.ones((n_songs, 4), np.float32)), Rows(np.ones((n_queries, 4), np.float32)), 3)
    assert rows.shape == scores.shape == (n_queries, 3)
    assert (rows == -1).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_songs=st.integers(1, 300),
    n_queries=st.integers(1, 40),
    k=st.integers(1, 130),
)
def test_equal_scores_go_by_row(search: NeighbourSearch, seed: int, n_songs: int, n_queries: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    songs, queries = whole_numbers(rng, (n_songs, 4)), whole_numbers(rng, (n_queries, 4))
    rows, scores = search.search(Rows(songs), Rows(queries), k)
    for query, found, found_scores in zip(queries.tolist(), rows.tolist(), scores.tolist(), strict=True):
        inner = [sum(a * b for a, b in zip(query, song, strict=True)) for song in songs.tolist()]
        best = sorted(range(n_songs), key=lambda row: (-inner[row], row))[:k]
        n_pad = k - len(best)
        assert found == best + [-1] * n_pad
        assert found_scores == [inner[row] for row in best] + [-np.inf] * n_pad


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_different=st.integers(1, 60),
    n_copies=st.integers(2, 40),
    dim=st.integers(1, 40),
)
def test_equal_songs_score_the_same_to_the_bit_wherever_they_stand(
    search: NeighbourSearch, seed: int, n_different: int, n_copies: int, dim: int
) -> None:
    """A matrix product rounds by place: without care, one of two equal songs may come before a lower row."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat(np.arange(n_different), n_copies))
    songs = rng.normal(size=(n_different, dim)).astype(np.float32)[kind]
    queries = rng.normal(size=(9, dim)).astype(np.float32)
    rows, scores = search.search(Rows(songs), Rows(queries), len(songs))
    for found, found_scores in zip(rows, scores, strict=True):
        kinds_in_order = kind[found].reshape(n_different, n_copies)
        assert (kinds_in_order == kinds_in_order[:, :1]).all()
        assert (np.diff(found.reshape(n_different, n_copies)) > 0).all()
        assert (np.diff(found_scores.reshape(n_different, n_copies)) == 0).all()


def test_rows_that_were_chosen_are_counted_from_the_first_of_them(search: NeighbourSearch) -> None:
    songs, queries = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[::-1].copy()
    rows, _ = search.search(Rows(songs).at(np.array([3, 1])), Rows(queries).at(np.array([0, 2])), 1)
    assert rows.tolist() == [[0], [1]]


@pytest.mark.parametrize("damaged", ["songs", "queries"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(search: NeighbourSearch, damaged: str, value: float) -> None:
    vectors = {"songs": np.ones((3, 2), np.float32), "queries": np.ones((2, 2), np.float32)}
    vectors[damaged][1, 1] = value
    with pytest.raises(ValueError, match="finite"):
        search.search(Rows(vectors["songs"]), Rows(vectors["queries"]), 1)


def test_arrays_that_were_passed_stay_as_they_were(search: NeighbourSearch) -> None:
    rng = np.random.default_rng(0)
    songs, queries = whole_numbers(rng, (50, 3)), whole_numbers(rng, (9, 3))
    before = songs.copy(), queries.copy()
    search.search(Rows(songs), Rows(queries), 5)
    assert np.array_equal(songs, before[0])
    assert np.array_equal(queries, before[1])
