"""What a player is told of songs, by a model whose geometry is known."""

import pytest

from app.domain.errors import InvalidRequest, MixCancelsOut, ModelNotLive, NoKnownSongs, NotFound, NothingLive
from app.domain.filtering import SongFilter
from app.domain.serving import WeightedSong
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


class TestFilteredNeighbours:
    def test_only_songs_that_pass_are_answered_with(self) -> None:
        wanted = SongFilter.parsed(["artist=Björk"], exclude=["s3"], max_per_artist=2)
        answer = service().neighbours("s1", k=5, wanted=wanted)

        assert [near["song_id"] for near in answer["neighbours"]] == ["s5", "s7"]

    def test_another_live_model_may_be_asked(self) -> None:
        serving = ServingService(FixedModels(production=angle_model(), challenger=angle_model("mdl_b")))

        answer = serving.neighbours("s0", model_id="mdl_b")
        assert (answer["model_id"], answer["alias"]) == ("mdl_b", "challenger")
        with pytest.raises(ModelNotLive):
            serving.neighbours("s0", model_id="mdl_c")


class TestManySongs:
    def test_each_song_is_answered_and_the_missing_are_named(self) -> None:
        answer = service().neighbours_of(["s4", "none", "s0", "s4"], k=2)

        assert [song["song_id"] for song in answer["items"]] == ["s4", "s0"]
        assert answer["items"][1]["neighbours"] == service().neighbours("s0", k=2)["neighbours"]
        assert answer["missing_ids"] == ["none"]

    @pytest.mark.parametrize("n_songs", [0, 1_001])
    def test_batches_are_bounded(self, n_songs: int) -> None:
        with pytest.raises(InvalidRequest):
            service().neighbours_of(["s1"] * n_songs)


class TestMixes:
    def test_a_mix_lies_between_its_songs_and_away_from_others(self) -> None:
        answer = service().neighbours_of_mix([WeightedSong("s2"), WeightedSong("s6"), WeightedSong("none")], k=3)

        assert [near["song_id"] for near in answer["neighbours"]] == ["s4", "s5", "s3"]
        assert answer["missing_ids"] == ["none"]
        away = service().neighbours_of_mix([WeightedSong("s4")], [WeightedSong("s2", 0.5)], k=2)
        assert [near["song_id"] for near in away["neighbours"]] == ["s6", "s5"]

    def test_weights_pull(self) -> None:
        answer = service().neighbours_of_mix([WeightedSong("s2", 9), WeightedSong("s8", 1)], k=1)

        assert answer["neighbours"][0]["song_id"] == "s3"

    def test_a_mix_that_leaves_nothing_says_so(self) -> None:
        with pytest.raises(MixCancelsOut):
            service().neighbours_of_mix([WeightedSong("s2", 3)], [WeightedSong("s2", 3)])
        with pytest.raises(NoKnownSongs):
            service().neighbours_of_mix([WeightedSong("none")])

    @pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
    def test_weights_are_above_nothing(self, weight: float) -> None:
        with pytest.raises(InvalidRequest):
            service().neighbours_of_mix([WeightedSong("s1", weight)])
