"""What a player is recommended, by a model whose geometry is known, and with plays in a real database."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.attribution import parsed
from app.domain.embedding import Matrix
from app.domain.errors import InvalidRequest, Unavailable
from app.domain.filtering import SongFilter
from app.domain.plays import EventType, HeardSong, Play
from app.domain.recommending import RecommendationOptions, Seen, Wishes
from app.domain.serving import Song, UserRefused
from app.services.histories import DATABASE_PAUSE_S
from tests.fakes.live_models import BruteForceModel
from tests.services.player import N_SONGS, NOW_MS, Player, Units, angle_model, heard, ids, play


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
        assert answer.recommendations[0]["score"] == pytest.approx(expected, abs=1e-6)

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

        assert replace(one, user_id="", attribution="") == replace(other, user_id="", attribution="")

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
        assert [song["score"] for song in answer.recommendations] == [None] * 3

    def test_a_user_of_songs_that_the_model_does_not_know_gets_the_popular_ones(self, units: Units) -> None:
        serving = Player(units)
        serving.add_plays([play("e1", "brand new"), play("e2", "brand new", days_ago=1)])

        answer = serving.recommendations("u", k=1)

        assert (answer.fallback, answer.reason) == ("popular", "no_known_songs")
        assert answer.unknown_song_ids == ["brand new"]

    def test_a_user_whose_songs_the_model_does_not_know_is_not_called_unknown(self, units: Units) -> None:
        assert Player(units, model=angle_model(u=[])).recommendations("u").reason == "no_known_songs"

    def test_songs_that_cancel_out_fall_back_to_the_last_session_of_the_user(self, units: Units) -> None:
        songs = [Song(song_id=f"s{row}", title=None, artist=None, n_plays=9 - row) for row in range(3)]
        vectors = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
        model = BruteForceModel("mdl_a", songs, vectors, histories={"u": [heard("s0"), heard("s1")]})

        answer = Player(units, model=model).recommendations("u")

        assert (ids(answer), answer.fallback, answer.reason) == (["s2"], "session", "history_cancels_out")

    def test_with_the_database_away_the_dataset_answers_and_says_so(self, units: Units) -> None:
        serving = Player(units, model=angle_model(u=[heard("s4", 1)]))
        serving.add_plays([play("e1", "s9")])
        units.is_away = True

        answer = serving.recommendations("u", k=1)

        assert (ids(answer), answer.history, answer.fallback) == (["s3"], "dataset_only", None)

    def test_a_database_found_away_is_left_alone_for_a_while(self, units: Units) -> None:
        now_s = [100.0]
        serving = Player(units, model=angle_model(u=[heard("s4")]), monotonic=lambda: now_s[0])
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False
        n_asked = units.n_asked

        assert serving.recommendations("u").history == "dataset_only"
        assert units.n_asked == n_asked
        now_s[0] += DATABASE_PAUSE_S
        assert serving.recommendations("u").history == "complete"

    def test_a_play_that_was_stored_shows_at_once_after_an_outage(self, units: Units) -> None:
        serving = Player(units, model=angle_model(u=[heard("s4", 1)]))
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False

        serving.add_plays([play("e1", "s9")])

        assert (serving.recommendations("u").history, serving.recommendations("u").n_plays_used) == ("complete", 2)

    def test_with_the_database_away_a_user_of_whom_nothing_else_is_known_is_refused(self, units: Units) -> None:
        units.is_away = True

        with pytest.raises(Unavailable):
            Player(units).recommendations("stranger")

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


class TestEvents:
    def test_a_skip_draws_nothing_in_but_is_not_recommended_again(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([play("e1", "s1", days_ago=1), skipped("e2", "s10")])

        answer = player.recommendations("u", k=12)

        assert ids(answer)[0] == "s0"
        assert "s10" not in ids(answer)
        assert answer.n_plays_used == 1

    def test_a_dislike_pushes_away(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([play("e1", "s5"), replace(play("e2", "s11"), event_type=EventType.DISLIKE)])

        answer = player.recommendations("u", k=12)

        assert ids(answer)[-1] == "s10"

    def test_a_request_weighs_events_as_it_likes(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([play("e1", "s1"), skipped("e2", "s10")])

        answer = player.recommendations("u", k=1, event_weights={EventType.PLAY: 0.0, EventType.SKIP: 1.0})

        assert ids(answer) == ["s9"]

    def test_nothing_but_skips_falls_back_to_popular_songs(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([skipped("e1", "s0")])

        answer = player.recommendations("u", k=1)

        assert (ids(answer), answer.fallback, answer.reason) == (["s1"], "popular", "history_cancels_out")

    def test_a_song_that_was_left_early_weighs_less_by_the_songs_own_length(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([replace(play("e1", "s0"), seconds_streamed=1.0), play("e2", "s9")])  # of 100 seconds

        assert ids(player.recommendations("u", k=1)) == ["s8"]
        assert ids(player.recommendations("u", k=1, completion_weight=0.0)) == ["s5"]


def skipped(event_id: str, song_id: str) -> Play:
    return replace(play(event_id, song_id), event_type=EventType.SKIP)


class TestSeen:
    @pytest.mark.parametrize(
        ("seen", "left_out"),
        [("recent", {"s4"}), ("none", set()), ("all", {"s3", "s4", "s6"}), (5, {"s4", "s6"})],
    )
    def test_songs_heard_are_left_out_as_the_request_says(self, units: Units, seen: Seen, left_out: set[str]) -> None:
        model = angle_model(u=[heard("s3", 9), heard("s4", 1)])
        player = Player(units, model=model, options=RecommendationOptions(recent_songs_excluded=1))
        player.add_plays([play("e1", "s6", days_ago=4)])

        found = ids(player.recommendations("u", k=12, exclude_seen=seen))

        assert {f"s{row}" for row in range(N_SONGS)} - set(found) == left_out

    def test_all_songs_heard_are_more_than_those_of_the_profile(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([play(f"e{row}", f"s{row}", days_ago=row) for row in range(5)])

        found = ids(player.recommendations("u", k=12, history_length=2, exclude_seen="all"))

        assert set(found).isdisjoint({f"s{row}" for row in range(5)})

    def test_a_window_that_ends_within_the_profile_asks_no_more(self, units: Units) -> None:
        player = Player(units)
        player.add_plays([play(f"e{row}", f"s{row}", days_ago=row) for row in range(5)])
        before = units.n_asked

        found = ids(player.recommendations("u", k=12, history_length=3, exclude_seen=1))

        assert units.n_asked == before + 1
        assert set(found) == {f"s{row}" for row in range(2, N_SONGS)}

    def test_songs_may_be_excluded_by_name(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s4", 1)]))

        assert ids(player.recommendations("u", k=1, wanted=SongFilter.of({}, exclude=["s3", "nowhere"]))) == ["s5"]
        assert ids(player.recommendations("stranger", k=2, wanted=SongFilter.of({}, exclude=["s0"]))) == ["s1", "s2"]

    def test_no_more_than_a_thousand_are_excluded(self, units: Units) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommendations("u", wanted=SongFilter(exclude=("x",) * 1001))

        assert caught.value.pointer == "exclude"

    @pytest.mark.parametrize(("seen", "left_out"), [("all", {"s4", "s5"}), ("none", set()), (5, {"s4"})])
    def test_of_a_history_in_the_request_too(self, units: Units, seen: Seen, left_out: set[str]) -> None:
        given = [heard("s5", 9), heard("s4", 1)]

        found = ids(Player(units).recommendations_for(given, k=12, exclude_seen=seen))

        assert {f"s{row}" for row in range(N_SONGS)} - set(found) == left_out


class TestSessions:
    def test_the_last_song_of_a_session_weighs_most(self, units: Units) -> None:
        player = Player(units)

        answer = player.recommendations_in(["s1", "s9"], k=1)

        rows = angle_model().query_rows(np.arange(N_SONGS))
        earlier = 2 ** (-1 / 5)
        mean = (earlier * rows[1] + rows[9]) / (earlier + 1)
        assert answer.recommendations[0]["score"] == pytest.approx(float(mean @ rows[5]), abs=1e-5)
        assert ids(answer) == ["s5"]
        assert (answer.steps[0]["basis"], answer.fallback, answer.n_plays_used) == ("session", None, 2)

    def test_a_song_heard_twice_weighs_twice(self, units: Units) -> None:
        assert Player(units).recommendations_in(["s1", "s1", "s9"], k=1).n_plays_used == 3

    def test_nothing_but_unknown_songs_falls_back(self, units: Units) -> None:
        answer = Player(units).recommendations_in(["x"], k=1)

        assert (ids(answer), answer.fallback, answer.reason) == (["s0"], "popular", "no_known_songs")
        assert answer.unknown_song_ids == ["x"]

    @pytest.mark.parametrize("n_songs", [0, 101])
    def test_a_session_has_between_1_and_100_songs(self, units: Units, n_songs: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommendations_in(["s1"] * n_songs)

        assert caught.value.pointer == "/session"

    def test_a_stored_user_by_the_last_session_alone(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s0", 0.5), heard("s9", 0.0)]))

        answer = player.recommendations("u", k=1, by="session")

        assert (ids(answer), answer.steps) == (["s8"], [{"basis": "session", "n_songs": 1}])


class TestFallback:
    def test_the_segments_popular_songs_come_before_all_others(self, units: Units) -> None:
        player = Player(units, model=angle_model(segment_by="language"))
        player.add_plays([skipped("e1", "s4"), skipped("e2", "s8")])

        answer = player.recommendations("u", k=12)

        assert answer.segment == "en"
        assert (answer.fallback, answer.reason) == ("segment_popular", "history_cancels_out")
        assert answer.steps == [{"basis": "segment_popular", "n_songs": 2}, {"basis": "popular", "n_songs": 8}]
        assert ids(answer) == ["s2", "s10", "s0", "s1", "s3", "s5", "s6", "s7", "s9", "s11"]
        assert {song["score"] for song in answer.recommendations} == {None}

    def test_what_a_search_leaves_open_is_filled_and_said(self, units: Units) -> None:
        model = Scarce("mdl_a", *parts(angle_model()), histories={"u": [heard("s4", 1)]})

        answer = Player(units, model=model).recommendations("u", k=4)

        assert ids(answer) == ["s3", "s5", "s0", "s1"]
        assert (answer.fallback, answer.reason) == (None, None)
        assert answer.steps == [{"basis": "profile", "n_songs": 2}, {"basis": "popular", "n_songs": 2}]

    def test_an_answer_names_the_segment_even_when_it_was_not_needed(self, units: Units) -> None:
        answer = Player(units, model=angle_model(segment_by="language", u=[heard("s1")])).recommendations("u")

        assert answer.segment == "fr"


def parts(model: BruteForceModel) -> tuple[list[Song], Matrix]:
    return model._songs, model._vectors


class Scarce(BruteForceModel):
    """A model whose index finds three songs and no more, as one of cells may."""

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows, scores = super().search(vector, k)
        rows[3:], scores[3:] = -1, -np.inf
        return rows, scores


class TestDiversity:
    def test_less_than_one_spreads_the_list(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s5")]))

        assert ids(player.recommendations("u", k=3)) == ["s4", "s6", "s3"]
        assert ids(player.recommendations("u", k=3, mmr_lambda=0.5)) != ["s4", "s6", "s3"]
        assert ids(player.recommendations("u", k=3, mmr_lambda=1.0)) == ["s4", "s6", "s3"]

    def test_it_is_maximal_marginal_relevance_by_cosine(self, units: Units) -> None:
        model = angle_model(u=[heard("s2", 1), heard("s7", 1)])
        answer = Player(units, model=model).recommendations("u", k=4, mmr_lambda=0.6)

        rows = model.query_rows(np.arange(N_SONGS))
        mean = (rows[2] + rows[7]) / 2
        relevance = rows @ mean / np.linalg.norm(mean)
        chosen: list[int] = []
        for _ in range(4):
            left = [row for row in range(N_SONGS) if row not in {2, 7, *chosen}]
            nearest = [max((float(rows[row] @ rows[other]) for other in chosen), default=0.0) for row in left]
            values = [0.6 * float(relevance[row]) - 0.4 * near for row, near in zip(left, nearest, strict=True)]
            chosen.append(left[int(np.argmax(values))])
        assert ids(answer) == [f"s{row}" for row in chosen]


class TestExplaining:
    def test_what_was_heard_adds_up_to_the_score(self, units: Units) -> None:
        model = angle_model(u=[heard(f"s{row % 11}", row) for row in range(30)])

        answer = Player(units, model=model).recommendations("u", k=3, explain=True, exclude_seen="none")

        for song in answer.recommendations:
            assert song["score"] is not None
            added = sum(reason["contribution"] for reason in song["because"]) + song["because_of_others"]
            assert added == pytest.approx(song["score"], abs=1e-5)
            assert len(song["because"]) == 10
            assert song["because_of_others"] != 0

    def test_the_song_that_is_nearest_and_newest_comes_first(self, units: Units) -> None:
        model = angle_model(u=[heard("s0", 60), heard("s9", 0), heard("s9", 1)])

        [song] = Player(units, model=model).recommendations("u", k=1, explain=True).recommendations

        assert [(reason["song_id"], reason["title"], reason["n_plays"]) for reason in song["because"]] == [
            ("s9", "Title 9", 2),
            ("s0", "Title 0", 1),
        ]

    def test_scores_are_those_without_it(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s4", 3), heard("s8", 1)]))
        plain, explained = player.recommendations("u"), player.recommendations("u", explain=True)

        assert ids(plain) == ids(explained)
        for one, other in zip(plain.recommendations, explained.recommendations, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)

    def test_nothing_draws_a_popular_song_in(self, units: Units) -> None:
        [song] = Player(units).recommendations("stranger", k=1, explain=True).recommendations

        assert (song["because"], song["because_of_others"], song["score"]) == ([], 0.0, None)


class TestAttribution:
    def test_the_token_says_which_answer_it_was(self, units: Units) -> None:
        player = Player(units)
        one, other = player.recommendations("u"), player.recommendations_for([HeardSong("s4")])

        told = parsed(one.attribution)
        assert (told.alias, told.model_id, told.generation, told.issued_at_ms) == ("production", "mdl_a", 1, NOW_MS)
        assert one.attribution != other.attribution

    def test_a_play_keeps_the_token_it_came_with(self, units: Units) -> None:
        player = Player(units)
        token = player.recommendations("u").attribution
        player.add_plays([replace(play("e1", "s1"), attribution=token)])

        with units.reading() as unit:
            [stored] = unit.plays.page("u", limit=5, before=None)
        assert stored.attribution == token


class TestBatches:
    @pytest.mark.parametrize(
        "wishes", [{}, {"mmr_lambda": 0.5, "k": 4}, {"exclude_seen": "all"}, {"k": 12, "history_length": 1}]
    )
    def test_each_user_gets_the_answer_that_one_alone_would(self, units: Units, wishes: Wishes) -> None:
        model = angle_model(segment_by="language", u=[heard("s4", 1), heard("s8", 3)], v=[heard("s0", 2)])
        player = Player(units, model=model)
        player.add_plays([play("e1", "s9", user_id="w"), play("e2", "new", user_id="w"), play("e3", "s1", user_id="v")])
        users = ["u", "v", "stranger", "w", "u"]

        batch = player.recommending.recommendations_of(users, wanted=SongFilter.of({}, exclude=["s2"]), **wishes)

        for user_id, answer in zip(users, batch.answers, strict=True):
            alone = player.recommendations(user_id, wanted=SongFilter.of({}, exclude=["s2"]), **wishes)
            assert not isinstance(answer, UserRefused)
            assert replace(answer, attribution="") == replace(alone, attribution="")

    def test_more_users_than_are_searched_at_once(self, units: Units) -> None:
        histories = {f"u{number}": [heard(f"s{number % N_SONGS}", 1)] for number in range(600)}
        player = Player(units, model=BruteForceModel("mdl_a", *parts(angle_model()), histories=histories))

        batch = player.recommending.recommendations_of(list(histories), k=1)

        assert [answer.user_id for answer in batch.answers] == list(histories)

    def test_what_cannot_be_a_user_is_refused_alone(self, units: Units) -> None:
        batch = Player(units).recommending.recommendations_of(["u", "", "a\0b"])

        assert [isinstance(answer, UserRefused) for answer in batch.answers] == [False, True, True]

    @pytest.mark.parametrize("n_users", [0, 1001])
    def test_a_batch_has_between_1_and_1000_users(self, units: Units, n_users: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).recommending.recommendations_of(["u"] * n_users)

        assert caught.value.pointer == "/user_ids"

    def test_with_the_database_away_there_is_none(self, units: Units) -> None:
        units.is_away = True

        with pytest.raises(Unavailable):
            Player(units).recommending.recommendations_of(["u"])


class TestFilters:
    def test_only_songs_that_pass_are_recommended(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s4", 1)]))

        answer = player.recommendations("u", k=12, wanted=SongFilter.of({"language": ["en"]}))

        assert ids(answer) == ["s2", "s8", "s10"]
        assert answer.steps == [{"basis": "profile", "n_songs": 3}]

    def test_popular_songs_must_pass_too(self, units: Units) -> None:
        answer = Player(units).recommendations("stranger", k=3, wanted=SongFilter.of({"language": ["fr"]}))

        assert ids(answer) == ["s1", "s5", "s7"]

    def test_of_an_artist_there_are_no_more_than_wanted_over_all_steps(self, units: Units) -> None:
        model = Scarce("mdl_a", *parts(angle_model()), histories={"u": [heard("s4", 1)]})
        wanted = SongFilter(max_per_artist=1)

        answer = Player(units, model=model).recommendations("u", k=5, wanted=wanted)

        by_bjork = [song for song in answer.recommendations if song["artist"] == "Björk"]
        assert len(by_bjork) == 1
        assert len(ids(answer)) == len(set(ids(answer))) == 5

    def test_a_segments_popular_songs_must_pass(self, units: Units) -> None:
        player = Player(units, model=angle_model(segment_by="language"))
        player.add_plays([skipped("e1", "s4")])

        answer = player.recommendations("u", k=3, wanted=SongFilter.of({"artist": ["Björk"]}))

        assert (answer.segment, answer.steps) == ("en", [{"basis": "popular", "n_songs": 3}])
        assert ids(answer) == ["s1", "s3", "s5"]

    def test_a_column_that_there_is_not_is_refused(self, units: Units) -> None:
        player, wanted = Player(units), SongFilter.of({"mood": ["blue"]})
        asked: list[Callable[[], object]] = [
            lambda: player.recommendations("u", wanted=wanted),
            lambda: player.recommendations_for([HeardSong("s1")], wanted=wanted),
            lambda: player.recommendations_in(["s1"], wanted=wanted),
        ]
        for ask in asked:
            with pytest.raises(InvalidRequest) as caught:
                ask()
            assert caught.value.pointer == "filter"

    def test_a_batch_is_filtered_as_one_alone_is(self, units: Units) -> None:
        player = Player(units, model=angle_model(u=[heard("s4", 1)], v=[heard("s9", 1)]))
        wanted = SongFilter.of({"language": ["en", "fr"]}, max_per_artist=2)

        batch = player.recommending.recommendations_of(["u", "v"], wanted=wanted)

        for user_id, answer in zip(["u", "v"], batch.answers, strict=True):
            alone = player.recommendations(user_id, wanted=wanted)
            assert not isinstance(answer, UserRefused)
            assert replace(answer, attribution="") == replace(alone, attribution="")
