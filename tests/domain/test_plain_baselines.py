from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import plain_baselines
from app.domain.evaluating import Lists
from app.domain.listening import Corpus, Split
from app.domain.plain_baselines import co_occurrence, most_popular, next_song_counts
from tests.factories import corpus


def queries(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(rows, dtype=np.int64)


def listening() -> Corpus:
    """Trained on: 0 1 2 0 1 | 3 1 | 0; the two songs at each end are held out, 5 and 6 nowhere else."""
    return corpus(sessions=[[0, 1, 2, 0, 1, 5, 6], [3, 1, 5, 4], [0, 2, 2]], n_songs=8)


def test_most_popular_counts_training_plays_and_leaves_the_query_out() -> None:
    """Plays: songs 0 and 1 three each (0 before 1), then 2 and 3 one each."""
    lists = most_popular(listening(), queries(0, 2, 7), k=2)
    assert lists.tolist() == [[1, 2], [0, 1], [0, 1]]


def test_most_popular_lists_no_song_that_training_never_sees() -> None:
    assert most_popular(listening(), queries(1), k=5).tolist() == [[0, 2, 3, -1, -1]]


def test_next_song_counts_what_comes_right_after() -> None:
    """After 0: 1 twice. After 1: 2 once. After 2: 0 once. After 3: 1 once. Sessions do not run into each other."""
    lists = next_song_counts(listening(), queries(0, 1, 2, 3, 5), k=2)
    assert lists.tolist() == [[1, -1], [2, -1], [0, -1], [1, -1], [-1, -1]]


def test_co_occurrence_counts_each_meeting_within_the_window() -> None:
    """0 1 2 0 1: with window 1, song 0 meets 1 twice and 2 once; song 1 meets 0 twice, 2 and (with 3 1) 3 once."""
    lists = co_occurrence(listening(), queries(0, 1), k=3, window=1)
    assert lists.tolist() == [[1, 2, -1], [0, 2, 3]]


def test_co_occurrence_reaches_as_far_as_the_window() -> None:
    far = corpus(sessions=[[0, 1, 2, 3, 4, 5, 6, 7, 8]])
    assert co_occurrence(far, queries(0), k=9).tolist() == [[1, 2, 3, 4, 5, -1, -1, -1, -1]]


def test_equal_counts_go_to_the_lower_row() -> None:
    ties = corpus(sessions=[[0, 3, 9, 9], [0, 2, 9, 9], [0, 5, 9, 9], [0, 5, 9, 9]])
    assert next_song_counts(ties, queries(0), k=3).tolist() == [[5, 2, 3]]


def test_query_seen_in_training_when_the_split_says_so() -> None:
    seen = corpus(sessions=[[0, 1, 2]], split=Split(query_in_training=True))
    assert next_song_counts(seen, queries(0, 1), k=1).tolist() == [[1], [-1]]


def reference(listened: Corpus, query: int, *, k: int, before: int, after: int) -> list[int]:
    met: Counter[int] = Counter()
    for session in listened.training_sessions():
        songs = session.tolist()
        for at, song in enumerate(songs):
            if song == query:
                met.update(songs[max(0, at - before) : at] + songs[at + 1 : at + 1 + after])
    del met[query]
    best = sorted(met, key=lambda song: (-met[song], song))[:k]
    return best + [-1] * (k - len(best))


sessions = st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=14), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(sessions=sessions, k=st.integers(1, 6), query_in_training=st.booleans())
def test_counts_agree_with_a_reference_in_plain_python(
    sessions: list[list[int]], k: int, query_in_training: bool
) -> None:
    listened = corpus(sessions=sessions, n_songs=10, split=Split(query_in_training=query_in_training))
    asked = np.arange(10)
    assert next_song_counts(listened, asked, k=k).tolist() == [
        reference(listened, query, k=k, before=0, after=1) for query in range(10)
    ]
    assert co_occurrence(listened, asked, k=k, window=3).tolist() == [
        reference(listened, query, k=k, before=3, after=3) for query in range(10)
    ]


@pytest.mark.parametrize(("meetings_per_block", "plays_per_piece"), [(1, 1), (7, 3), (40, 1000)])
@pytest.mark.parametrize("baseline", [next_song_counts, co_occurrence])
def test_blocks_and_pieces_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
    baseline: Callable[..., Lists],
    meetings_per_block: int,
    plays_per_piece: int,
) -> None:
    rng = np.random.default_rng(3)
    listened = corpus(sessions=[rng.zipf(1.5, 12).clip(1, 20).tolist() for _ in range(30)], n_songs=21)
    at_once = baseline(listened, np.arange(21), k=4)
    monkeypatch.setattr(plain_baselines, "MEETINGS_PER_BLOCK", meetings_per_block)
    monkeypatch.setattr(plain_baselines, "PLAYS_PER_PIECE", plays_per_piece)
    assert np.array_equal(baseline(listened, np.arange(21), k=4), at_once)


@pytest.mark.parametrize("baseline", [most_popular, next_song_counts, co_occurrence])
def test_no_queries_no_lists(baseline: Callable[..., Lists]) -> None:
    assert baseline(listening(), queries(), k=3).shape == (0, 3)


@pytest.mark.parametrize("baseline", [most_popular, next_song_counts, co_occurrence])
def test_in_a_scope_the_segments_sessions_alone_are_counted(baseline: Callable[..., Lists]) -> None:
    rng = np.random.default_rng(4)
    sessions = [rng.integers(0, 9, 8).tolist() for _ in range(20)]
    of_session = rng.integers(0, 2, 20).tolist()
    whole = corpus(sessions=sessions, n_songs=9, segments=("ar", "en"), session_segments=of_session)
    alone = corpus(sessions=[one for one, number in zip(sessions, of_session, strict=True) if number], n_songs=9)
    asked = np.arange(9)
    assert np.array_equal(baseline(whole.scoped("en"), asked, k=4), baseline(alone, asked, k=4))
