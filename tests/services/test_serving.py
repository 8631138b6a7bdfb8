"""What a player is told, by a model whose geometry is known, and with plays in a real database."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import InvalidRequest, NotFound, NothingLive, Unavailable
from app.domain.recommending import HeardSong, Play, PlayVerdict, RecommendationOptions
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import RecommendationsAnswer, Song
from app.services.serving import DATABASE_PAUSE_S, MAX_PLAYS_PER_BATCH, ServingService
from tests.fakes.live_models import BruteForceModel, FixedModels
from tests.values import NOON, FakeClock

NOW_MS = int(NOON.timestamp() * 1000)
DAY_MS = 86_400_000
N_SONGS = 12


def angle_model(model_id: str = "mdl_a", **histories: list[HeardSong]) -> BruteForceModel:
    """Song i lies at 10 i + 0.1 i^2 degrees on a circle: nearest to a song is the one before it, then the one after."""
    angles = np.deg2rad(10.0 * np.arange(N_SONGS) + 0.1 * np.arange(N_SONGS) ** 2)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    songs = [
        Song(song_id=f"s{row}", title=f"Title {row}", artist="Björk" if row % 2 else None, n_plays=100 - row)
        for row in range(N_SONGS)
    ]
    return BruteForceModel(model_id, songs, vectors, histories=histories)


class Units:
    """Units of work that can be cut off, and count how often they were asked for."""

    def __init__(self, inner: UnitsOfWork) -> None:
        self.inner = inner
        self.is_away = False
        self.n_asked = 0

    def __call__(self) -> UnitOfWork:
        return self._checked(self.inner)

    def reading(self) -> UnitOfWork:
        return self._checked(self.inner.reading)

    def _checked(self, open_unit: Callable[[], UnitOfWork]) -> UnitOfWork:
        self.n_asked += 1
        if self.is_away:
            raise Unavailable("The database cannot be reached.")
        return open_unit()


@pytest.fixture
def units(sqlite_url: str) -> Iterator[Units]:
    engine = create_engine(sqlite_url)
    yield Units(SqlUnitsOfWork(engine))
    engine.dispose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def service(
    units: Units,
    clock: FakeClock,
    model: BruteForceModel | None = None,
    options: RecommendationOptions | None = None,
    monotonic: Callable[[], float] = lambda: 100.0,
) -> ServingService:
    return ServingService(
        units,
        live=FixedModels(production=model or angle_model()),
        clock=clock,
        defaults=options or RecommendationOptions(),
        monotonic=monotonic,
    )


def play(event_id: str, song_id: str, *, days_ago: float = 0.0, user_id: str = "u") -> Play:
    return Play(event_id=event_id, user_id=user_id, song_id=song_id, played_at_ms=NOW_MS - int(days_ago * DAY_MS))


def heard(song_id: str, days_ago: float = 0.0) -> HeardSong:
    return HeardSong(song_id, NOW_MS - int(days_ago * DAY_MS))


def ids(answer: RecommendationsAnswer) -> list[str]:
    return [song.song_id for song in answer.recommendations]


class TestNeighbours:
    def test_the_nearest_come_first_with_their_names_and_without_the_song(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock).neighbours("s0", k=2)

        assert answer == {
            "song_id": "s0",
            "alias": "production",
            "model_id": "mdl_a",
            "generation": 1,
            "neighbours": [
                {"song_id": "s1", "title": "Title 1", "artist": "Björk", "score": pytest.approx(0.984503)},
                {"song_id": "s2", "title": "Title 2", "artist": None, "score": pytest.approx(0.937282)},
            ],
        }

    def test_they_are_found_without_the_database(self, units: Units, clock: FakeClock) -> None:
        units.is_away = True

        assert len(service(units, clock).neighbours("s0")["neighbours"]) == 10

    def test_a_song_that_the_model_does_not_know_is_not_found(self, units: Units, clock: FakeClock) -> None:
        with pytest.raises(NotFound) as caught:
            service(units, clock).neighbours("nowhere")

        assert (caught.value.kind, caught.value.identity) == ("song", "nowhere")

    @pytest.mark.parametrize("k", [0, 101])
    def test_k_is_between_1_and_100(self, units: Units, clock: FakeClock, k: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).neighbours("s0", k=k)

        assert caught.value.pointer == "k"

    def test_an_alias_without_a_model_has_nothing_live(self, units: Units, clock: FakeClock) -> None:
        with pytest.raises(NothingLive):
            service(units, clock).neighbours("s0", alias="challenger")


class TestSongs:
    def test_a_song_is_told_with_the_model_that_knows_it(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock).song("s3")

        assert (answer.song.title, answer.song.n_plays, answer.model_id, answer.generation) == (
            "Title 3",
            97,
            "mdl_a",
            1,
        )

    def test_an_unknown_song_is_not_found(self, units: Units, clock: FakeClock) -> None:
        with pytest.raises(NotFound):
            service(units, clock).song("nowhere")

    def test_pages_of_a_search_join_without_gap_or_repeat(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock)
        found: list[str] = []
        cursor: str | None = None
        for _ in range(3):
            page = serving.songs("björk", limit=2, cursor=cursor)
            found += [song.song_id for song in page.songs]
            cursor = page.next_cursor

        assert found == ["s1", "s3", "s5", "s7", "s9", "s11"]
        assert cursor is None

    def test_without_words_the_most_played_come_first(self, units: Units, clock: FakeClock) -> None:
        page = service(units, clock).songs(limit=2)

        assert [song.song_id for song in page.songs] == ["s0", "s1"]
        assert page.next_cursor is not None

    @pytest.mark.parametrize("cursor", ["x", "!!!!", "bm90IGEgcm93", "ÿ", "A" * 5000])
    def test_a_cursor_that_no_page_gave_is_refused(self, units: Units, clock: FakeClock, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).songs("title", cursor=cursor)

        assert caught.value.pointer == "cursor"

    def test_a_cursor_of_another_model_is_refused(self, units: Units, clock: FakeClock) -> None:
        cursor = service(units, clock, angle_model("mdl_old")).songs("title", limit=1).next_cursor

        with pytest.raises(InvalidRequest, match="Another model"):
            service(units, clock).songs("title", cursor=cursor)

    @pytest.mark.parametrize(
        ("query", "limit", "pointer"), [("a", 0, "limit"), ("a", 101, "limit"), ("a" * 257, 1, "query")]
    )
    def test_bounds(self, units: Units, clock: FakeClock, query: str, limit: int, pointer: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).songs(query, limit=limit)

        assert caught.value.pointer == pointer


class TestRecommendations:
    def test_a_user_of_the_dataset_gets_the_songs_nearest_to_those_heard(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock, angle_model(u=[heard("s4", 1), heard("s6", 1)])).recommendations("u", k=3)

        assert ids(answer) == ["s5", "s3", "s7"]
        assert (answer.fallback, answer.reason, answer.history, answer.n_plays_used) == (None, None, "complete", 2)
        assert (answer.user_id, answer.model_id, answer.generation) == ("u", "mdl_a", 1)

    def test_scores_are_inner_products_with_the_recency_weighted_mean(self, units: Units, clock: FakeClock) -> None:
        model = angle_model(u=[heard("s0", 30), heard("s9", 0)])
        answer = service(units, clock, model).recommendations("u", k=1, half_life_days=30.0)

        rows = model.query_rows(np.array([0, 9]))
        mean = (0.5 * rows[0] + 1.0 * rows[1]) / 1.5
        expected = float(mean @ model.query_rows(np.array([7]))[0])
        assert ids(answer) == ["s7"]
        assert answer.recommendations[0].score == pytest.approx(expected, abs=1e-6)

    def test_a_short_half_life_lets_only_the_last_song_speak(self, units: Units, clock: FakeClock) -> None:
        model = angle_model(u=[heard("s0", 2), heard("s9", 1)])

        assert ids(service(units, clock, model).recommendations("u", k=2, half_life_days=0.01)) == ["s8", "s10"]

    def test_a_play_that_was_sent_shows_in_the_next_request(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock, angle_model(u=[heard("s1", 300)]))
        before = ids(serving.recommendations("u", k=1))

        serving.add_plays([play("e1", "s9")])

        assert before == ["s0"]
        assert ids(serving.recommendations("u", k=1)) == ["s8"]

    def test_plays_sent_late_and_out_of_order_give_the_same_answer(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock)
        plays = [("s2", 9.0), ("s3", 5.0), ("s8", 1.0)]
        for number, (song_id, days_ago) in enumerate(plays):
            serving.add_plays([play(f"a{number}", song_id, days_ago=days_ago, user_id="in order")])
        for number, (song_id, days_ago) in enumerate(reversed(plays)):
            serving.add_plays([play(f"b{number}", song_id, days_ago=days_ago, user_id="backwards")])

        one, other = serving.recommendations("in order"), serving.recommendations("backwards")

        assert replace(one, user_id="") == replace(other, user_id="")

    def test_a_play_both_imported_and_sent_counts_once(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock, angle_model(u=[heard("s4", 1)]))
        serving.add_plays([play("e1", "s4", days_ago=1)])

        assert serving.recommendations("u").n_plays_used == 1

    def test_only_the_newest_plays_make_the_profile(self, units: Units, clock: FakeClock) -> None:
        model = angle_model(u=[heard("s0", 3), heard("s1", 2), heard("s9", 1)])
        answer = service(units, clock, model).recommendations("u", k=1, history_length=1)

        assert (ids(answer), answer.n_plays_used) == (["s8"], 1)

    def test_older_favourites_come_back_once_other_songs_were_heard(self, units: Units, clock: FakeClock) -> None:
        model = angle_model(u=[heard("s5", 3), heard("s4", 2), heard("s6", 1)])
        options = RecommendationOptions(recent_songs_excluded=2)

        assert ids(service(units, clock, model, options).recommendations("u", k=1)) == ["s5"]

    def test_a_user_who_heard_every_song_lately_is_recommended_none(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock, angle_model(u=[heard(f"s{row}") for row in range(N_SONGS)])).recommendations("u")

        assert (answer.recommendations, answer.fallback) == ([], None)

    def test_an_unknown_user_gets_the_popular_songs_and_is_told(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock).recommendations("stranger", k=3)

        assert ids(answer) == ["s0", "s1", "s2"]
        assert (answer.fallback, answer.reason, answer.n_plays_used) == ("popular", "unknown_user", 0)
        assert [song.score for song in answer.recommendations] == [None] * 3

    def test_a_user_of_songs_that_the_model_does_not_know_gets_the_popular_ones(
        self, units: Units, clock: FakeClock
    ) -> None:
        serving = service(units, clock)
        serving.add_plays([play("e1", "brand new"), play("e2", "brand new", days_ago=1)])

        answer = serving.recommendations("u", k=1)

        assert (answer.fallback, answer.reason) == ("popular", "no_known_songs")
        assert answer.unknown_song_ids == ["brand new"]

    def test_a_user_whose_songs_the_model_does_not_know_is_not_called_unknown(
        self, units: Units, clock: FakeClock
    ) -> None:
        assert service(units, clock, angle_model(u=[])).recommendations("u").reason == "no_known_songs"

    def test_songs_that_cancel_out_fall_back_to_popular_ones_not_heard(self, units: Units, clock: FakeClock) -> None:
        songs = [Song(song_id=f"s{row}", title=None, artist=None, n_plays=9 - row) for row in range(3)]
        vectors = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
        model = BruteForceModel("mdl_a", songs, vectors, histories={"u": [heard("s0"), heard("s1")]})

        answer = service(units, clock, model).recommendations("u")

        assert (ids(answer), answer.fallback, answer.reason) == (["s2"], "popular", "history_cancels_out")

    def test_with_the_database_away_the_dataset_answers_and_says_so(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock, angle_model(u=[heard("s4", 1)]))
        serving.add_plays([play("e1", "s9")])
        units.is_away = True

        answer = serving.recommendations("u", k=1)

        assert (ids(answer), answer.history, answer.fallback) == (["s3"], "dataset_only", None)

    def test_a_database_found_away_is_left_alone_for_a_while(self, units: Units, clock: FakeClock) -> None:
        now_s = [100.0]
        serving = service(units, clock, monotonic=lambda: now_s[0])
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False
        n_asked = units.n_asked

        assert serving.recommendations("u").history == "dataset_only"
        assert units.n_asked == n_asked
        now_s[0] += DATABASE_PAUSE_S
        assert serving.recommendations("u").history == "complete"

    def test_a_play_that_was_stored_shows_at_once_after_an_outage(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock)
        units.is_away = True
        serving.recommendations("u")
        units.is_away = False

        serving.add_plays([play("e1", "s9")])

        assert (serving.recommendations("u").history, serving.recommendations("u").n_plays_used) == ("complete", 1)

    @pytest.mark.parametrize("user_id", ["", "u" * 257, "a\0b"])
    def test_what_cannot_be_a_user_is_refused(self, units: Units, clock: FakeClock, user_id: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).recommendations(user_id)

        assert caught.value.pointer == "user_id"

    @pytest.mark.parametrize("changes", [{"k": 0}, {"half_life_days": 0.0}, {"history_length": 0}])
    def test_bounds(self, units: Units, clock: FakeClock, changes: dict[str, int]) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).recommendations("u", **changes)  # type: ignore[arg-type]

        assert caught.value.pointer in changes


class TestRecommendationsFor:
    def test_they_are_those_of_a_user_with_that_history(self, units: Units, clock: FakeClock) -> None:
        plays = [heard("s4", 40), heard("s8", 1), heard("s5", 12)]
        serving = service(units, clock, angle_model(u=plays))

        explicit, stored = serving.recommendations_for(plays), serving.recommendations("u")

        assert explicit.recommendations == stored.recommendations
        assert (explicit.history, explicit.user_id) == ("request", None)

    def test_they_need_no_database(self, units: Units, clock: FakeClock) -> None:
        units.is_away = True

        assert ids(service(units, clock).recommendations_for([HeardSong("s4")], k=1)) == ["s3"]

    def test_songs_that_the_model_does_not_know_are_named_once(self, units: Units, clock: FakeClock) -> None:
        history = [HeardSong("x"), HeardSong("s4"), HeardSong("y"), HeardSong("x", 5)]
        answer = service(units, clock).recommendations_for(history)

        assert (answer.unknown_song_ids, answer.n_plays_used, answer.fallback) == (["x", "y"], 1, None)

    def test_nothing_but_unknown_songs_falls_back_to_popular_ones(self, units: Units, clock: FakeClock) -> None:
        answer = service(units, clock).recommendations_for([HeardSong("x")], k=1)

        assert (ids(answer), answer.fallback, answer.reason) == (["s0"], "popular", "no_known_songs")

    @pytest.mark.parametrize("n_plays", [0, 1001])
    def test_a_history_has_between_1_and_1000_plays(self, units: Units, clock: FakeClock, n_plays: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).recommendations_for([HeardSong("s1")] * n_plays)

        assert caught.value.pointer == "/history"


class TestAddPlays:
    def test_each_event_is_accepted_once_over_batches_and_within_one(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock)
        serving.add_plays([play("e1", "s1")])

        answer = serving.add_plays([play("e1", "s1"), play("e2", "s2"), play("e2", "s2")])

        assert answer.verdicts == [PlayVerdict.DUPLICATE, PlayVerdict.ACCEPTED, PlayVerdict.DUPLICATE]
        assert (answer.n_accepted, answer.n_duplicate) == (1, 2)
        assert serving.recommendations("u").n_plays_used == 2

    def test_a_play_more_than_a_day_ahead_refuses_the_whole_batch(self, units: Units, clock: FakeClock) -> None:
        serving = service(units, clock)

        with pytest.raises(InvalidRequest) as caught:
            serving.add_plays([play("e1", "s1"), play("e2", "s2", days_ago=-1.001)])

        assert caught.value.pointer == "/plays/1/played_at"
        assert serving.recommendations("u").reason == "unknown_user"

    def test_a_clock_that_is_hours_ahead_is_forgiven(self, units: Units, clock: FakeClock) -> None:
        assert service(units, clock).add_plays([play("e1", "s1", days_ago=-0.99)]).n_accepted == 1

    @pytest.mark.parametrize("n_plays", [0, MAX_PLAYS_PER_BATCH + 1])
    def test_the_size_of_a_batch_is_bounded(self, units: Units, clock: FakeClock, n_plays: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service(units, clock).add_plays([play(f"e{number}", "s1") for number in range(n_plays)])

        assert caught.value.pointer == "/plays"

    def test_the_largest_batch_is_stored_whole(self, units: Units, clock: FakeClock) -> None:
        batch = [play(f"e{number}", "s1", days_ago=number) for number in range(MAX_PLAYS_PER_BATCH)]

        assert service(units, clock).add_plays(batch).n_accepted == MAX_PLAYS_PER_BATCH

    def test_with_the_database_away_nothing_is_acknowledged(self, units: Units, clock: FakeClock) -> None:
        units.is_away = True

        with pytest.raises(Unavailable):
            service(units, clock).add_plays([play("e1", "s1")])
