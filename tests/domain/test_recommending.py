"""A user's vector: which plays make it, how much each weighs, and what is left out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.plays import LATEST_MS, EventType, Play, RecentPlays, check_id, recent_plays
from app.domain.recommending import (
    MAX_HISTORY_LENGTH,
    MILLISECONDS_PER_DAY,
    History,
    RecommendationOptions,
    Wishes,
    contributions,
    epoch_ms,
    last_session,
    merged,
    not_heard,
    profile,
    recency_weights,
    segment_of_user,
    session_weights,
    strengths,
    wished,
)
from tests.values import NOON

DAY = int(MILLISECONDS_PER_DAY)


def history(*plays: tuple[int, int]) -> History:
    table = np.array(plays, dtype=np.int64).reshape(-1, 2)
    return History(table[:, 0], table[:, 1])


def plays_of(value: History) -> list[tuple[int, int]]:
    return list(zip(value.songs.tolist(), value.played_at_ms.tolist(), strict=True))


def play(**changes: object) -> Play:
    fields: dict[str, object] = {"event_id": "e", "user_id": "u", "song_id": "s", "played_at_ms": 0}
    return Play(**(fields | changes))  # type: ignore[arg-type]


class TestRecencyWeights:
    def test_a_play_one_half_life_older_weighs_half(self) -> None:
        weights = recency_weights(np.array([70 * DAY, 100 * DAY]), now_ms=100 * DAY, half_life_days=30.0)

        assert weights.tolist() == [0.5, 1.0]

    def test_they_are_in_proportion_to_the_formula(self) -> None:
        played_at_ms = np.array([3, 11, 40, 41]) * DAY
        weights = recency_weights(played_at_ms, now_ms=50 * DAY, half_life_days=7.0)

        formula = 2.0 ** (-(50 - np.array([3, 11, 40, 41])) / 7.0)
        np.testing.assert_allclose(weights / weights.sum(), formula / formula.sum(), rtol=1e-12)

    def test_a_play_from_the_future_weighs_as_one_of_now(self) -> None:
        weights = recency_weights(np.array([50 * DAY, 90 * DAY]), now_ms=50 * DAY, half_life_days=1.0)

        assert weights.tolist() == [1.0, 1.0]

    def test_a_history_that_is_old_throughout_keeps_its_proportions(self) -> None:
        weights = recency_weights(np.array([0, DAY]), now_ms=50_000 * DAY, half_life_days=1.0)

        assert weights.tolist() == [0.5, 1.0]

    def test_no_plays_have_no_weights(self) -> None:
        assert len(recency_weights(np.empty(0, dtype=np.int64), now_ms=0, half_life_days=1.0)) == 0

    @given(
        st.lists(st.integers(0, LATEST_MS), min_size=1, max_size=50),
        st.integers(0, LATEST_MS),
        st.floats(1e-3, 36_500.0),
    )
    def test_they_lie_between_0_and_1_and_the_newest_weighs_most(
        self, times: list[int], now_ms: int, half_life_days: float
    ) -> None:
        weights = recency_weights(np.array(times), now_ms=now_ms, half_life_days=half_life_days)

        assert ((weights >= 0) & (weights <= 1)).all()
        assert weights[int(np.argmax(times))] == 1.0


class TestProfile:
    def test_it_is_the_weighted_mean_of_the_rows(self) -> None:
        rows = np.array([[1, 0], [0, 1]], dtype=np.float32)

        mean = profile(rows, np.array([3.0, 1.0]))

        assert mean is not None
        assert mean.dtype == np.float32
        assert mean.tolist() == [0.75, 0.25]

    def test_it_does_not_change_when_all_weights_are_scaled_alike(self) -> None:
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(5, 3)).astype(np.float32)
        weights = rng.random(5)

        one, other = profile(rows, weights), profile(rows, weights * 7)

        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one, other, rtol=1e-6)

    def test_no_rows_have_none(self) -> None:
        assert profile(np.empty((0, 3), dtype=np.float32), np.empty(0)) is None

    def test_rows_that_cancel_out_have_none(self) -> None:
        rows = np.array([[0.6, 0.8], [-0.6, -0.8]], dtype=np.float32)

        assert profile(rows, np.array([1.0, 1.0])) is None


class TestMerged:
    def test_the_newest_come_first_whatever_the_order_they_arrive_in(self) -> None:
        assert plays_of(merged([history((1, 10), (2, 30)), history((3, 20))], length=10)) == [(2, 30), (3, 20), (1, 10)]

    def test_the_same_song_at_the_same_instant_counts_once(self) -> None:
        both = merged([history((1, 10), (2, 10)), history((1, 10), (1, 11))], length=10)

        assert plays_of(both) == [(1, 11), (1, 10), (2, 10)]

    def test_only_the_newest_are_kept(self) -> None:
        assert plays_of(merged([history((1, 10), (2, 30), (3, 20))], length=2)) == [(2, 30), (3, 20)]

    def test_a_duplicate_takes_no_place(self) -> None:
        assert plays_of(merged([history((1, 30)), history((1, 30), (2, 20))], length=2)) == [(1, 30), (2, 20)]

    def test_nothing_merges_to_nothing(self) -> None:
        assert len(merged([], length=5)) == 0

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=30), st.integers(1, 40))
    def test_it_is_the_sorted_set_of_plays(self, plays: list[tuple[int, int]], length: int) -> None:
        half = len(plays) // 2
        both = merged([history(*plays[:half]), history(*plays[half:])], length=length)

        assert plays_of(both) == sorted(set(plays), key=lambda heard: (-heard[1], heard[0]))[:length]


class TestNotHeard:
    def test_songs_heard_and_padding_are_left_out_and_the_order_stays(self) -> None:
        scored = not_heard(
            np.array([4, 2, 7, 1, -1]),
            np.array([0.75, 0.5, 0.25, 0.125, -np.inf], dtype=np.float32),
            heard=np.array([2]),
            k=10,
        )

        assert scored == [(4, 0.75), (7, 0.25), (1, 0.125)]

    def test_at_most_k_are_kept(self) -> None:
        scored = not_heard(np.arange(5), np.ones(5, dtype=np.float32), heard=np.array([0]), k=2)

        assert scored == [(1, 1.0), (2, 1.0)]


class TestBounds:
    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"k": 0}, "k"),
            ({"k": 101}, "k"),
            ({"half_life_days": 0.0}, "half_life_days"),
            ({"half_life_days": math.nan}, "half_life_days"),
            ({"half_life_days": math.inf}, "half_life_days"),
            ({"history_length": 0}, "history_length"),
            ({"history_length": MAX_HISTORY_LENGTH + 1}, "history_length"),
            ({"recent_songs_excluded": -1}, "recent_songs_excluded"),
        ],
    )
    def test_options_out_of_range_are_refused_by_name(self, changes: dict[str, float], pointer: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            RecommendationOptions(**changes)  # type: ignore[arg-type]

        assert caught.value.pointer == pointer

    def test_the_ends_of_each_range_are_taken(self) -> None:
        for k, length in ((1, 1), (100, MAX_HISTORY_LENGTH)):
            options = RecommendationOptions(
                k=k, half_life_days=36_500.0, history_length=length, recent_songs_excluded=0
            )
            assert options.k == k

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"event_id": ""}, "/event_id"),
            ({"user_id": "u" * 257}, "/user_id"),
            ({"song_id": "a\0b"}, "/song_id"),
            ({"song_id": "\ud800"}, "/song_id"),
            ({"played_at_ms": -1}, "/played_at"),
            ({"played_at_ms": LATEST_MS + 1}, "/played_at"),
            ({"seconds_streamed": -0.5}, "/seconds_streamed"),
            ({"seconds_streamed": math.nan}, "/seconds_streamed"),
            ({"seconds_streamed": math.inf}, "/seconds_streamed"),
        ],
    )
    def test_a_play_that_cannot_be_is_refused_by_field(self, changes: dict[str, object], pointer: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            play(**changes)

        assert caught.value.pointer == pointer

    def test_the_longest_ids_and_any_script_are_taken(self) -> None:
        check_id("ü" * 256, pointer="id")
        check_id("曲 🎵", pointer="id")

        assert play(played_at_ms=LATEST_MS, seconds_streamed=0.0).played_at_ms == LATEST_MS


def sent(*plays: tuple[str, float | None, float | None]) -> RecentPlays:
    """Plays of events, with seconds streamed and durations."""
    rows = [("s", DAY - place, event, seconds, duration) for place, (event, seconds, duration) in enumerate(plays)]
    return recent_plays(rows, is_whole=True)


class TestStrengths:
    def test_events_weigh_as_the_options_say(self) -> None:
        plays = sent(*((event, None, None) for event in EventType))
        unknown = np.full(len(plays), np.nan)

        found = strengths(plays, durations_s=unknown, options=RecommendationOptions())

        assert found.tolist() == [1.0, 0.0, 2.0, -1.0, 2.0, 2.0]

    def test_a_play_weighs_the_share_that_was_heard_at_most_one(self) -> None:
        plays = sent(("play", 30.0, 120.0), ("play", 500.0, 120.0), ("play", 30.0, None), ("play", None, 120.0))
        durations = np.array([999.0, 999.0, 60.0, 60.0])

        found = strengths(plays, durations_s=durations, options=RecommendationOptions())

        assert found.tolist() == [0.25, 1.0, 0.5, 1.0]

    def test_half_a_completion_weight_takes_half_away(self) -> None:
        options = RecommendationOptions(completion_weight=0.5)

        assert strengths(sent(("play", 0.0, 9.0)), durations_s=np.array([np.nan]), options=options).tolist() == [0.5]

    def test_no_completion_weight_leaves_every_play_whole(self) -> None:
        options = RecommendationOptions(completion_weight=0.0)

        assert strengths(sent(("play", 0.0, 9.0)), durations_s=np.array([np.nan]), options=options).tolist() == [1.0]

    def test_a_like_is_one_however_little_was_heard(self) -> None:
        found = strengths(sent(("like", 1.0, 100.0)), durations_s=np.array([np.nan]), options=RecommendationOptions())

        assert found.tolist() == [2.0]


class TestWishes:
    def test_what_is_absent_or_none_stays(self) -> None:
        options = RecommendationOptions(half_life_days=7.0)

        assert wished(options, {}) is options
        assert wished(options, {"k": 3, "half_life_days": None}) == RecommendationOptions(k=3, half_life_days=7.0)

    def test_events_that_are_not_named_keep_their_weights(self) -> None:
        found = wished(RecommendationOptions(), {"event_weights": {EventType.SKIP: -0.5}})

        assert found.event_weights == (1.0, -0.5, 2.0, -1.0, 2.0, 2.0)

    @pytest.mark.parametrize(
        ("wishes", "pointer"),
        [
            ({"event_weights": {EventType.LIKE: 10.5}}, "event_weights/like"),
            ({"event_weights": {EventType.PLAY: math.nan}}, "event_weights/play"),
            ({"completion_weight": 1.1}, "completion_weight"),
            ({"mmr_lambda": -0.1}, "mmr_lambda"),
            ({"exclude_seen": 0}, "exclude_seen"),
            ({"exclude_seen": 36_501}, "exclude_seen"),
        ],
    )
    def test_bounds(self, wishes: Wishes, pointer: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            wished(RecommendationOptions(), wishes)

        assert caught.value.pointer == pointer


class TestHistories:
    def test_of_two_reports_of_one_event_that_of_the_later_history_stays(self) -> None:
        imported = history((4, 10))
        told = History(np.array([4]), np.array([10]), np.array([0], dtype=np.uint8), np.array([0.25]))

        found = merged([imported, told], length=5)

        assert found.strengths is not None
        assert (len(found), found.strengths.tolist()) == (1, [0.25])

    def test_two_events_of_one_instant_are_two(self) -> None:
        liked = History(np.array([4]), np.array([10]), np.array([2], dtype=np.uint8), np.array([2.0]))

        found = merged([history((4, 10)), liked], length=5)

        assert found.events is not None
        assert found.events.tolist() == [0, 2]

    def test_those_since_an_instant_are_later_than_it(self) -> None:
        told = History(np.array([4, 5]), np.array([10, 11]), np.array([0, 2], dtype=np.uint8), np.array([1.0, 2.0]))
        found = told.since(10)

        assert found.events is not None
        assert found.strengths is not None
        assert (found.songs.tolist(), found.events.tolist(), found.strengths.tolist()) == ([5], [2], [2.0])
        assert plays_of(history((4, 10), (5, 11)).since(10)) == [(5, 11)]

    def test_plays_may_weigh_otherwise(self) -> None:
        plays = history((4, 10))

        assert plays.weighing(1.0) is plays
        found = plays.weighing(0.5)
        assert found.strengths is not None
        assert found.strengths.tolist() == [0.5]

    def test_a_session_ends_where_more_than_half_an_hour_is_silent(self) -> None:
        minute = 60_000
        whole = history((1, 100 * minute), (2, 70 * minute), (3, 39 * minute))

        assert last_session(whole).songs.tolist() == [1, 2]

    def test_a_history_without_silence_is_one_session_of_bounded_length(self) -> None:
        assert len(last_session(history(*((1, -second) for second in range(150))))) == 100


class TestContributions:
    @given(seed=st.integers(0, 1000), n=st.integers(1, 20))
    def test_they_add_up_to_the_score(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(n, 4)).astype(np.float32)
        weights = rng.uniform(-1, 2, n)
        songs = rng.normal(size=(3, 4)).astype(np.float32)
        vector = profile(rows, weights)
        assert vector is not None

        found = contributions(rows, weights, songs)

        assert found.shape == (3, n)
        np.testing.assert_allclose(found.sum(axis=1), songs @ vector, rtol=1e-4, atol=1e-5)

    def test_a_dislike_takes_away(self) -> None:
        rows = np.array([[1, 0], [0, 1]], dtype=np.float32)

        found = contributions(rows, np.array([1.0, -1.0]), np.array([[0.0, 1.0]], dtype=np.float32))

        assert found.tolist() == [[0.0, -0.5]]


class TestProfileOfEvents:
    def test_events_that_weigh_nothing_have_no_direction(self) -> None:
        assert profile(np.ones((2, 2), dtype=np.float32), np.zeros(2)) is None

    def test_a_profile_is_no_longer_than_one(self) -> None:
        vector = profile(np.array([[1, 0], [0, 1]], dtype=np.float32), np.array([2.0, -1.0]))

        assert vector is not None
        np.testing.assert_allclose(vector, [2 / 3, -1 / 3], rtol=1e-6)


class TestSegmentOfUser:
    @pytest.mark.parametrize(
        ("segments", "expected"),
        [([], None), ([-1, -1], None), ([1, 0, 0], 0), ([1, 0, 0, 1], 1), ([-1, -1, -1, 2], 2)],
    )
    def test_it_is_the_one_that_most_plays_have_the_last_heard_of_equals(
        self, segments: list[int], expected: int | None
    ) -> None:
        assert segment_of_user(np.array(segments, dtype=np.int32)) == expected


def test_an_instant_in_milliseconds() -> None:
    assert epoch_ms(NOON) == 1_767_268_800_000


def test_a_song_of_a_session_weighs_half_of_the_one_five_songs_later() -> None:
    assert session_weights(6)[[0, 5]].tolist() == [1.0, 0.5]
