"""How a lane takes a session and walks through its pairs."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.adapters.lane_kernel import Lanes, Sessions, Settings, Share, next_pair, rate_at, take_session

SETTINGS = Settings(window=3, negative=5, weight=1.0, is_skip_gram=True, alpha=0.05, min_alpha=0.001)


def lanes_for(longest: int, *, n_lanes: int = 4) -> Lanes:
    songs, reach = np.zeros((2, n_lanes, longest), np.int32)
    length, centre, context, end = np.zeros((4, n_lanes), np.int64)
    rate, centre_song = np.zeros(n_lanes, np.float32), np.full(n_lanes, -1, np.int32)
    return Lanes(songs, reach, length, centre, context, end, rate, centre_song)


def one_session(plays: NDArray[np.int32], kept: Sequence[float]) -> Sessions:
    """`plays` are the middle of the array: what lies around belongs to others."""
    around = np.full(3, 99, np.int32)
    return Sessions(
        np.concatenate((around, plays, around)),
        np.array([3]),
        np.array([3 + len(plays)]),
        np.array(kept, np.float32),
        np.ones(len(kept), np.float32),
        np.arange(len(kept)).astype(np.int32),
    )


def taken(plays: NDArray[np.int32], kept: Sequence[float], *, window: int, lane: int = 2) -> Lanes:
    lanes = lanes_for(max(1, len(plays)))
    take_session(one_session(plays, kept), 0, window, lanes, lane, np.array([9], np.uint64))
    return lanes


@pytest.mark.parametrize("window", [1, 2, 5, 40])
def test_reaches_are_uniform_from_one_to_the_window(window: int) -> None:
    n = 40_000
    lanes = taken(np.zeros(n, np.int32), [1.0], window=window)
    counts = np.bincount(lanes.reach[2], minlength=window + 1)[1:]
    assert lanes.length[2] == n == counts.sum()
    assert (np.abs(counts - n / window) <= 5 * np.sqrt(n / window)).all()
    assert lanes.reach[2].mean() == pytest.approx((window + 1) / 2, rel=0.02)


def test_each_song_is_kept_with_its_share_and_in_order() -> None:
    kept = [0.0, 0.01, 0.3, 0.75, 0.999, 1.0]
    plays = np.arange(120_000, dtype=np.int32) % 6
    lanes = taken(plays, kept, window=5)
    songs = lanes.songs[2, : lanes.length[2]]
    counts = np.bincount(songs, minlength=6)
    expected = 20_000 * np.array(kept)
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected * (1 - np.array(kept)))).all()
    assert counts[0] == 0
    assert counts[5] == 20_000


def test_songs_that_are_kept_stay_in_order() -> None:
    plays = np.arange(500, dtype=np.int32)
    lanes = taken(plays, [1.0] * 500, window=5)
    assert np.array_equal(lanes.songs[2, :500], plays)
    some = taken(plays, [0.5] * 500, window=5)
    songs = some.songs[2, : some.length[2]]
    assert (np.diff(songs) > 0).all()
    assert 150 < len(songs) < 350


def test_other_lanes_are_left_alone() -> None:
    lanes = taken(np.arange(5, dtype=np.int32), [1.0] * 5, window=5)
    for other in (0, 1, 3):
        assert not lanes.songs[other].any()
        assert not lanes.reach[other].any()
        assert lanes.length[other] == 0


def pairs_of_lane(reaches: Sequence[int], *, is_skip_gram: bool) -> list[tuple[int, list[int]]]:
    """All pairs that a lane comes to: the centre's place, and those of its context songs."""
    lanes = lanes_for(max(1, len(reaches)))
    lanes.reach[1, : len(reaches)] = reaches
    lanes.length[1], lanes.centre[1] = len(reaches), -1
    found: list[tuple[int, list[int]]] = []
    while next_pair(lanes, 1, is_skip_gram):
        centre, context, end = int(lanes.centre[1]), int(lanes.context[1]), int(lanes.context_end[1])
        places = [context] if is_skip_gram else [place for place in range(context, end) if place != centre]
        found.append((centre, places))
    assert not next_pair(lanes, 1, is_skip_gram)  # and at the end it stays
    return found


def pairs_by_gensim(reaches: Sequence[int], *, is_skip_gram: bool) -> list[tuple[int, list[int]]]:
    """As its `word2vec_inner.pyx` walks: places i with window j to k, but for i itself."""
    found: list[tuple[int, list[int]]] = []
    for i, reach in enumerate(reaches):
        context = [j for j in range(max(0, i - reach), min(len(reaches), i + reach + 1)) if j != i]
        if is_skip_gram:
            found.extend((i, [j]) for j in context)
        elif context:
            found.append((i, context))
    return found


@pytest.mark.parametrize("is_skip_gram", [True, False], ids=["skip_gram", "cbow"])
@pytest.mark.parametrize("reaches", [[], [1], [9], [1, 1], [1] * 8, [40] * 8, [3, 1, 2, 1, 5]], ids=str)
def test_pairs_are_those_of_gensims_loop(reaches: list[int], is_skip_gram: bool) -> None:
    assert pairs_of_lane(reaches, is_skip_gram=is_skip_gram) == pairs_by_gensim(reaches, is_skip_gram=is_skip_gram)


@given(reaches=st.lists(st.integers(1, 12), max_size=30), is_skip_gram=st.booleans())
@settings(deadline=None)
def test_pairs_of_any_reaches_are_those_of_gensims_loop(reaches: list[int], is_skip_gram: bool) -> None:
    assert pairs_of_lane(reaches, is_skip_gram=is_skip_gram) == pairs_by_gensim(reaches, is_skip_gram=is_skip_gram)


@pytest.mark.parametrize(("alpha", "min_alpha"), [(0.1, 1e-4), (1e-4, 1e-4), (1e-6, 1e-6), (1.0, 1e-4)])
def test_rate_falls_linearly_over_a_share(alpha: float, min_alpha: float) -> None:
    settings_of_run = SETTINGS._replace(alpha=alpha, min_alpha=min_alpha)
    share = Share(10, 30, progress=0.5, progress_at_end=0.75, plays_per_rate=100)
    rates = [rate_at(share, settings_of_run, session) for session in (10, 20, 30)]
    expected = [alpha * (1 - progress) + min_alpha * progress for progress in (0.5, 0.625, 0.75)]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
