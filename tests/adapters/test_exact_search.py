import subprocess
import sys
import tracemalloc
from math import log2
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import app
from app.adapters import exact_search
from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.gensim_word2vec import GensimTrainer
from app.domain.embedding import Embeddings, Rows, Scoring, scoring_rows
from app.domain.evaluating import evaluate
from app.domain.listening import Corpus, Pairs, Repeats
from app.domain.training import TrainingParameters
from tests import factories

SHIPPED = Path(app.__file__).parent / "demo" / "data" / "lastfm_three" / "plays.parquet"


def full_ranking(songs: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    scores = queries.astype(np.float64) @ songs.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n_queries", [1, 19, 500])
def test_neighbours_are_those_of_a_full_ranking(threads: int, n_queries: int) -> None:
    rng = np.random.default_rng(4)
    songs = rng.normal(size=(3_000, 24)).astype(np.float32)
    queries = rng.normal(size=(n_queries, 24)).astype(np.float32)
    rows, scores = ExactNeighbourSearch(threads=threads).search(Rows(songs), Rows(queries), 11)
    assert np.array_equal(rows, full_ranking(songs, queries)[:, :11])
    np.testing.assert_allclose(scores, np.einsum("nkd,nd->nk", songs[rows], queries), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("block", "group"), [(64, 1), (64, 10), (128, 37)])
def test_blocks_change_nothing_however_small(monkeypatch: pytest.MonkeyPatch, block: int, group: int) -> None:
    rng = np.random.default_rng(5)
    songs, queries = (rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (200, 37))
    expected = full_ranking(songs, queries)[:, :7]
    monkeypatch.setattr(exact_search, "BLOCK", block)
    monkeypatch.setattr(exact_search, "GROUP", group)
    assert np.array_equal(ExactNeighbourSearch().search(Rows(songs), Rows(queries), 7)[0], expected)


def test_a_tie_of_all_songs_is_cut_by_row() -> None:
    songs, queries = np.zeros((5_000, 3), np.float32), np.ones((30, 3), np.float32)
    assert (ExactNeighbourSearch().search(Rows(songs), Rows(queries), 10)[0] == np.arange(10)).all()


def test_views_and_other_layouts_are_searched_as_they_read() -> None:
    rng = np.random.default_rng(6)
    songs = np.asfortranarray(rng.normal(size=(80, 5)).astype(np.float32))
    queries = rng.normal(size=(20, 10)).astype(np.float32)[::2, ::2]
    assert np.array_equal(
        ExactNeighbourSearch().search(Rows(songs), Rows(queries), 80)[0], full_ranking(songs, queries)
    )


@pytest.mark.parametrize("dim", [7, 64, 100])
def test_equal_songs_go_by_row_across_blocks(dim: int) -> None:
    """2,000 songs, each there again in another block, in another place of the product."""
    rng = np.random.default_rng(7)
    songs = np.concatenate([(half := rng.normal(size=(1_000, dim)).astype(np.float32)), half[rng.permutation(1_000)]])
    queries = rng.normal(size=(900, dim)).astype(np.float32)
    rows, scores = ExactNeighbourSearch().search(Rows(songs, is_unit=True), Rows(queries), 12)
    assert np.array_equal(songs[rows[:, ::2]], songs[rows[:, 1::2]])
    assert (rows[:, ::2] < rows[:, 1::2]).all()
    assert np.array_equal(scores[:, ::2], scores[:, 1::2])


def test_songs_that_come_by_ascending_score_are_all_considered() -> None:
    songs = np.arange(2_000, dtype=np.float32)[:, np.newaxis]
    rows, _ = ExactNeighbourSearch().search(Rows(songs), Rows(np.ones((3, 1), np.float32)), 4)
    assert (rows == [1_999, 1_998, 1_997, 1_996]).all()


def test_scores_that_single_precision_cannot_tell_apart_are_ranked() -> None:
    """The small part of each score is lost beside 1 in single precision."""
    small = np.array([3, 1, 4, 2, 5], dtype=np.float32) * np.float32(2.0**-30)
    songs = np.column_stack([np.ones(5, np.float32), small])
    rows, _ = ExactNeighbourSearch().search(Rows(songs), Rows(np.ones((1, 2), np.float32)), 3)
    assert rows.tolist() == [[4, 2, 0]]


def test_vectors_whose_inner_products_may_not_be_finite_are_refused() -> None:
    long = Rows(np.full((2, 3), 1e19, dtype=np.float32))
    with pytest.raises(ValueError, match="finite"):
        ExactNeighbourSearch().search(long, long, 1)


def test_what_finds_no_neighbours_anew_does_not_load_numba() -> None:
    """A server imports this to serve; Numba would take it a quarter of a second and 60 MB."""
    program = "import app.adapters.model_files, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("scoring", Scoring)
def test_an_evaluation_takes_little_memory_beside_the_embeddings(scoring: Scoring) -> None:
    """Of the 5 MB, 2.4 are the block of scores and 1.5 the group of queries: neither grows with the songs."""
    rng = np.random.default_rng(8)
    n_songs, n_pairs = 100_000, 1_500
    vectors = rng.random((2, n_songs, 64), dtype=np.float32) - np.float32(0.5)
    embeddings = Embeddings(vectors[0], vectors[1], rng.random(n_songs) < 0.98)
    query = np.arange(n_pairs, dtype=np.int32)
    held_out = Pairs(query, query + np.int32(1), np.zeros(n_pairs, dtype=np.int32))
    search, counts = ExactNeighbourSearch(), np.arange(n_songs, 0, -1)
    search.search(Rows(vectors[0][:2]), Rows(vectors[1][:2]), 1)
    tracemalloc.start()
    try:
        evaluate(
            scoring_rows(embeddings, scoring),
            held_out,
            search=search,
            k=10,
            hr_weight=0.5,
            repeats=Repeats.DROP,
            segments=(),
            training_counts=counts,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.15 * vectors.nbytes


def shipped_listening() -> Corpus:
    """The shipped plays, cut at gaps over 30 minutes, sessions of at least 3; the last 540 in the file for testing."""
    table = pq.read_table(SHIPPED)
    user = np.unique(table["user_id"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    played_at_s = table["played_at"].to_numpy().astype("datetime64[s]").astype(np.int64)
    is_start = (np.diff(user, prepend=-1) != 0) | (np.diff(played_at_s, prepend=0) > 30 * 60)
    session = np.cumsum(is_start) - 1
    is_kept = np.bincount(session)[session] >= 3
    names, counts = np.unique(table["song_id"].to_numpy(zero_copy_only=False)[is_kept], return_counts=True)
    vocabulary = np.empty(len(names), dtype=np.int64)
    vocabulary[np.lexsort((names, -counts))] = np.arange(len(names))
    rows = vocabulary[np.searchsorted(names, table["song_id"].to_numpy(zero_copy_only=False)[is_kept])]
    starts = np.flatnonzero(np.diff(session[is_kept], prepend=-1))
    return factories.corpus(sessions=[part.tolist() for part in np.split(rows, starts[1:])], n_test=540)


@pytest.mark.parametrize("scoring", Scoring)
def test_evaluation_agrees_with_a_full_ranking_of_the_shipped_set(scoring: Scoring) -> None:
    listened = shipped_listening()
    assert listened.n_sessions == 1_811
    parameters = TrainingParameters(sg=1, alpha=0.1, epochs=2, vector_size=32, scoring=scoring)
    embeddings = GensimTrainer().train(
        listened,
        parameters,
        seed=1,
        threads=1,
        held_out=True,
        on_progress=lambda _: None,
        on_epoch=lambda *_: None,
    )
    rows = scoring_rows(embeddings, scoring)
    held_out = listened.validation
    scores = evaluate(
        rows,
        held_out,
        search=ExactNeighbourSearch(threads=2),
        k=10,
        hr_weight=0.5,
        repeats=Repeats.DROP,
        segments=(),
        training_counts=listened.training_counts(),
    ).overall

    answerable = held_out.query != held_out.target
    query, target = held_out.query[answerable], held_out.target[answerable]
    all_scores = rows.queries.whole()[query].astype(np.float64) @ rows.songs.whole().astype(np.float64).T
    all_scores[:, ~rows.is_known] = -np.inf
    all_scores[np.arange(len(query)), query] = -np.inf
    of_target = all_scores[np.arange(len(query)), target]
    rank = 1 + np.sum(all_scores > of_target[:, np.newaxis], axis=1)
    is_hit = (rank <= 10) & rows.is_known[query] & rows.is_known[target]
    gain = np.where(is_hit, [1 / log2(1 + r) for r in rank.tolist()], 0.0)

    assert scores.hit_ratio is not None
    assert scores.ndcg is not None
    assert scores.n_pairs == len(query) > 1_100
    assert scores.n_unknown_query == np.sum(~rows.is_known[query]) > 0
    assert scores.n_unknown_target == np.sum(~rows.is_known[target]) > 0
    assert scores.hit_ratio.value == pytest.approx(is_hit.mean(), abs=1e-9)
    assert scores.ndcg.value == pytest.approx(gain.mean(), abs=1e-9)
    assert scores.hit_ratio.value > 0.03
