"""Aliases over HTTP: moves, preconditions, history."""

import pytest

from tests.api.world import World
from tests.keys import KEY_ID
from tests.processes import until


def test_an_alias_is_assigned_rolled_back_and_remembered(world: World) -> None:
    first = world.built_model()
    second = world.built_model()
    assert world.client.get("/v1/aliases/production").json()["model_id"] == second
    back = world.client.post("/v1/aliases/production/rollback")
    assert (back.status_code, back.json()["model_id"], back.headers["ETag"]) == (200, first, '"3"')
    put = world.client.put("/v1/aliases/challenger", json={"model_id": second})
    assert (put.json()["alias"], put.json()["generation"]) == ("challenger", 1)
    assert [entry["alias"] for entry in world.client.get("/v1/aliases").json()["items"]] == ["challenger", "production"]
    history = world.client.get("/v1/aliases/production/history").json()
    moved_again = world.client.get("/v1/aliases/challenger/moves").json()["items"]
    assert {move["moved_by"] for move in history["items"] + moved_again} == {KEY_ID}
    assert [move["reason"] for move in history["items"]] == ["rollback", "promotion", "promotion"]
    assert history["items"][0]["previous_model_id"] == second
    page = world.client.get("/v1/aliases/production/history", params={"limit": 2}).json()
    rest = world.client.get("/v1/aliases/production/history", params={"limit": 2, "cursor": page["next_cursor"]})
    assert page["items"] + rest.json()["items"] == history["items"]


def test_if_match_guards_a_move(world: World) -> None:
    model_id = world.built_model()
    tag = world.client.get("/v1/aliases/production").headers["ETag"]
    assert tag == '"1"'
    put = world.client.put("/v1/aliases/production", json={"model_id": model_id}, headers={"If-Match": tag})
    assert (put.status_code, put.headers["ETag"]) == (200, '"2"')
    before = world.state()
    for stale in (
        world.client.put("/v1/aliases/production", json={"model_id": model_id}, headers={"If-Match": tag}),
        world.client.post("/v1/aliases/production/rollback", headers={"If-Match": tag}),
    ):
        assert stale.status_code == 412
        assert (stale.json()["code"], stale.json()["current_generation"]) == ("stale_generation", 2)
    assert world.state() == before
    any_state = world.client.put("/v1/aliases/production", json={"model_id": model_id}, headers={"If-Match": "*"})
    assert any_state.json()["generation"] == 3


def test_generation_zero_means_that_there_is_none_yet(world: World) -> None:
    model_id = world.built_model()
    made = world.client.put("/v1/aliases/new", json={"model_id": model_id}, headers={"If-Match": '"0"'})
    again = world.client.put("/v1/aliases/new", json={"model_id": model_id}, headers={"If-Match": '"0"'})
    assert (made.status_code, again.status_code) == (200, 412)


@pytest.mark.parametrize("tag", ["1", 'W/"1"', '"one"', '"1", "2"', '"-1"', '"99999999999"', '""'])
def test_a_malformed_precondition_is_refused(world: World, tag: str) -> None:
    refused = world.client.put("/v1/aliases/a", json={"model_id": "mdl_x"}, headers={"If-Match": tag})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "If-Match"


def test_rolling_back_needs_a_model_before(world: World) -> None:
    world.built_model()
    refused = world.client.post("/v1/aliases/production/rollback")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert world.client.post("/v1/aliases/none/rollback").status_code == 404


def test_a_model_that_is_not_ready_goes_live_nowhere(world: World) -> None:
    model_id = world.client.post(f"/v1/studies/{world.completed_study()}/promote").json()["id"]
    refused = world.client.put("/v1/aliases/production", json={"model_id": model_id})
    assert refused.status_code == 409


def test_a_move_is_refused_with_the_whole_table_and_made_for_a_reason_that_is_kept(world: World) -> None:
    first, second = world.built_model(), world.built_model("challenger")
    never = {"model_id": second, "gates": {"recall": 1, "latency_p99_ms": None, "required": ["paired"]}}
    refused = world.client.put("/v1/aliases/production", json=never)
    assert (refused.status_code, refused.json()["code"]) == (409, "gates_refused")
    (report,) = refused.json()["gates"]
    assert (report["model_id"], report["live_model_id"], report["is_passed"]) == (second, first, False)
    states = {gate["name"]: gate["state"] for gate in report["gates"]}
    assert states["paired"] == "not_applicable"
    assert (states["recall"], states["latency"]) == ("passed", "off")
    moved = world.client.put("/v1/aliases/production", json={**never, "override_reason": "the label asked"})
    assert moved.status_code == 200
    (move, _) = world.client.get("/v1/aliases/production/moves").json()["items"]
    assert move["override_reason"] == "the label asked"
    assert move["gates"] == [report]
    assert world.client.get("/v1/aliases/production/history").json()["items"][0] == move


def test_a_preview_tells_the_table_and_moves_nothing(world: World) -> None:
    first, second = world.built_model(), world.built_model("challenger")
    before = world.state()
    report = world.client.get(f"/v1/models/{second}/gates").json()
    assert (report["live_model_id"], report["segment"], report["is_passed"]) == (first, None, True)
    assert world.state() == before


def test_a_bundle_is_assigned_and_told(world: World) -> None:
    first, second = world.built_model(), world.built_model()
    body = {"default": first, "segments": {"ar": second}}
    refused = world.client.put("/v1/aliases/production", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/segments")
    for wrong in ({}, {"model_id": first, "default": first}, {"model_id": first, "override_reason": ""}):
        assert world.client.put("/v1/aliases/production", json=wrong).status_code == 422


def test_the_model_tells_what_came_of_its_promotion(world: World) -> None:
    model = world.client.get(f"/v1/models/{world.built_model()}").json()
    assert model["promotion"]["state"] == "moved"
    assert model["promotion"]["generation"] == 1
    assert {gate["state"] for gate in model["promotion"]["gates"][0]["gates"]} == {"not_applicable", "passed"}


def test_models_are_compared_only_by_neighbours_that_they_keep(world: World) -> None:
    first, second = world.built_model(), world.built_model()
    asked: list[tuple[dict[str, str | int], int]] = [
        ({"against": "mdl_none"}, 404),
        ({}, 422),
        ({"against": second, "k": 0}, 422),
        ({"against": second, "cursor": "x"}, 422),
        ({"against": second, "k": 4}, 500),  # the stand-in for a model's files is none
    ]
    for parameters, status in asked:
        assert world.client.get(f"/v1/models/{first}/diff", params=parameters).status_code == status


def test_a_shadow_is_set_told_and_removed_and_clients_never_see_it(world: World) -> None:
    first, second = world.built_model(), world.built_model("challenger")
    assert world.client.get("/v1/aliases/production/shadow").status_code == 404
    put = world.client.put("/v1/aliases/production/shadow", json={"model_id": second, "share": 1.0})
    assert put.json()["challenger"] == {"model_id": second, "alias": None}
    world.container.live.look()
    plain = world.client.get("/v1/songs/a/neighbours").json()
    asked = world.client.get("/v1/songs/a/neighbours", params={"k": 2, "alias": "production"}).json()
    found = world.client.get("/v1/users/u/recommendations", params={"k": 2}).json()
    assert {answer["model_id"] for answer in (plain, asked, found)} == {first}
    shadows = world.container.shadows
    until(lambda: shadows.is_idle, "the requests are compared")
    shadows.stop()
    report = world.client.get("/v1/aliases/production/shadow").json()
    assert (report["n"], report["n_errors"], report["overlap"], report["n_servers"]) == (3, 0, 1.0, 1)
    assert report["live"]["p99_ms"] > 0
    assert report["challenger"]["p50_ms"] > 0
    assert world.client.get("/v1/songs/a/neighbours", params={"alias": "production@shadow"}).status_code == 422
    assert world.client.delete("/v1/aliases/production/shadow").status_code == 204
    assert world.client.delete("/v1/aliases/production/shadow").status_code == 404
