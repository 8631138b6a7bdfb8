"""Neighbours that are computed after their model is ready: asked for, shown, and refused with a reason."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.lease import Failure
from app.domain.neighbour_tables import TableFacts
from app.services.neighbour_tables import KIND, TableWork
from tests.api.world import INDEX, World

FACTS = TableFacts(n_songs=5, n_neighbours=4, recall=1.0)


def bare_model(world: World, **body: Any) -> str:  # noqa: ANN401 - any JSON
    """The id of a model that is live and whose files hold no neighbours."""
    promoted = world.client.post(f"/v1/studies/{world.completed_study()}/promote", json=body)
    assert promoted.status_code == 202, promoted.text
    assert promoted.json()["neighbours"]["state"] == "pending"
    work = world.container.models.claim("worker")
    assert work is not None
    world.container.models.complete(work.claim, staged=world.staged(), index=replace(INDEX, n_neighbours=0))
    world.container.live.look()
    model_id: str = promoted.json()["id"]
    return model_id


def neighbours_of(world: World, model_id: str) -> dict[str, Any]:
    shown = world.client.get(f"/v1/models/{model_id}").json()
    (listed,) = [model for model in world.client.get("/v1/models").json()["items"] if model["id"] == model_id]
    assert shown == listed
    neighbours: dict[str, Any] = shown["neighbours"]
    return neighbours


def claim(world: World) -> TableWork:
    work = world.container.tables.claim("worker")
    assert work is not None
    return work


def test_a_model_serves_by_search_while_its_table_is_built_and_shows_how_far_it_is(world: World) -> None:
    model_id = bare_model(world, neighbours="after")
    answers = [world.client.get("/v1/songs/a/neighbours").json()]
    assert (answers[0]["model_id"], answers[0]["generation"]) == (model_id, 1)
    waiting = neighbours_of(world, model_id)
    assert (waiting["when"], waiting["state"], waiting["n"], waiting["recall"]) == ("after", "waiting", 4, None)
    work = claim(world)
    assert neighbours_of(world, model_id)["state"] == "building"
    world.container.tables.complete(work.claim, staged=world.staged(), facts=FACTS)
    ready = neighbours_of(world, model_id)
    assert (ready["state"], ready["n"], ready["recall"], ready["size_bytes"]) == ("ready", 4, 1.0, len(b"vectors"))
    world.container.live.look()
    answers.append(world.client.get("/v1/songs/a/neighbours").json())
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("when", "state"), [("off", "searched"), (None, "waiting")])
def test_without_a_word_the_size_decides_and_off_means_none(world: World, when: str | None, state: str) -> None:
    assert neighbours_of(world, bare_model(world, neighbours=when))["state"] == state


def test_neighbours_in_the_model_s_own_files_are_stored(world: World) -> None:
    stored = neighbours_of(world, world.built_model())
    assert (stored["state"], stored["n"], stored["when"]) == ("stored", 4, None)


def test_when_must_be_one_of_the_three(world: World) -> None:
    refused = world.client.post(f"/v1/studies/{world.completed_study()}/promote", json={"neighbours": "soon"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/neighbours"


def test_a_table_is_asked_for_once_and_refused_while_it_is_built(world: World) -> None:
    model_id = bare_model(world, neighbours="off")
    path = f"/v1/models/{model_id}/neighbours"
    asked = world.client.post(path)
    assert (asked.status_code, asked.headers["Location"]) == (202, f"/v1/models/{model_id}")
    assert asked.json()["neighbours"]["state"] == "waiting"
    assert world.client.post(path, json={}).json() == asked.json()
    work = claim(world)
    refused = world.client.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    world.container.tables.fail(work.claim, Failure(code="out_of_memory", reason="Too big."), is_final=True)
    failed = neighbours_of(world, model_id)
    assert (failed["state"], failed["failure"]) == ("failed", {"code": "out_of_memory", "reason": "Too big."})
    assert world.client.post(path).json()["neighbours"]["state"] == "waiting"
    assert world.client.post("/v1/models/mdl_none/neighbours").status_code == 404
    assert world.client.post(path, json={"rebuild": "yes"}).status_code == 422


def test_a_damaged_table_is_refused_with_its_reason_and_mended_by_another(world: World) -> None:
    model_id = bare_model(world)
    work = claim(world)
    table = world.container.tables.complete(work.claim, staged=world.staged(), facts=FACTS)
    path = world.container.settings.data_dir / KIND / f"{table.id}-1" / "vectors.npy"
    path.write_bytes(b"vectorz")
    world.container.live.look()
    assert world.client.get("/v1/songs/a/neighbours").status_code == 200
    ready = world.client.get("/health/ready")
    assert ready.status_code == 200
    assert "was altered" in ready.json()["aliases"][0]["neighbours_error"]
    told = [line for line in world.client.get("/metrics").text.splitlines() if "neighbours_refused{" in line]
    assert len(told) == 1
    assert model_id in told[0]
    assert "was altered" in told[0]

    anew = world.client.post(f"/v1/models/{model_id}/neighbours", json={"rebuild": True})
    assert anew.json()["neighbours"]["state"] == "waiting"
    world.container.tables.complete(claim(world).claim, staged=world.staged(), facts=FACTS)
    world.container.live.look()
    assert world.client.get("/health/ready").json()["aliases"][0]["neighbours_error"] is None
    assert "neighbours_refused{" not in world.client.get("/metrics").text
