"""What becomes of the plays that a player sends."""

import pytest

from app.domain.errors import InvalidRequest, Unavailable
from app.domain.plays import PlayVerdict, Rejection
from app.services.plays import MAX_PLAYS_PER_BATCH
from tests.services.player import Player, Units, play


class TestAddPlays:
    def test_each_event_is_accepted_once_over_batches_and_within_one(self, units: Units) -> None:
        serving = Player(units)
        serving.add_plays([play("e1", "s1")])

        answer = serving.add_plays([play("e1", "s1"), play("e2", "s2"), play("e2", "s2")])

        assert answer.verdicts == [PlayVerdict.DUPLICATE, PlayVerdict.ACCEPTED, PlayVerdict.DUPLICATE]
        assert (answer.n_accepted, answer.n_duplicate) == (1, 2)
        assert serving.recommendations("u").n_plays_used == 2

    def test_a_play_more_than_a_day_ahead_is_rejected_and_the_others_are_stored(self, units: Units) -> None:
        serving = Player(units)

        answer = serving.add_plays([play("e1", "s1"), play("e2", "s2", days_ago=-1.001)])

        assert answer.verdicts == [PlayVerdict.ACCEPTED, PlayVerdict.REJECTED]
        assert {position: (why.code, why.field) for position, why in answer.rejections.items()} == {
            1: ("in_the_future", "played_at")
        }
        assert serving.recommendations("u").n_plays_used == 1

    def test_what_was_rejected_before_is_told_in_its_place(self, units: Units) -> None:
        wrong = Rejection("invalid_request", "song_id", "Field required")

        answer = Player(units).add_plays([wrong, play("e1", "s1"), wrong])

        assert answer.verdicts == [PlayVerdict.REJECTED, PlayVerdict.ACCEPTED, PlayVerdict.REJECTED]
        assert (answer.rejections, answer.n_rejected) == ({0: wrong, 2: wrong}, 2)

    def test_a_batch_of_nothing_but_wrong_plays_needs_no_database(self, units: Units) -> None:
        units.is_away = True

        assert Player(units).add_plays([Rejection("invalid_request", "", "no object")]).n_rejected == 1

    def test_a_clock_that_is_hours_ahead_is_forgiven(self, units: Units) -> None:
        assert Player(units).add_plays([play("e1", "s1", days_ago=-0.99)]).n_accepted == 1

    @pytest.mark.parametrize("n_plays", [0, MAX_PLAYS_PER_BATCH + 1])
    def test_the_size_of_a_batch_is_bounded(self, units: Units, n_plays: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            Player(units).add_plays([play(f"e{number}", "s1") for number in range(n_plays)])

        assert caught.value.pointer == "/plays"

    def test_the_largest_batch_is_stored_whole(self, units: Units) -> None:
        batch = [play(f"e{number}", "s1", days_ago=number) for number in range(MAX_PLAYS_PER_BATCH)]

        assert Player(units).add_plays(batch).n_accepted == MAX_PLAYS_PER_BATCH

    def test_with_the_database_away_nothing_is_acknowledged(self, units: Units) -> None:
        units.is_away = True

        with pytest.raises(Unavailable):
            Player(units).add_plays([play("e1", "s1")])
