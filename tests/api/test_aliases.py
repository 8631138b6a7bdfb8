"""Aliases over HTTP: moves, preconditions, history."""

import pytest

from tests.api.world import World


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
