"""A user's vector: which plays make it, how much each weighs, and what is left out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.recommending import (
    LATEST_MS,
    MAX_HISTORY_LENGTH,
    MILLISECONDS_PER_DAY,
    History,
    Play,
    RecommendationOptions,
    check_id,
    merged,
    not_heard,
    profile,
    recency_weights,
)

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
        rows, scores = not_heard(
            np.array([4, 2, 7, 1, -1]),
            np.array([0.9, 0.8, 0.7, 0.6, -np.inf], dtype=np.float32),
            heard=np.array([2]),
            k=10,
        )

        assert rows.tolist() == [4, 7, 1]
        assert scores.tolist() == pytest.approx([0.9, 0.7, 0.6])

    def test_at_most_k_are_kept(self) -> None:
        rows, _ = not_heard(np.arange(5), np.ones(5, dtype=np.float32), heard=np.array([0]), k=2)

        assert rows.tolist() == [1, 2]


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
