"""Neighbours, songs, recommendations and plays over HTTP."""

from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from app.api.schemas.plays import PlaysView
from app.api.schemas.recommendations import BatchView, RecommendationsView
from tests.api.world import SONGS, World


@pytest.fixture
def live(world: World) -> World:
    """A server with a model of five songs."""
    world.built_model()
    return world


def play(event_id: str, song_id: str, **changes: object) -> dict[str, object]:
    """A play of user `new`."""
    return {"event_id": event_id, "user_id": "new", "song_id": song_id, "played_at": "2026-01-01T12:00:00Z", **changes}


def test_neighbours_are_ranked_and_name_their_model(live: World) -> None:
    answer = live.client.get("/v1/songs/a/neighbours", params={"k": 2}).json()
    assert answer["song_id"] == "a"
    assert (answer["alias"], answer["generation"]) == ("production", 1)
    assert answer["model_id"].startswith("mdl_")
    assert [near["song_id"] for near in answer["neighbours"]] == ["b", "AC/DC"]
    assert answer["neighbours"][0] == {"song_id": "b", "title": "Beta", "artist": "One", "score": 0.92388}


@pytest.mark.parametrize("song", SONGS, ids=lambda song: song.song_id)
def test_any_id_may_stand_in_a_path(live: World, song: object) -> None:
    song_id = song.song_id  # type: ignore[attr-defined]
    path = f"/v1/songs/{quote(song_id, safe='')}"
    assert live.client.get(path).json()["song"]["song_id"] == song_id
    near = live.client.get(f"{path}/neighbours").json()
    assert near["song_id"] == song_id
    assert song_id not in {song["song_id"] for song in near["neighbours"]}


def test_a_slash_of_an_id_may_be_left_as_it_is(live: World) -> None:
    assert live.client.get("/v1/songs/AC/DC").json()["song"]["title"] == "Gamma"
    assert live.client.get("/v1/songs/AC/DC/neighbours").json()["song_id"] == "AC/DC"


def test_songs_are_found_by_their_words(live: World) -> None:
    found = live.client.get("/v1/songs", params={"query": "ONE eta"}).json()
    assert [song["song_id"] for song in found["items"]] == ["b"]
    assert live.client.get("/v1/songs").json()["items"][0]["details"] == {"language": "ar"}
    first = live.client.get("/v1/songs", params={"limit": 3}).json()
    then = live.client.get("/v1/songs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [song["song_id"] for song in first["items"] + then["items"]] == [song.song_id for song in SONGS]


def test_unknown_songs_are_not_found(live: World) -> None:
    for path in ("/v1/songs/none", "/v1/songs/none/neighbours"):
        refused = live.client.get(path)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/songs", "/v1/songs/a", "/v1/songs/a/neighbours", "/v1/users/u/recommendations"])
def test_without_a_live_model_there_is_no_answer(client: TestClient, path: str) -> None:
    refused = client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (503, "nothing_live")


def test_a_users_songs_of_the_dataset_are_used(live: World) -> None:
    answer = live.client.get("/v1/users/u/recommendations", params={"k": 2, "half_life_days": 7.5}).json()
    assert answer["user_id"] == "u"
    assert answer["fallback"] is None
    assert answer["history"] == "complete"
    assert answer["n_plays_used"] == 1
    assert [song["song_id"] for song in answer["recommendations"]] == ["b", "AC/DC"]


def test_unknown_users_get_popular_songs(live: World) -> None:
    answer = live.client.get("/v1/users/some%2Fbody/recommendations", params={"k": 2}).json()
    assert answer["user_id"] == "some/body"
    assert (answer["fallback"], answer["reason"]) == ("popular", "unknown_user")
    assert [song["song_id"] for song in answer["recommendations"]] == ["a", "b"]
    assert answer["recommendations"][0]["score"] is None


def test_plays_count_in_the_next_request_and_once(live: World) -> None:
    batch = {"plays": [play("e1", "b", seconds_streamed=3), play("e2", "b"), play("e1", "a")]}
    sent = live.client.post("/v1/plays", json=batch)
    assert sent.status_code == 200
    assert [verdict["verdict"] for verdict in sent.json()["verdicts"]] == ["accepted", "accepted", "duplicate"]
    assert (sent.json()["n_accepted"], sent.json()["n_duplicate"]) == (2, 1)
    again = live.client.post("/v1/plays", json=batch).json()
    assert (again["n_accepted"], again["n_duplicate"]) == (0, 3)
    answer = live.client.get("/v1/users/new/recommendations", params={"k": 1}).json()
    assert answer["fallback"] is None
    assert answer["recommendations"][0]["song_id"] in {"a", "AC/DC"}


@pytest.mark.parametrize(
    "played_at",
    ["2026-01-01T12:00:00.5+05:30", "2026-01-01 12:00:00z", "1970-01-01T00:00:00Z", "2026-01-01T12:00:00.123456789Z"],
)
def test_instants_are_taken_as_rfc_3339_has_them(client: TestClient, played_at: str) -> None:
    assert client.post("/v1/plays", json={"plays": [play("e", "a", played_at=played_at)]}).status_code == 200


WRONG: dict[str, tuple[object, str, str]] = {
    "no object": (7, "", "invalid_request"),
    "nothing": ({}, "event_id", "invalid_request"),
    "empty event": (play("", "a"), "event_id", "invalid_request"),
    "long song": (play("e", "s" * 257), "song_id", "invalid_request"),
    "NUL in the user": (play("e", "a", user_id="a\x00"), "user_id", "invalid_request"),
    "user as number": (play("e", "a", user_id=7), "user_id", "invalid_request"),
    "instant as number": (play("e", "a", played_at=1_700_000_000), "played_at", "invalid_request"),
    "instant as digits": (play("e", "a", played_at="1700000000"), "played_at", "invalid_request"),
    "instant without offset": (play("e", "a", played_at="2026-01-01T12:00:00"), "played_at", "invalid_request"),
    "a day that there is not": (play("e", "a", played_at="2026-02-30T12:00:00Z"), "played_at", "invalid_request"),
    "before 1970": (play("e", "a", played_at="1969-12-31T23:59:59Z"), "played_at", "invalid_request"),
    "year nought": (play("e", "a", played_at="0001-01-01T00:00:00+14:00"), "played_at", "invalid_request"),
    "from the future": (play("e", "a", played_at="9998-12-31T23:59:59Z"), "played_at", "in_the_future"),
    "negative seconds": (play("e", "a", seconds_streamed=-1), "seconds_streamed", "invalid_request"),
    "seconds as text": (play("e", "a", seconds_streamed="3"), "seconds_streamed", "invalid_request"),
    "no length": (play("e", "a", duration_s=0), "duration_s", "invalid_request"),
    "unknown event": (play("e", "a", event_type="love"), "event_type", "invalid_request"),
    "malformed token": (play("e", "a", attribution="v1.x"), "attribution", "malformed_attribution"),
    "unknown field": (play("e", "a", rating=5), "rating", "invalid_request"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_play_is_rejected_with_its_reason_and_no_other(
    client: TestClient, wrong: tuple[object, str, str]
) -> None:
    sent, field, code = wrong
    answered = client.post("/v1/plays", json={"plays": [play("first", "a"), sent, play("last", "a")]})
    assert answered.status_code == 200
    told = answered.json()
    assert [verdict["verdict"] for verdict in told["verdicts"]] == ["accepted", "rejected", "accepted"]
    assert (told["n_accepted"], told["n_duplicate"], told["n_rejected"]) == (2, 0, 1)
    reason = told["verdicts"][1]["reason"]
    assert (reason["field"], reason["code"]) == (field, code)
    assert reason["detail"]
    assert told["verdicts"][0] == {"event_id": "first", "verdict": "accepted", "reason": None}


def test_an_event_with_all_there_is_to_say_is_taken_and_told(live: World) -> None:
    token = live.client.get("/v1/users/u/recommendations").json()["attribution"]
    said = {"event_type": "like", "seconds_streamed": 12.5, "duration_s": 200, "attribution": token}
    sent = live.client.post("/v1/plays", json={"plays": [play("e1", "b", **said)]}).json()
    assert sent["n_accepted"] == 1
    [listed] = live.client.get("/v1/users/new/plays").json()["items"]
    expected = {"song_id": "b", "title": "Beta", "artist": "One", "played_at": "2026-01-01T12:00:00Z", "event_id": "e1"}
    assert listed == {**expected, **said}


def test_a_session_goes_on(live: World) -> None:
    answer = live.client.post("/v1/recommendations", json={"session": ["b", "a"], "k": 1}).json()
    assert answer["steps"] == [{"basis": "session", "n_songs": 1}]
    assert answer["recommendations"][0]["song_id"] == "AC/DC"
    assert "because" not in answer["recommendations"][0]


def test_reasons_are_told_when_they_are_asked_for(live: World) -> None:
    answer = live.client.get("/v1/users/u/recommendations", params={"k": 1, "explain": True}).json()
    [song] = answer["recommendations"]
    [reason] = song["because"]
    assert (reason["song_id"], reason["n_plays"]) == ("a", 1)
    assert reason["contribution"] == pytest.approx(song["score"], abs=1e-5)
    assert song["because_of_others"] == 0


def test_what_a_request_wishes_reaches_the_list(live: World) -> None:
    ask = live.client.get
    path = "/v1/users/u/recommendations"
    assert ask(path, params={"k": 1, "exclude_seen": "none"}).json()["recommendations"][0]["song_id"] == "a"
    assert ask(path, params={"k": 1, "exclude": ["b", "AC/DC"]}).json()["recommendations"][0]["song_id"] not in {"b"}
    assert ask(path, params={"event_weight": ["play=0", "like=1"]}).json()["reason"] == "history_cancels_out"
    arabic = ask(path, params={"filter": "language=ar", "exclude_seen": "none"}).json()["recommendations"]
    assert [song["song_id"] for song in arabic] == ["a"]
    assert ask(path, params={"filter": "mood=blue"}).json()["errors"][0]["pointer"] == "filter"
    one_each = ask(path, params={"max_per_artist": 1, "exclude_seen": "none"}).json()["recommendations"]
    assert sum(song["artist"] == "One" for song in one_each) == 1
    diverse = ask(path, params={"k": 2, "mmr_lambda": 0.1}).json()["recommendations"]
    assert [song["song_id"] for song in diverse] != ["b", "AC/DC"]


def test_many_users_are_answered_at_once_each_or_refused(live: World) -> None:
    asked = {"user_ids": ["u", "", "stranger", "u"], "k": 2}
    answer = live.client.post("/v1/recommendations/batch", json=asked).json()
    first, refused, stranger, again = answer["answers"]
    alone = live.client.get("/v1/users/u/recommendations", params={"k": 2}).json()
    assert first == {**alone, "attribution": first["attribution"]}
    assert (refused["user_id"], refused["code"]) == ("", "invalid_request")
    assert stranger["fallback"] == "popular"
    assert again["recommendations"] == first["recommendations"]
    assert answer["model_id"] == first["model_id"]


def test_answers_are_what_their_description_says(live: World) -> None:
    for params in ({}, {"explain": True}, {"by": "session"}):
        RecommendationsView.model_validate(live.client.get("/v1/users/u/recommendations", params=params).json())
    RecommendationsView.model_validate(live.client.get("/v1/users/nobody/recommendations").json())
    BatchView.model_validate(
        live.client.post("/v1/recommendations/batch", json={"user_ids": ["u", "", "nobody"]}).json()
    )
    sent = live.client.post("/v1/plays", json={"plays": [play("e1", "b"), 7]})
    PlaysView.model_validate_json(sent.content)


def test_what_is_known_of_a_user_and_forgotten(live: World) -> None:
    live.client.post("/v1/plays", json={"plays": [play("e1", "b", user_id="u")]})
    known = live.client.get("/v1/users/u").json()
    assert (known["n_plays"], known["n_plays_sent"], known["n_plays_of_dataset"]) == (2, 1, 1)
    assert known["last_played_at"] == "2026-01-01T12:00:00Z"
    assert known["top_artists"] == [{"artist": "One", "n_plays": 2}]
    page = live.client.get("/v1/users/u/plays", params={"limit": 1}).json()
    assert [heard["event_id"] for heard in page["items"]] == ["e1"]
    rest = live.client.get("/v1/users/u/plays", params={"cursor": page["next_cursor"]}).json()
    assert ([heard["song_id"] for heard in rest["items"]], rest["next_cursor"]) == (["a"], None)

    erased = live.client.delete("/v1/users/u").json()

    assert (erased["user_id"], erased["n_plays_erased"]) == ("u", 1)
    assert live.client.get("/v1/users/u").status_code == 404
    assert live.client.get("/v1/users/u/plays").json()["items"] == []
    assert live.client.get("/v1/users/u/recommendations").json()["reason"] == "unknown_user"
    assert live.client.delete("/v1/users/u").json()["n_plays_erased"] == 0
    again = live.client.post("/v1/plays", json={"plays": [play("e1", "b", user_id="u")]}).json()
    assert again["verdicts"][0]["reason"]["code"] == "erased_user"


def test_a_user_whose_id_looks_like_a_path_is_one(live: World) -> None:
    live.client.post("/v1/plays", json={"plays": [play("e1", "b", user_id="a/plays")]})
    assert live.client.get("/v1/users/a%2Fplays").json()["n_plays_sent"] == 1
    assert live.client.delete("/v1/users/a%2Fplays").json()["n_plays_erased"] == 1


def test_a_history_in_the_request_is_all_that_counts(live: World) -> None:
    history = [{"song_id": "a"}, {"song_id": "b", "played_at": "2020-01-01T00:00:00Z"}, {"song_id": "x"}]
    answer = live.client.post("/v1/recommendations", json={"history": history, "k": 5, "half_life_days": 1}).json()
    assert answer["history"] == "request"
    assert answer["user_id"] is None
    assert answer["unknown_song_ids"] == ["x"]
    assert answer["n_plays_used"] == 2
    assert {song["song_id"] for song in answer["recommendations"]}.isdisjoint({"a", "b"})


def test_neighbours_are_filtered(live: World) -> None:
    near = "/v1/songs/b/neighbours"

    def found(**which: str | int | list[str]) -> list[str]:
        answer = live.client.get(near, params=which)
        assert answer.status_code == 200, answer.text
        return [song["song_id"] for song in answer.json()["neighbours"]]

    assert found(filter="language=ar") == ["a"]
    assert found(filter=["artist=One", "artist=Two"]) == ["a", "AC/DC"]
    assert found(exclude=["a", "AC/DC"], k=1) == ["AC/neighbours"]
    assert found(max_per_artist=1, filter="artist=One") == ["a"]


def test_a_filter_on_no_column_names_the_columns(live: World) -> None:
    refused = live.client.get("/v1/songs/b/neighbours", params={"filter": "tempo=1"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "filter"
    assert "artist, language" in refused.json()["detail"]


def test_a_model_that_is_not_live_is_a_conflict(live: World) -> None:
    refused = live.client.get("/v1/songs/b/neighbours", params={"model": "mdl_none"})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_live")
    model_id = live.client.get("/v1/songs/b/neighbours").json()["model_id"]
    assert live.client.get("/v1/songs/b/neighbours", params={"model": model_id}).status_code == 200


def test_an_unknown_song_is_told_with_the_model(live: World) -> None:
    refused = live.client.get("/v1/songs/none/neighbours").json()
    assert (refused["song_id"], refused["model_id"][:4]) == ("none", "mdl_")


def test_many_songs_are_asked_for_at_once(live: World) -> None:
    answer = live.client.post("/v1/songs/neighbours", json={"song_ids": ["a", "none", "b"], "k": 1}).json()
    assert [(song["song_id"], song["neighbours"][0]["song_id"]) for song in answer["items"]] == [("a", "b"), ("b", "a")]
    assert (answer["missing_ids"], answer["neighbours"]) == (["none"], [])
    mix = {"positive": [{"song_id": "a"}, {"song_id": "AC/DC", "weight": 1}], "negative": [{"song_id": "none"}]}
    answer = live.client.post("/v1/songs/neighbours", json={**mix, "filter": {"artist": ["One"]}}).json()
    assert [song["song_id"] for song in answer["neighbours"]] == ["b"]
    assert answer["missing_ids"] == ["none"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"song_ids": ["a"], "positive": [{"song_id": "a"}]}, "invalid_request"),
        ({"positive": [{"song_id": "none"}]}, "no_known_songs"),
        ({"positive": [{"song_id": "a"}], "negative": [{"song_id": "a"}]}, "mix_cancels_out"),
        ({"positive": [{"song_id": "a", "weight": 0}]}, "invalid_request"),
    ],
)
def test_a_mix_that_cannot_be_answered_says_why(live: World, body: dict[str, object], code: str) -> None:
    refused = live.client.post("/v1/songs/neighbours", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, code)


def test_a_body_may_weigh_events(live: World) -> None:
    heard = {"history": [{"song_id": "a", "event_type": "like"}, {"song_id": "AC/neighbours"}]}
    nearest = [
        live.client.post("/v1/recommendations", json={**heard, "event_weights": weights}).json()["recommendations"][0]
        for weights in ({"like": 9, "play": 1}, {"like": 1.0, "play": 9})
    ]
    assert [song["song_id"] for song in nearest] == ["b", "AC/DC"]
