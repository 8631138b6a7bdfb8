"""Under a bundle, a user is answered by the model of the segment that most of the recent plays have."""

from dataclasses import replace

from app.domain.plays import HeardSong
from app.domain.serving import Recommended
from app.services.recommending import RecommendingService
from app.services.serving import ServingService
from tests.services.player import NOW_MS, Player, Units, angle_model, play


def bundled(player: Player) -> None:
    """A model of its own for English songs, beside one for all others."""
    live = player.models.live["production"]
    default = angle_model("mdl_default", segment_by="language")
    english = angle_model("mdl_english", segment_by="language")
    player.models.live["production"] = replace(live, model=default, segments={"en": english})


def heard(*songs: str) -> list[HeardSong]:
    return [HeardSong(song_id, NOW_MS - 1000 * place) for place, song_id in enumerate(songs)]


def test_a_history_is_answered_by_its_segment_s_model(units: Units) -> None:
    player = Player(units)
    bundled(player)
    recommending: RecommendingService = player.recommending
    for songs, model_id, segment in (
        (("s2", "s4", "s1"), "mdl_english", "en"),
        (("s1", "s5", "s2"), "mdl_default", "fr"),
        (("s0",), "mdl_default", None),
    ):
        answer = recommending.recommendations_for(heard(*songs))
        assert (answer.model_id, answer.segment) == (model_id, segment)
        assert recommending.recommendations_in(list(songs)).model_id == model_id


def test_a_user_is_answered_by_the_segment_s_model(units: Units) -> None:
    player = Player(units)
    bundled(player)
    assert player.recommending.recommendations("nobody").model_id == "mdl_default"


def test_neighbours_are_the_segment_s_where_it_is_named(units: Units) -> None:
    player = Player(units)
    bundled(player)
    serving = ServingService(player.models)
    found = [serving.neighbours("s2", segment=segment)["model_id"] for segment in ("en", "fr", None)]
    assert found == ["mdl_english", "mdl_default", "mdl_default"]


def test_a_batch_is_answered_user_by_user_as_each_would_be_alone(units: Units) -> None:
    player = Player(units)
    bundled(player)
    songs = {"english": ("s2", "s4"), "french": ("s1", "s5"), "neither": ("s0",), "other english": ("s4", "s8")}
    player.add_plays(
        [
            play(f"{user}-{song}", song, user_id=user, days_ago=place)
            for user, heard_songs in songs.items()
            for place, song in enumerate(heard_songs)
        ]
    )
    users = [*songs, "nobody", "english"]

    batch = player.recommending.recommendations_of(users)

    alone = [player.recommending.recommendations(user) for user in users]
    assert [answer.model_id for answer in alone[:4]] == ["mdl_english", "mdl_default", "mdl_default", "mdl_english"]
    assert [replace(answer, attribution="") for answer in batch.answers if isinstance(answer, Recommended)] == [
        replace(answer, attribution="") for answer in alone
    ]
