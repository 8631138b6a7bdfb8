from typing import Any

import numpy as np
import pytest

from app.domain import listening
from app.domain.errors import InvalidRequest
from app.domain.listening import Corpus, Preparation, Split
from tests.factories import corpus, pairs

SESSIONS = [[0, 1, 2, 3], [4, 4, 0], [1, 0, 2, 2, 5]]


@pytest.mark.parametrize(
    ("split", "held_out", "expected"),
    [
        (Split(), True, [[0, 1], [4], [1, 0, 2]]),
        (Split(query_in_training=True), True, [[0, 1, 2], [4, 4], [1, 0, 2, 2]]),
        (Split(), False, SESSIONS),
    ],
    ids=["query_held_out", "query_in_training", "fit_on_everything"],
)
def test_training_sees_sessions_without_what_is_held_out(
    split: Split, held_out: bool, expected: list[list[int]]
) -> None:
    listened = corpus(sessions=SESSIONS, n_songs=7, split=split)
    seen = [session.tolist() for session in listened.training_sessions(held_out=held_out)]
    assert seen == expected
    counts = np.bincount(np.concatenate([np.array(session) for session in expected]), minlength=7)
    assert listened.training_counts(held_out=held_out).tolist() == counts.tolist()


def test_an_empty_corpus_has_no_sessions_and_no_counts() -> None:
    nothing = corpus(sessions=[], n_songs=2)
    assert nothing.n_sessions == 0
    assert list(nothing.training_sessions()) == []
    assert nothing.training_counts().tolist() == [0, 0]


def test_counts_have_their_stated_types() -> None:
    listened = corpus(sessions=SESSIONS)
    assert listened.n_sessions == 3
    assert listened.training_counts().dtype == np.int64
    assert len(pairs((1, 2), (3, 4))) == 2


def test_pairs_are_spread_over_the_whole() -> None:
    all_of_them = pairs(*((number, number + 1) for number in range(10)))
    assert all_of_them.spread(4).query.tolist() == [0, 2, 5, 7]
    assert all_of_them.spread(4).target.tolist() == [1, 3, 6, 8]
    assert len(all_of_them.spread(4).segment) == 4
    assert all_of_them.spread(10) is all_of_them


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("session_gap_minutes", (1, 10_080)),
        ("min_length", (3, 1_000)),
        ("max_length", (None, 3, 1_000_000)),
        ("min_song_plays", (1, 1_000_000)),
        ("sample_fraction", (1e-9, 1.0)),
        ("seed", (0, 2**31 - 1)),
    ],
)
def test_preparation_takes_values_up_to_their_limits(name: str, values: tuple[float | None, ...]) -> None:
    for value in values:
        changes: dict[str, Any] = {name: value}
        assert getattr(Preparation(**changes), name) == value


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"session_gap_minutes": 0}, "session_gap_minutes"),
        ({"session_gap_minutes": 10_081}, "session_gap_minutes"),
        ({"min_length": 2}, "min_length"),
        ({"min_length": 1_001}, "min_length"),
        ({"max_length": 2}, "max_length"),
        ({"min_length": 8, "max_length": 7}, "max_length"),
        ({"max_length": 1_000_001}, "max_length"),
        ({"min_song_plays": 0}, "min_song_plays"),
        ({"sample_fraction": 0.0}, "sample_fraction"),
        ({"sample_fraction": 1.1}, "sample_fraction"),
        ({"sample_fraction": float("nan")}, "sample_fraction"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
    ],
)
def test_preparation_refuses_what_is_beyond_them(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequest, match=pointer) as refused:
        Preparation(**changes)
    assert refused.value.pointer == f"/preparation/{pointer}"


@pytest.mark.parametrize("test_fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_split_needs_pairs_on_both_sides(test_fraction: float) -> None:
    with pytest.raises(InvalidRequest, match="test_fraction") as refused:
        Split(test_fraction=test_fraction)
    assert refused.value.pointer == "/split/test_fraction"


# One segment's sessions alone


def by_segment(split: Split | None = None) -> Corpus:
    """Six sessions in turn of two segments; the last two give test pairs."""
    rng = np.random.default_rng(5)
    sessions = [rng.integers(0, 7, rng.integers(3, 9)).tolist() for _ in range(6)]
    of_session = [0, 1, 1, 0, 1, 0]
    return corpus(
        sessions=sessions, n_songs=7, n_test=2, segments=("ar", "en"), session_segments=of_session, split=split
    )


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("query_in_training", [True, False])
@pytest.mark.parametrize("plays_at_once", [1, 5, 1000])
def test_a_scope_trains_on_its_segments_sessions_alone(
    monkeypatch: pytest.MonkeyPatch, plays_at_once: int, *, query_in_training: bool, held_out: bool
) -> None:
    monkeypatch.setattr(listening, "PLAYS_AT_ONCE", plays_at_once)
    whole = by_segment(Split(query_in_training=query_in_training))
    assert whole.session_segments is not None
    scoped = whole.scoped("en")
    expected = [
        session.tolist()
        for session, segment in zip(whole.training_sessions(held_out=held_out), whole.session_segments, strict=True)
        if segment == 1
    ]
    assert [session.tolist() for session in scoped.training_sessions(held_out=held_out)] == expected
    counts = np.bincount([song for session in expected for song in session], minlength=7)
    assert scoped.training_counts(held_out=held_out).tolist() == counts.tolist()
    assert scoped.plays is whole.plays


def test_a_scope_measures_its_segments_pairs_alone() -> None:
    whole = by_segment()
    scoped = whole.scoped("en")
    assert (len(scoped.validation), len(scoped.test)) == (2, 1)
    for pairs_of, scoped_pairs in ((whole.validation, scoped.validation), (whole.test, scoped.test)):
        is_chosen = pairs_of.segment == 1
        assert scoped_pairs.query.tolist() == pairs_of.query[is_chosen].tolist()
        assert scoped_pairs.target.tolist() == pairs_of.target[is_chosen].tolist()
        assert set(scoped_pairs.segment.tolist()) == {1}


def test_a_segment_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no segment 'de'"):
        by_segment().scoped("de")
    with pytest.raises(ValueError, match="no segment 'ar'"):
        corpus(sessions=[[0, 1, 2]]).scoped("ar")
