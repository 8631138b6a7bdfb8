"""Plays as they are sent, and as histories are made of them."""

import math

import numpy as np
import pytest

from app.domain.errors import InvalidRequest
from app.domain.plays import EventType, HeardSong, Play, heard_plays, recent_plays


def test_a_play_is_a_play_unless_it_says_otherwise() -> None:
    play = Play(event_id="e", user_id="u", song_id="s", played_at_ms=0)

    assert (play.event_type, play.duration_s, play.attribution) == (EventType.PLAY, None, None)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.inf, math.nan])
def test_a_song_takes_time(duration_s: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Play(event_id="e", user_id="u", song_id="s", played_at_ms=0, duration_s=duration_s)

    assert caught.value.pointer == "/duration_s"


def test_rows_become_columns_in_which_nothing_known_is_nan() -> None:
    plays = recent_plays([("a", 7, "like", None, 60.0), ("b", 5, "play", 30.0, None)], is_whole=True)

    assert (plays.song_ids, plays.played_at_ms.tolist(), plays.events.tolist()) == (["a", "b"], [7, 5], [2, 0])
    np.testing.assert_array_equal(plays.seconds_streamed, [np.nan, 30.0])
    np.testing.assert_array_equal(plays.durations_s, [60.0, np.nan])


def test_the_newest_of_more_are_not_the_whole() -> None:
    plays = recent_plays([("a", 7, "play", None, None), ("b", 5, "play", None, None)], is_whole=True)

    assert (plays.newest(1).song_ids, plays.newest(1).is_whole) == (["a"], False)
    assert plays.newest(2) is plays


def test_no_plays_are_columns_too() -> None:
    assert len(recent_plays([], is_whole=True)) == 0


def test_a_song_heard_without_an_instant_was_heard_now() -> None:
    plays = heard_plays([HeardSong("a"), HeardSong("b", 3, EventType.SKIP)], now_ms=9)

    assert (plays.played_at_ms.tolist(), plays.events.tolist()) == ([9, 3], [0, 1])
