"""Own points, ask and tell, and warm starts, as clients see them."""

import json
import logging
from typing import Any

import pytest
from httpx2 import Response

from app.domain.training import DEFAULT_TRAINER
from tests.api.world import World
from tests.values import outcome

POINT = {"vector_size": 50, "window": 3, "negative": 5, "alpha": 0.05}
MEASURED = {"hit_ratio": 0.4, "ndcg": 0.2, "n_pairs": 100, "segments": {"ar": {"objective": 0.1, "n_pairs": 9}}}


def added(world: World, study_id: str, *trials: dict[str, Any], key: str | None = None) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return world.client.post(f"/v1/studies/{study_id}/trials", json={"trials": list(trials)}, headers=headers)


def asked(world: World, study_id: str, client_id: str = "a") -> dict[str, Any]:
    answer = world.client.post(f"/v1/studies/{study_id}/trials/ask", json={"client_id": client_id})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def told(world: World, trial: dict[str, Any], way: str, **body: Any) -> Response:  # noqa: ANN401 - any JSON
    path = f"/v1/trials/{trial['trial']['id']}/{way}"
    return world.client.post(path, json=body, headers={"Lease-Token": trial["lease_token"]})


def test_points_and_finished_trials_are_given_in_one_call(world: World) -> None:
    study_id = world.study(n_initial=3)
    answer = added(world, study_id, {"parameters": POINT}, {"parameters": POINT, "measurement": MEASURED, "train_s": 4})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/studies/{study_id}/trials"
    enqueued, attached = answer.json()["items"]
    assert (enqueued["role"], enqueued["origin"], enqueued["state"]) == ("search", "enqueued", "waiting")
    assert enqueued["parameters"]["epochs"] == 3
    assert (attached["role"], attached["origin"], attached["state"]) == ("attached", None, "completed")
    assert attached["objective"] == pytest.approx(0.3)
    assert attached["validation"]["segments"]["ar"]["objective"]["n"] == 9
    assert attached["times_s"] == {"train": 4}
    listed = world.client.get(f"/v1/studies/{study_id}/trials", params={"role": "attached"}).json()
    assert listed["items"] == [attached]
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert (study["n_attached"], study["counts"]["waiting"], study["best"]) == (1, 1, None)


def test_the_same_key_gives_points_once(world: World) -> None:
    study_id = world.study(n_initial=5)
    first = added(world, study_id, {"parameters": POINT}, key="k")
    before = world.state()
    again = added(world, study_id, {"parameters": POINT}, key="k")
    assert (again.status_code, again.json(), again.headers["Location"]) == (
        201,
        first.json(),
        first.headers["Location"],
    )
    assert world.state() == before
    assert added(world, study_id, {"parameters": {**POINT, "window": 4}}, key="k").status_code == 409


def test_a_teams_own_trainer_asks_and_tells(world: World) -> None:
    study_id = world.study(trainer="external", n_initial=1)
    trial = asked(world, study_id)
    assert trial["trial"]["state"] == "running"
    assert trial["trial"]["parameters"]["epochs"] == 3
    alive = told(world, trial, "heartbeat")
    assert (alive.status_code, alive.json()["answer"]) == (200, "continue")
    assert alive.json()["lease_expires_at"] >= trial["lease_expires_at"]
    told(world, trial, "heartbeat", progress={"fraction": 0.5, "epoch": 2})
    path = f"/v1/trials/{trial['trial']['id']}"
    assert world.client.get(path).json()["progress"] == {"phase": "train", "fraction": 0.5, "epoch": 2}
    assert told(world, trial, "measurements", epoch=1, objective=0.1, n_pairs=100).json()["answer"] == "continue"
    done = told(world, trial, "complete", measurement=MEASURED, train_s=7.5)
    assert done.status_code == 200
    assert done.json() == world.client.get(path).json()
    assert done.json()["objective"] == pytest.approx(0.3)
    assert [epoch["epoch"] for epoch in done.json()["epochs"]] == [1]
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert (study["state"], study["confirmation"]) == ("completed", None)
    assert "outside Segue" in study["unconfirmed"]
    over = world.client.post(f"/v1/studies/{study_id}/trials/ask", json={"client_id": "a"})
    assert (over.status_code, over.json()["code"]) == (409, "conflict")


def test_a_heartbeat_needs_no_body(world: World) -> None:
    trial = asked(world, world.study(trainer="external"))
    path = f"/v1/trials/{trial['trial']['id']}/heartbeat"
    assert world.client.post(path, headers={"Lease-Token": trial["lease_token"]}).status_code == 200


def test_a_token_that_no_longer_holds_its_trial_is_refused(world: World) -> None:
    study_id = world.study(trainer="external", n_initial=2)
    late = asked(world, study_id)
    current = asked(world, study_id)
    assert current["trial"]["id"] == late["trial"]["id"]
    before = world.state()
    for way, body in (
        ("heartbeat", {}),
        ("measurements", {"epoch": 1, "objective": 0.1, "n_pairs": 9}),
        ("complete", {"measurement": MEASURED}),
        ("fail", {"reason": "late"}),
    ):
        refused = told(world, late, way, **body)
        assert (refused.status_code, refused.json()["code"]) == (409, "lost_lease")
    assert world.state() == before


def test_a_trial_that_failed_is_told_with_its_reason(world: World) -> None:
    trial = asked(world, world.study(trainer="external", n_initial=2))
    failed = told(world, trial, "fail", reason="diverged", is_final=True)
    assert failed.json()["state"] == "infeasible"
    assert failed.json()["failure"] == {"code": "infeasible", "reason": "diverged"}


def test_what_a_trial_ran_out_of_is_told_apart(world: World) -> None:
    study_id = world.study(trainer="external", n_initial=2)
    failed = told(world, asked(world, study_id), "fail", reason="CUDA out of memory", kind="out_of_memory")
    assert failed.json()["failure"] == {"code": "out_of_memory", "reason": "CUDA out of memory"}
    assert world.client.get(f"/v1/studies/{study_id}").json()["failures"]["out_of_memory"] == 1


def test_what_the_study_s_constraints_look_at_has_to_be_told(world: World) -> None:
    body = {"dataset_id": world.ready_dataset(), "trainer": "external", "n_initial": 1, "n_iterations": 0}
    limits = ["model_bytes <= 100", "evaluate_seconds <= 9", "coverage >= 0.5"]
    made = world.client.post("/v1/studies", json={**body, "baselines": False, "constraints": limits})
    trial = asked(world, made.json()["id"])
    costs: dict[str, Any] = {}
    measured: dict[str, Any] = {"objective": 0.3, "n_pairs": 100}
    for pointer, more in (
        ("/model_bytes", {"model_bytes": 90}),
        ("/evaluate_s", {"evaluate_s": 3.5}),
        ("/measurement/coverage", {}),
    ):
        refused = told(world, trial, "complete", measurement=measured, **costs)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
        costs |= more
    done = told(world, trial, "complete", measurement={**measured, "coverage": 0.6}, **costs).json()
    assert (done["state"], [each["is_satisfied"] for each in done["constraints"]]) == ("completed", [True] * 3)


def test_an_objective_of_segments_is_made_of_those_that_are_told(world: World) -> None:
    body = {"dataset_id": world.ready_dataset({"ar": 40, "en": 40}), "trainer": "external", "baselines": False}
    small = {"n_initial": 1, "n_iterations": 0, "objective": {"aggregate": "worst_segment"}}
    trial = asked(world, world.client.post("/v1/studies", json={**body, **small}).json()["id"])
    overall = {"objective": 0.3, "n_pairs": 80}
    for way, place, whole in (
        ("measurements", "", {"epoch": 1, **overall}),
        ("complete", "/measurement", {"measurement": overall}),
    ):
        refused = told(world, trial, way, **whole)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, f"{place}/segments")
    segments = {"ar": {"objective": 0.1, "n_pairs": 40}, "en": {"objective": 0.5, "n_pairs": 40}}
    assert told(world, trial, "measurements", epoch=1, **overall, segments=segments).status_code == 200
    done = told(world, trial, "complete", measurement={**overall, "segments": segments}).json()
    assert (done["objective"], done["epochs"][0]["scores"]["objective"]["value"]) == (0.1, 0.1)


def test_what_was_taken_over_is_told_though_its_source_was_deleted(world: World) -> None:
    source_id = world.completed_study()
    body = {
        "dataset_id": world.client.get(f"/v1/studies/{source_id}").json()["dataset_id"],
        "warm_start": {"mode": "identical_data", "study_ids": [source_id]},
    }
    study_id = world.client.post("/v1/studies", json=body).json()["id"]
    before = world.client.get(f"/v1/studies/{study_id}/inherited").json()
    assert world.client.delete(f"/v1/studies/{source_id}").status_code == 204
    assert world.client.get(f"/v1/studies/{study_id}/inherited").json() == before
    assert world.client.get(f"/v1/studies/{study_id}").json()["sources"][0]["study_id"] == source_id


def test_when_all_trials_are_given_out_the_next_to_ask_is_told_so(world: World) -> None:
    study_id = world.study(trainer="external", n_initial=1)
    asked(world, study_id)
    refused = world.client.post(f"/v1/studies/{study_id}/trials/ask", json={"client_id": "b"})
    assert (refused.status_code, refused.json()["code"]) == (409, "budget_spent")


def test_a_token_is_neither_stored_nor_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    study_id = world.study(trainer="external", n_initial=2)
    trial = asked(world, study_id)
    told(world, trial, "heartbeat")
    told(world, trial, "complete", measurement={"n_pairs": 5})
    told(world, trial, "complete", measurement=MEASURED)
    assert len(trial["lease_token"]) == 43
    assert trial["lease_token"] not in json.dumps(world.state(), default=repr)
    assert trial["lease_token"] not in caplog.text


def test_an_external_studys_winner_is_promoted_by_a_full_fit_alone(world: World) -> None:
    study_id = world.study(trainer="external", n_initial=1)
    told(world, asked(world, study_id), "complete", measurement=MEASURED)
    refused = world.client.post(f"/v1/studies/{study_id}/promote")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_vectors")
    assert "fit full" in refused.json()["detail"]
    model = world.client.post(f"/v1/studies/{study_id}/promote", json={"fit": "full"}).json()
    assert (model["state"], model["lineage"]["trainer"]) == ("building", DEFAULT_TRAINER)


@pytest.mark.parametrize(("mode", "gave", "number"), [("identical_data", "measurement", -1), ("transfer", "point", 0)])
def test_a_warm_start_is_shown_with_what_it_gave(world: World, mode: str, gave: str, number: int) -> None:
    source_id = world.completed_study()
    dataset_id = world.client.get(f"/v1/studies/{source_id}").json()["dataset_id"]
    warm_start = {"mode": mode, "study_ids": [source_id]}
    body = {"dataset_id": dataset_id, "warm_start": warm_start, "baselines": False}
    study_id = world.client.post("/v1/studies", json=body).json()["id"]
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert study["spec"]["warm_start"] == warm_start
    assert study["sources"] == [{"study_id": source_id, "name": "article, random", "n_trials": 1}]
    (inherited,) = world.client.get(f"/v1/studies/{study_id}/inherited").json()["items"]
    assert (inherited["gave"], inherited["number"], inherited["objective"]) == (gave, number, 0.2)
    assert (inherited["study_id"], inherited["trial_number"], inherited["changed"]) == (source_id, 0, [])
    tried = world.client.get(f"/v1/studies/{study_id}/trials").json()["items"]
    assert [trial["origin"] for trial in tried] == (["warm_start"] if mode == "transfer" else [])


def test_what_a_study_took_over_is_paged(world: World) -> None:
    source_id = world.study(n_initial=3)
    for objective in (0.1, 0.2, 0.3):
        work = world.container.trials.claim("worker")
        assert work is not None
        world.container.trials.complete(work.claim, outcome(objective), staged=world.staged())
    world.client.post(f"/v1/studies/{source_id}/cancel")
    body = {
        "dataset_id": world.client.get(f"/v1/studies/{source_id}").json()["dataset_id"],
        "warm_start": {"mode": "identical_data", "study_ids": [source_id]},
    }
    path = f"/v1/studies/{world.client.post('/v1/studies', json=body).json()['id']}/inherited"
    first = world.client.get(path, params={"limit": 2}).json()
    then = world.client.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [found["number"] for found in first["items"] + then["items"]] == [-3, -2, -1]
    assert then["next_cursor"] is None
