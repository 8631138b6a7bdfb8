"""What a player is recommended, by a model whose geometry is known, and with plays in a real database."""

from dataclasses import replace

import numpy as np
import pytest

from app.domain.errors import InvalidRequest
from app.domain.recommending import HeardSong, RecommendationOptions
from app.domain.serving import Song
from app.services.histories import DATABASE_PAUSE_S
from tests.fakes.live_models import BruteForceModel
from tests.services.player import N_SONGS, Player, Units, angle_model, heard, ids, play


class TestRecommendations:
    def test_a_user_of_the_dataset_gets_the_songs_nearest_to_those_heard(self, units: Units) -> None:
        answer = Player(units, model=angle_model(u=[heard("s4", 1), heard("s6", 1)])).recommendations("u", k=3)

        assert ids(answer) == ["s5", "s3", "s7"]
        assert (answer.fallback, answer.reason, answer.history, answer.n_plays_used) == (None, None, "complete", 2)
        assert (answer.user_id, answer.model_id, answer.generation) == ("u", "mdl_a", 1)

    def test_scores_are_inner_products_with_the_recency_weighted_mean(self, units: Units) -> None:
        model = angle_model(u=[heard("s0", 30), heard("s9", 0)])
        answer = Player(units, model=model).recommendations("u", k=1, half_life_days=30.0)

        rows = model.query_rows(np.array([0, 9]))
        mean = (0.5 * rows[0] + 1.0 * rows[1]) / 1.5
        expected = float(mean @ model.query_rows(np.array([7]))[0])
        assert ids(answer) == ["s7"]
        assert answer.recommendations[0].score == pytest.approx(expected, abs=1e-6)

    def test_a_short_half_life_lets_only_the_last_song_speak(self, units: Units) -> None:
        model = angle_model(u=[heard("s0", 2), heard("s9", 1)])

        assert ids(Player(units, model=model).recommendations("u", k=2, half_life_days=0.01)) == ["s8", "s10"]

    def test_a_play_that_was_sent_shows_in_the_next_request(self, units: Units) -> None:
        serving = Player(units, model=angle_model(u=[heard("s1", 300)]))
        before = ids(serving.recommendations("u", k=1))

        serving.add_plays([play("e1", "s9")])

        assert before == ["s0"]
        assert ids(serving.recommendations("u", k=1)) == ["s8"]

    def test_plays_sent_late_and_out_of_order_give_the_same_answer(self, units: Units) -> None:
        serving = Player(units)
        plays = [("s2", 9.0), ("s3", 5.0), ("s8", 1.0)]
        for number, (song_id, days_ago) in enumerate(plays):
            serving.add_plays([play(f"a{number}", song_id, days_ago=days_ago, user_id="in order")])
        for number, (song_id, days_ago) in enumerate(reversed(plays)):
            serving.add_plays([play(f"b{number}", song_id, days_ago=days_ago, user_id="backwards")])

        one, other = serving.recommendations("in order"), serving.recommendations("backwards")

        assert replace(one, user_id="") == replace(other, user_id="")

    def test_a_play_both_imported_and_sent_counts_once(self, units: Units) -> None:
        serving = Player(units, model=angle_model(u=[heard("s4", 1)]))
        serving.add_plays([play("e1", "s4", days_ago=1)])

        assert serving.recommendations("u").n_plays_used == 1

    def test_only_the_newest_plays_make_the_profile(self, units: Units) -> None:
        model = angle_model(u=[heard("s0", 3), heard("s1", 2), heard("s9", 1)])
        answer = Player(units, model=model).recommendations("u", k=1, history_length=1)

        assert (ids(answer), answer.n_plays_used) == (["s8"], 1)

    def test_older_favourites_come_back_once_other_songs_were_heard(self, units: Units) -> None:
        model = angle_model(u=[heard("s5", 3), heard("s4", 2), heard("s6", 1)])
        options = RecommendationOptions(recent_songs_excluded=2)

        assert ids(Player(units, model=model, options=options).recommendations("u", k=1)) == ["s5"]

    def test_a_user_who_heard_every_song_lately_is_recommended_none(self, units: Units) -> None:
        answer = Player(units, model=angle_model(u=[heard(f"s{row}") for row in range(N_SONGS)])).recommendations("u")

        assert (answer.recommendations, answer.fallback) == ([], None)

    def test_an_unknown_user_gets_the_popular_songs_and_is_told(self, units: Units) -> None:
        answer = Player(units).recommendations("stranger", k=3)

        assert ids(answer) == ["s0", "s1", "s2"]
        assert (answer.fallback, answer.reason, answer.n_plays_used) == ("popular", "unknown_user", 0)
        assert [song.score for song in answer.recommendations] == [None] * 3

    def test_a_user_of_songs_that_the_model_does_not_know_gets_the_popular_ones(self, units: Units) -> None:
        serving = Player(units)
        serving.add_plays([play("e1", "brand new"), play("e2", "brand new", days_ago=1)])

        answer = serving.recommendations("u", k=1)

        assert (answer.fallback, answer.reason) == ("popular", "no_known_songs")
        assert answer.unknown_song_ids == ["brand new"]

    def test_a_user_whose_songs_the_model_does_not_know_is_not_called_unknown(self, units: Units) -> None:
        assert Player(units, model=angle_model(u=[])).recommendations("u").reason == "no_known_songs"

    def test_songs_that_cancel_out_fall_back_to_popular_ones_not_heard(self, units: Units) -> None:
        songs = [Song(song_id=f"s{row}", title=None, artist=None, n_plays=9 - row) for row in range(3)]
        vectors = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
        model = BruteForceModel("mdl_a", songs, vectors, histories={"u": [heard("s0"), heard("s1")]})

        answer = Player(units, model=model).recommendations("u")

        assert (ids(answer), answer.fallback, answer.reason) == (["s2"], "popular", "history_cancels_out")

    def test_with_the_database_away_the_dataset_answers_and_says_so(self, units: Units) -> None:
        serving = Player(units, model=angle_model(u=[heard("s4", 1)]))
        serving.add_plays([play("e1", "s9")])
        units.is_away = True

        answer = serving.recommendations("u", k=1)

        assert (ids(answer), answer.history, answer.fallback) == (["s3"], "dataset_only", None)

    def test_a_database_found_away_is_left_alone_for_a_while(self, units: Units) -> None:
        now_s = [100.0]
        serving = Player(units, monotonic=lambda: now_s[0])
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False
        n_asked = units.n_asked

        assert serving.recommendations("u").history == "dataset_only"
        assert units.n_asked == n_asked
        now_s[0] += DATABASE_PAUSE_S
        assert serving.recommendations("u").history == "complete"

    def test_a_play_that_was_stored_shows_at_once_after_an_outage(self, units: Units) -> None:
        serving = Player(units)
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False

        serving.add_plays([play("e1", "s9")])

        assert (serving.recommendations("u").history, serving.recommendations("u").n_plays_used) == ("complete", 1)

    @pytest.mark.parametrize("user_id", ["", "u" * 257, "a\0b"])
    def test_what_cannot_be_a_user_is_refused(self, units: Units, user_id: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommendations(user_id)

        assert caught.value.pointer == "user_id"

    @pytest.mark.parametrize("changes", [{"k": 0}, {"half_life_days": 0.0}, {"history_length": 0}])
    def test_bounds(self, units: Units, changes: dict[str, int]) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommendations("u", **changes)  # type: ignore[arg-type]

        assert caught.value.pointer in changes


class TestRecommendationsFor:
    def test_they_are_those_of_a_user_with_that_history(self, units: Units) -> None:
        plays = [heard("s4", 40), heard("s8", 1), heard("s5", 12)]
        serving = Player(units, model=angle_model(u=plays))

        explicit, stored = serving.recommendations_for(plays), serving.recommendations("u")

        assert explicit.recommendations == stored.recommendations
        assert (explicit.history, explicit.user_id) == ("request", None)

    def test_they_need_no_database(self, units: Units) -> None:
        units.is_away = True

        assert ids(Player(units).recommendations_for([HeardSong("s4")], k=1)) == ["s3"]

    def test_songs_that_the_model_does_not_know_are_named_once(self, units: Units) -> None:
        history = [HeardSong("x"), HeardSong("s4"), HeardSong("y"), HeardSong("x", 5)]
        answer = Player(units).recommendations_for(history)

        assert (answer.unknown_song_ids, answer.n_plays_used, answer.fallback) == (["x", "y"], 1, None)

    def test_nothing_but_unknown_songs_falls_back_to_popular_ones(self, units: Units) -> None:
        answer = Player(units).recommendations_for([HeardSong("x")], k=1)

        assert (ids(answer), answer.fallback, answer.reason) == (["s0"], "popular", "no_known_songs")

    @pytest.mark.parametrize("n_plays", [0, 1001])
    def test_a_history_has_between_1_and_1000_plays(self, units: Units, n_plays: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommendations_for([HeardSong("s1")] * n_plays)

        assert caught.value.pointer == "/history"
