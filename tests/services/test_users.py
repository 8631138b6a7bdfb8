"""What is known of a user, and that nothing is left of one who was erased."""

from collections.abc import Iterator

import pytest

from app.adapters.live_listeners import LiveListeners
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import InvalidRequest, NotFound, NothingLive
from app.domain.listeners import HeardPlay
from app.domain.plays import PlayVerdict
from app.domain.recommending import RecommendationOptions
from app.services.listeners import ListenerService
from app.services.users import UserService
from tests.fakes.history_cache import DictHistories
from tests.fakes.live_models import BruteForceModel, FixedModels
from tests.services.player import NOW_MS, Player, Units, angle_model, heard, play
from tests.values import FakeClock


class Desk(Player):
    """A player's services and those of whoever looks after users, following erasures as a server does."""

    def __init__(self, units: Units, model: BruteForceModel | None = None, cache: DictHistories | None = None) -> None:
        self.listeners = LiveListeners(ListenerService(units, has_cache=cache is not None).changes)
        super().__init__(units, model=model, cache=cache, listeners=self.listeners)
        self.users = UserService(
            units,
            histories=self.histories,
            listeners=self.listeners,
            live=FixedModels(production=model or angle_model()),
            clock=FakeClock(),
            options=RecommendationOptions(),
        )


@pytest.fixture
def units(database_url: str) -> Iterator[Units]:
    engine = create_engine(database_url)
    yield Units(SqlUnitsOfWork(engine))
    engine.dispose()


def read_whole(desk: Desk, user_id: str = "u", *, limit: int = 2) -> list[HeardPlay]:
    found: list[HeardPlay] = []
    cursor: str | None = None
    while True:
        page = desk.users.history(user_id, limit=limit, cursor=cursor)
        found += page.plays
        cursor = page.next_cursor
        if cursor is None:
            return found


class TestSummary:
    def test_it_counts_what_was_sent_and_what_was_imported_once_each(self, units: Units) -> None:
        desk = Desk(units, angle_model(u=[heard("s3", 9), heard("s4", 1)]))
        desk.add_plays([play("e1", "s4", days_ago=1), play("e2", "s5"), play("e3", "s3"), play("e4", "gone")])

        summary = desk.users.summary("u")

        assert (summary.n_plays, summary.n_plays_sent, summary.n_plays_of_dataset) == (5, 4, 1)
        assert summary.last_played_at_ms == NOW_MS
        assert [(song.song_id, song.title, song.n_plays) for song in summary.top_songs] == [
            ("s3", "Title 3", 2),
            ("gone", None, 1),
            ("s4", "Title 4", 1),
            ("s5", "Title 5", 1),
        ]
        assert [(artist.artist, artist.n_plays) for artist in summary.top_artists] == [("Björk", 3)]
        assert (summary.model_id, summary.segment) == ("mdl_a", None)

    def test_the_segment_is_the_one_that_most_plays_have(self, units: Units) -> None:
        desk = Desk(units, angle_model(segment_by="language", u=[heard("s1", 1), heard("s3", 2), heard("s0", 0)]))

        assert desk.users.summary("u").segment == "fr"

    def test_nobody_is_not_found(self, units: Units) -> None:
        with pytest.raises(NotFound):
            Desk(units).users.summary("stranger")

    def test_what_cannot_be_a_user_is_refused(self, units: Units) -> None:
        for ask in (Desk(units).users.summary, Desk(units).users.history, Desk(units).users.erase):
            with pytest.raises(InvalidRequest):
                ask("a\0b")

    def test_without_a_model_there_is_no_answer(self, units: Units) -> None:
        with pytest.raises(NothingLive):
            Desk(units).users.summary("u", alias="challenger")


class TestHistory:
    def test_pages_join_without_gap_or_repeat_newest_first(self, units: Units) -> None:
        desk = Desk(units, angle_model(u=[heard("s3", 3), heard("s4", 2), heard("s5", 1)]))
        desk.add_plays([play("e1", "s6", days_ago=2), play("e2", "s7", days_ago=2), play("e3", "s5", days_ago=1)])

        expected = [("s5", "e3"), ("s7", "e2"), ("s6", "e1"), ("s4", None), ("s3", None)]
        for limit in (1, 2, 3, 5, 200):
            found = read_whole(desk, limit=limit)
            assert [(heard_play.song_id, heard_play.event_id) for heard_play in found] == expected

    def test_nobody_has_heard_nothing(self, units: Units) -> None:
        assert read_whole(Desk(units), "stranger") == []

    @pytest.mark.parametrize("cursor", ["x", "!!!!", "MSBh", "A" * 5000])
    def test_a_cursor_that_no_page_gave_is_refused(self, units: Units, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Desk(units).users.history("u", cursor=cursor)

        assert caught.value.pointer == "cursor"

    @pytest.mark.parametrize("limit", [0, 201])
    def test_the_size_of_a_page_is_bounded(self, units: Units, limit: int) -> None:
        with pytest.raises(InvalidRequest):
            Desk(units).users.history("u", limit=limit)


class TestErasing:
    def test_nothing_is_left_neither_sent_nor_imported_nor_cached(self, units: Units) -> None:
        desk = Desk(units, angle_model(u=[heard("s3", 1)]), DictHistories())
        desk.listeners.look()
        desk.listeners.look()
        desk.add_plays([play("e1", "s9"), play("e2", "s1", user_id="other")])
        assert desk.recommendations("u").n_plays_used == 2

        erased = desk.users.erase("u")

        assert erased.n_plays_erased == 1
        answer = desk.recommendations("u")
        assert (answer.reason, answer.n_plays_used) == ("unknown_user", 0)
        assert read_whole(desk) == []
        with pytest.raises(NotFound):
            desk.users.summary("u")
        assert desk.recommendations("other").n_plays_used == 1

    def test_doing_it_again_is_harmless(self, units: Units) -> None:
        desk = Desk(units)
        desk.add_plays([play("e1", "s9")])

        assert [desk.users.erase("u").n_plays_erased for _ in range(3)] == [1, 0, 0]

    def test_another_server_learns_of_it(self, units: Units) -> None:
        model = angle_model(u=[heard("s3", 1)])
        desk, other = Desk(units, model), Desk(units, model)
        assert other.recommendations("u").n_plays_used == 1
        desk.users.erase("u")

        other.listeners.look()

        assert other.recommendations("u").reason == "unknown_user"

    def test_a_play_of_before_is_not_taken_up_again_and_one_of_after_counts(self, units: Units) -> None:
        desk = Desk(units, angle_model(u=[heard("s3", 1)]))
        desk.add_plays([play("e1", "s9", days_ago=1)])
        desk.users.erase("u")

        answer = desk.add_plays(
            [play("e1", "s9", days_ago=1), play("e2", "s9", days_ago=-0.5), play("e3", "s9", user_id="other")]
        )

        assert answer.verdicts == [PlayVerdict.REJECTED, PlayVerdict.ACCEPTED, PlayVerdict.ACCEPTED]
        assert answer.rejections[0].code == "erased_user"
        assert desk.recommendations("u").n_plays_used == 1

    def test_what_a_later_dataset_holds_of_after_counts_and_of_before_does_not(self, units: Units) -> None:
        Desk(units).users.erase("u")

        later = Desk(units, angle_model("mdl_b", u=[heard("s3", 1), heard("s4", -0.5)]))

        assert later.recommendations("u").n_plays_used == 1
