"""The same key gives the same answer; another request under it is refused."""

from collections.abc import Callable

import pytest
from httpx2 import Response

from tests.api.world import PLAYS_CSV, World

Ask = Callable[[World, str], Response]

DATASET = {"name": "spring", "plays": {"source": "plays"}}


def _upload(world: World, key: str) -> Response:
    return world.client.post("/v1/uploads", content=PLAYS_CSV, headers={"Idempotency-Key": key})


def _dataset(world: World, key: str) -> Response:
    return world.client.post("/v1/datasets", json=DATASET, headers={"Idempotency-Key": key})


def _study(world: World, key: str) -> Response:
    ready = [entry for entry in world.client.get("/v1/datasets").json()["items"] if entry["state"] == "ready"]
    dataset_id = ready[-1]["id"] if ready else world.ready_dataset()
    return world.client.post("/v1/studies", json={"dataset_id": dataset_id}, headers={"Idempotency-Key": key})


def _promotion(world: World, key: str) -> Response:
    done = [entry for entry in world.client.get("/v1/studies").json()["items"] if entry["state"] == "completed"]
    study_id = done[-1]["id"] if done else world.completed_study()
    return world.client.post(f"/v1/studies/{study_id}/promote", headers={"Idempotency-Key": key})


def _extension(world: World, key: str) -> Response:
    over = [entry for entry in world.client.get("/v1/studies").json()["items"] if entry["version"]]
    study_id = over[-1]["id"] if over else world.completed_study()
    path = f"/v1/studies/{study_id}/extend"
    return world.client.post(path, json={"n_iterations": 2}, headers={"Idempotency-Key": key})


def _clone(world: World, key: str) -> Response:
    asked = [entry for entry in world.client.get("/v1/studies").json()["items"] if not entry["cloned_from"]]
    study_id = asked[-1]["id"] if asked else world.study()
    return world.client.post(f"/v1/studies/{study_id}/clone", headers={"Idempotency-Key": key})


@pytest.mark.parametrize("ask", [_upload, _dataset, _study, _promotion, _extension, _clone])
def test_a_repeated_request_gets_the_first_answer(world: World, ask: Ask) -> None:
    first = ask(world, "key 1")
    before = world.state()
    second = ask(world, "key 1")
    assert first.status_code in {201, 202}
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["Location"] == first.headers["Location"]
    assert world.state() == before


@pytest.mark.parametrize("ask", [_upload, _dataset, _study, _promotion, _clone])
def test_another_key_makes_another(world: World, ask: Ask) -> None:
    assert ask(world, "key 1").json()["id"] != ask(world, "key 2").json()["id"]


def test_the_same_body_written_otherwise_is_the_same_request(world: World) -> None:
    first = _dataset(world, "k")
    content = b'{ "plays":{"source":"plays"},\n "name":"spring" }'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json; charset=utf-8"}
    assert world.client.post("/v1/datasets", content=content, headers=headers).json() == first.json()


@pytest.mark.parametrize(
    "ask",
    [
        lambda world: world.client.post(
            "/v1/datasets", json={**DATASET, "name": "autumn"}, headers={"Idempotency-Key": "k"}
        ),
        lambda world: world.client.post("/v1/uploads", content=PLAYS_CSV, headers={"Idempotency-Key": "k"}),
        lambda world: _study(world, "k"),
    ],
    ids=["another body", "another route", "a third route"],
)
def test_a_key_of_another_request_is_refused(world: World, ask: Callable[[World], Response]) -> None:
    world.ready_dataset()
    _dataset(world, "k")
    before = world.state()
    refused = ask(world)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert world.state() == before


def test_a_key_of_another_file_is_refused(world: World) -> None:
    _upload(world, "k")
    before = world.state()
    refused = world.client.post("/v1/uploads", content=PLAYS_CSV + b"d,2\n", headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert world.state() == before


def test_a_refused_request_does_not_use_its_key_up(world: World) -> None:
    headers = {"Idempotency-Key": "k"}
    wrong = {"name": "spring", "plays": {"source": "none"}}
    assert world.client.post("/v1/datasets", json=wrong, headers=headers).status_code == 422
    assert world.client.post("/v1/datasets", json=DATASET, headers=headers).status_code == 202
