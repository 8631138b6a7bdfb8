"""What a player is told of songs, by a model whose geometry is known."""

import pytest

from app.domain.errors import InvalidRequest, NotFound, NothingLive
from app.services.serving import ServingService
from tests.fakes.live_models import BruteForceModel, FixedModels
from tests.services.player import angle_model


def service(model: BruteForceModel | None = None) -> ServingService:
    return ServingService(FixedModels(production=model or angle_model()))


class TestNeighbours:
    def test_the_nearest_come_first_with_their_names_and_without_the_song(self) -> None:
        answer = service().neighbours("s0", k=2)

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

    def test_a_song_that_the_model_does_not_know_is_not_found(self) -> None:
        with pytest.raises(NotFound) as caught:
            service().neighbours("nowhere")

        assert (caught.value.kind, caught.value.identity) == ("song", "nowhere")

    @pytest.mark.parametrize("k", [0, 101])
    def test_k_is_between_1_and_100(self, k: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service().neighbours("s0", k=k)

        assert caught.value.pointer == "k"

    def test_an_alias_without_a_model_has_nothing_live(self) -> None:
        with pytest.raises(NothingLive):
            service().neighbours("s0", alias="challenger")


class TestSongs:
    def test_a_song_is_told_with_the_model_that_knows_it(self) -> None:
        answer = service().song("s3")

        assert (answer.song.title, answer.song.n_plays, answer.model_id, answer.generation) == (
            "Title 3",
            97,
            "mdl_a",
            1,
        )

    def test_an_unknown_song_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            service().song("nowhere")

    def test_pages_of_a_search_join_without_gap_or_repeat(self) -> None:
        serving = service()
        found: list[str] = []
        cursor: str | None = None
        for _ in range(3):
            page = serving.songs("björk", limit=2, cursor=cursor)
            found += [song.song_id for song in page.songs]
            cursor = page.next_cursor

        assert found == ["s1", "s3", "s5", "s7", "s9", "s11"]
        assert cursor is None

    def test_without_words_the_most_played_come_first(self) -> None:
        page = service().songs(limit=2)

        assert [song.song_id for song in page.songs] == ["s0", "s1"]
        assert page.next_cursor is not None

    @pytest.mark.parametrize("cursor", ["x", "!!!!", "bm90IGEgcm93", "ÿ", "A" * 5000])
    def test_a_cursor_that_no_page_gave_is_refused(self, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service().songs("title", cursor=cursor)

        assert caught.value.pointer == "cursor"

    def test_a_cursor_of_another_model_is_refused(self) -> None:
        cursor = service(angle_model("mdl_old")).songs("title", limit=1).next_cursor

        with pytest.raises(InvalidRequest, match="Another model"):
            service().songs("title", cursor=cursor)

    @pytest.mark.parametrize(
        ("query", "limit", "pointer"), [("a", 0, "limit"), ("a", 101, "limit"), ("a" * 257, 1, "query")]
    )
    def test_bounds(self, query: str, limit: int, pointer: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            service().songs(query, limit=limit)

        assert caught.value.pointer == pointer
