"""What is told of songs over HTTP, and what every list makes of it."""

import pytest

from tests.api.world import World


@pytest.fixture
def live(world: World) -> World:
    """A server with a model of five songs."""
    world.built_model()
    return world


def near(world: World, song_id: str = "a") -> list[str]:
    answer = world.client.get(f"/v1/songs/{song_id}/neighbours").json()
    return [song["song_id"] for song in answer["neighbours"]]


def test_a_denied_song_is_in_no_list_until_it_is_allowed_again(live: World) -> None:
    denied = live.client.put("/v1/songs/b/denial", json={"reason": "The label withdrew its rights."})
    assert denied.status_code == 200
    assert denied.json()["song_id"] == "b"
    assert near(live) == ["AC/DC", "AC/neighbours", "schön 🎵?#%"]
    many = live.client.post("/v1/songs/neighbours", json={"song_ids": ["a"], "k": 1}).json()
    assert many["items"][0]["neighbours"][0]["song_id"] == "AC/DC"
    for user in ("u", "nobody"):
        answer = live.client.get(f"/v1/users/{user}/recommendations", params={"k": 5}).json()
        assert "b" not in [song["song_id"] for song in answer["recommendations"]]
    assert live.client.get("/v1/songs?query=beta").json()["items"] == []
    assert live.client.get("/v1/songs/b").json()["song"]["denied"] is True
    listed = live.client.get("/v1/denials").json()
    assert [(song["song_id"], song["reason"]) for song in listed["items"]] == [("b", "The label withdrew its rights.")]
    ready = live.client.get("/health/ready").json()
    assert ready["catalogue"]["n_denied"] == 1
    assert ready["catalogue"]["revision"] == denied.json()["revision"]
    assert "segue_songs_denied 1.0" in live.client.get("/metrics").text

    assert live.client.delete("/v1/songs/b/denial").status_code == 204
    assert near(live)[0] == "b"


def test_many_songs_are_denied_and_allowed_at_once(live: World) -> None:
    denials = [{"song_id": song_id, "reason": "rights"} for song_id in ("b", "AC/DC", "unknown")]
    answer = live.client.post("/v1/denials", json={"denials": denials})
    assert [song["song_id"] for song in answer.json()["denials"]] == ["b", "AC/DC", "unknown"]
    assert near(live)[0] == "AC/neighbours"
    page = live.client.get("/v1/denials?limit=2").json()
    then = live.client.get("/v1/denials", params={"cursor": page["next_cursor"]}).json()
    assert [song["song_id"] for song in page["items"] + then["items"]] == ["AC/DC", "b", "unknown"]
    assert live.client.post("/v1/denials/delete", json={"song_ids": ["b", "AC/DC"]}).status_code == 204
    assert near(live)[:2] == ["b", "AC/DC"]


def test_what_is_said_of_a_song_is_laid_over_the_files(live: World) -> None:
    put = live.client.put("/v1/songs/AC%2FDC", json={"title": "Thunder", "details": {"year": 1990, "live": False}})
    assert put.status_code == 200
    assert live.client.get("/v1/songs/a/neighbours").json()["neighbours"][1]["title"] == "Thunder"
    found = live.client.get("/v1/songs/a/neighbours?filter=year=1990").json()["neighbours"]
    assert [(song["song_id"], song["artist"]) for song in found] == [("AC/DC", "Two")]
    patched = live.client.patch("/v1/songs/AC%2FDC", json={"artist": "One", "details": {"year": None}}).json()
    assert (patched["title"], patched["artist"], patched["details"]) == ("Thunder", "One", {"live": False})
    assert live.client.get("/v1/songs/AC%2FDC").json()["song"]["artist"] == "One"
    assert live.client.get("/v1/songs/AC%2FDC/catalogue").json() == patched
    assert live.client.delete("/v1/songs/AC%2FDC").status_code == 204
    assert live.client.get("/v1/songs/AC%2FDC").json()["song"]["title"] == "Gamma"
    assert live.client.get("/v1/songs/AC%2FDC/catalogue").status_code == 404


def test_of_a_batch_each_song_gets_its_verdict(live: World) -> None:
    songs = [
        {"song_id": "a", "title": "First"},
        {"song_id": "b", "details": {"song_id": "no"}},
        {"song_id": "a", "title": "Last"},
        {"song_id": "c", "beside": ["c"]},
    ]
    answer = live.client.post("/v1/songs", json={"songs": songs}).json()
    assert answer["n_stored"] == 1
    assert [verdict["verdict"] for verdict in answer["verdicts"]] == ["repeated", "rejected", "stored", "rejected"]
    assert live.client.get("/v1/songs/a").json()["song"]["title"] == "Last"


def test_a_new_song_is_answered_at_once_and_marked(live: World) -> None:
    assert live.client.get("/v1/songs/fresh").status_code == 404
    put = live.client.put("/v1/songs/fresh", json={"title": "Fresh", "beside": ["a", "b", "b"]})
    assert (put.json()["beside"], put.json()["beside_source"]) == ({"a": 1, "b": 2}, "given")
    assert live.client.get("/v1/songs/fresh").json()["song"]["provisional"] is True
    assert near(live, "fresh")[0] == "b"
    first = live.client.get("/v1/songs/b/neighbours").json()["neighbours"][0]
    assert (first["song_id"], first["title"], first["provisional"]) == ("fresh", "Fresh", True)
    recommended = live.client.get("/v1/users/u/recommendations").json()["recommendations"]
    assert "fresh" in [song["song_id"] for song in recommended]


def test_plays_alone_make_a_new_song_known(live: World) -> None:
    sent = [("e1", "b", "12:00"), ("e2", "fresh", "12:03"), ("e3", "a", "13:30")]
    plays = [
        {"event_id": event_id, "user_id": "v", "song_id": song_id, "played_at": f"2026-01-01T{at}:00Z"}
        for event_id, song_id, at in sent
    ]
    assert live.client.post("/v1/plays", json={"plays": plays}).status_code == 200
    assert near(live, "fresh")[0] == "b"
    assert live.client.get("/v1/songs/fresh/catalogue").json()["beside"] == {"b": 1}
