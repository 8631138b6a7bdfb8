"""From a file to recommendations, over HTTP, with the test as the worker."""

import hashlib

import pytest
from fastapi.testclient import TestClient

from app.domain.training import DEFAULT_TRAINER
from tests.api.world import PLAYS_CSV, World
from tests.values import epoch_measured, outcome


def test_an_upload_tells_format_size_and_checksum(client: TestClient) -> None:
    sent = client.post("/v1/uploads", content=PLAYS_CSV, headers={"Content-Type": "text/csv"})
    assert sent.status_code == 201
    upload = sent.json()
    assert upload["format"] == "csv"
    assert upload["size_bytes"] == len(PLAYS_CSV)
    assert upload["sha256"] == hashlib.sha256(PLAYS_CSV).hexdigest()
    assert sent.headers["Location"] == f"/v1/uploads/{upload['id']}"
    assert client.get(sent.headers["Location"]).json() == upload


def test_a_dataset_of_an_upload_is_queued_and_found_where_it_says(client: TestClient) -> None:
    upload_id = client.post("/v1/uploads", content=PLAYS_CSV).json()["id"]
    made = client.post("/v1/datasets", json={"name": "spring", "plays": {"upload_id": upload_id}})
    assert made.status_code == 202
    dataset = made.json()
    assert dataset["state"] == "queued"
    assert dataset["plays"] == {"upload_id": upload_id, "source": None}
    assert dataset["preparation"]["session_gap_minutes"] == 30
    assert client.get(made.headers["Location"]).json() == dataset


def test_a_ready_dataset_shows_its_statistics(world: World) -> None:
    dataset = world.client.get(f"/v1/datasets/{world.ready_dataset()}").json()
    assert dataset["state"] == "ready"
    assert dataset["progress"] == {"phase": "ready", "fraction": 1.0, "epoch": None}
    assert dataset["fingerprint"] == "f" * 64
    assert dataset["statistics"]["overall"]["sessions"] == 3
    assert dataset["finished_at"].endswith("Z")


def test_the_dataset_alone_runs_the_articles_study(world: World) -> None:
    made = world.client.post("/v1/studies", json={"dataset_id": world.ready_dataset()})
    spec = made.json()["spec"]
    assert (spec["preset"], spec["algorithm"], spec["acquisition"]) == ("article", "bayesian", "ei")
    assert (spec["n_initial"], spec["n_iterations"], spec["parallelism"]) == (5, 19, 1)
    assert spec["search_space"]["vector_size"] == {"type": "int", "low": 10, "high": 200, "scale": "linear"}
    assert spec["search_space"]["epochs"] == {"value": 3}
    study = world.client.get(made.headers["Location"]).json()
    assert study["state"] == "queued"
    assert study["progress"] == {"fraction": 0.0, "n_ended": 0, "n_trials": 30}
    assert [trial["name"] for trial in study["baselines"]][:2] == ["gensim_defaults", "gensim_defaults_skip_gram"]


def test_a_study_says_who_trains_it_and_who_does_by_default(world: World) -> None:
    dataset_id = world.ready_dataset()
    for asked, told in (({}, DEFAULT_TRAINER), ({"trainer": "segue"}, "segue"), ({"trainer": "gensim"}, "gensim")):
        made = world.client.post("/v1/studies", json={"dataset_id": dataset_id, **asked})
        assert world.client.get(made.headers["Location"]).json()["spec"]["trainer"] == told


def test_the_extended_preset_takes_a_number_of_epochs_as_fixed(world: World) -> None:
    asked = {"dataset_id": world.ready_dataset(), "preset": "extended"}
    tuned = world.client.post("/v1/studies", json=asked).json()["spec"]["search_space"]
    fixed = world.client.post("/v1/studies", json={**asked, "epochs": 7}).json()["spec"]["search_space"]
    assert tuned["epochs"] == {"type": "int", "low": 3, "high": 100, "scale": "log"}
    assert fixed["epochs"] == {"value": 7}
    assert fixed["scoring"] == {"type": "categorical", "choices": ["input", "output", "sum"]}


def test_a_search_space_is_shown_as_it_is_asked_for(world: World) -> None:
    space = {
        "alpha": {"type": "float", "low": 0.01, "high": 0.5, "scale": "linear"},
        "window": {"value": 4},
        "sg": {"type": "categorical", "choices": [0, 1]},
    }
    study = world.client.post("/v1/studies", json={"dataset_id": world.ready_dataset(), "search_space": space}).json()
    assert space.items() <= study["spec"]["search_space"].items()


def test_a_running_study_shows_its_trial(world: World) -> None:
    study_id = world.study(n_initial=2)
    work = world.container.trials.claim("worker")
    assert work is not None
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert study["state"] == "running"
    assert study["counts"]["running"] == 1
    (running,) = study["running"]
    assert running["parameters"]["epochs"] == 3
    assert running["attempt"] == 1
    assert world.client.get(f"/v1/trials/{work.trial.id}").json()["epochs"] == []


def test_a_completed_study_shows_its_best_and_its_confirmation(world: World) -> None:
    study = world.client.get(f"/v1/studies/{world.completed_study()}").json()
    assert study["state"] == "completed"
    assert study["best"]["objective"] == pytest.approx(0.2)
    assert study["best"]["id"] == study["best_trial_id"]
    assert study["best"]["validation"]["overall"]["hit_ratio"]["n"] == 100
    assert study["best"]["validation"]["segments"]["ar"]["n_pairs"] == 100
    assert study["confirmation"]["source_trial_id"] == study["best"]["id"]
    assert study["progress"]["fraction"] == 1.0


def test_trials_come_in_order_and_by_role(world: World) -> None:
    study_id = world.completed_study()
    whole = world.client.get(f"/v1/studies/{study_id}/trials").json()
    assert [trial["role"] for trial in whole["items"]] == ["search", "confirmation"]
    assert whole["next_cursor"] is None
    part = world.client.get(f"/v1/studies/{study_id}/trials", params={"role": "confirmation"}).json()
    assert part["items"] == whole["items"][1:]
    first = world.client.get(f"/v1/studies/{study_id}/trials", params={"limit": 1}).json()
    then = world.client.get(f"/v1/studies/{study_id}/trials", params={"limit": 1, "cursor": first["next_cursor"]})
    assert [*first["items"], *then.json()["items"]] == whole["items"]


def test_a_study_is_paused_resumed_and_cancelled(world: World) -> None:
    study_id = world.study()
    ways = {"pause": "paused", "resume": "queued", "cancel": "cancelled"}
    for way, state in ways.items():
        moved = world.client.post(f"/v1/studies/{study_id}/{way}")
        assert (moved.status_code, moved.json()["state"]) == (200, state)
    refused = world.client.post(f"/v1/studies/{study_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_a_failed_trial_says_why(world: World) -> None:
    from app.domain.lease import Failure

    world.study(max_attempts=1)
    work = world.container.trials.claim("worker")
    assert work is not None
    world.container.trials.fail(work.claim, Failure(code="out_of_memory", reason="Too much."), is_final=False)
    trial = world.client.get(f"/v1/trials/{work.trial.id}").json()
    assert trial["state"] == "failed"
    assert trial["failure"] == {"code": "out_of_memory", "reason": "Too much."}


def test_a_model_shows_lineage_files_and_index(world: World) -> None:
    model_id = world.built_model()
    model = world.client.get(f"/v1/models/{model_id}").json()
    assert model["state"] == "ready"
    assert model["lineage"]["fingerprint"] == "f" * 64
    assert model["lineage"]["trainer"] == DEFAULT_TRAINER
    assert model["index"]["recall"] == 1.0
    (file,) = model["files"]
    assert file == {"name": "vectors.npy", "size_bytes": 7, "sha256": hashlib.sha256(b"vectors").hexdigest()}
    assert world.client.get("/v1/models").json()["items"] == [model]


def test_promotion_without_a_body_takes_the_winner_to_production(world: World) -> None:
    promoted = world.client.post(f"/v1/studies/{world.completed_study()}/promote")
    assert promoted.status_code == 202
    assert promoted.headers["Location"] == f"/v1/models/{promoted.json()['id']}"
    assert (promoted.json()["alias"], promoted.json()["fit"]) == ("production", "trial")


def test_only_a_completed_study_is_promoted(world: World) -> None:
    refused = world.client.post(f"/v1/studies/{world.study()}/promote", json={"fit": "full"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_lists_are_paged_newest_first(world: World) -> None:
    made = [
        world.client.post("/v1/datasets", json={"name": str(n), "plays": {"source": "plays"}}).json()["id"]
        for n in range(3)
    ]
    first = world.client.get("/v1/datasets", params={"limit": 2}).json()
    then = world.client.get("/v1/datasets", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [entry["id"] for entry in first["items"] + then["items"]] == made[::-1]
    assert then["next_cursor"] is None


def test_sources_are_listed_without_their_paths(client: TestClient) -> None:
    assert client.get("/v1/sources").json() == {"items": [{"name": "plays"}], "next_cursor": None}


def test_progress_and_epochs_of_a_trial_are_shown(world: World) -> None:
    from dataclasses import replace

    from app.domain.lease import Progress
    from app.domain.measurement import EpochMeasurement

    world.study()
    work = world.container.trials.claim("worker")
    assert work is not None
    world.container.trials.heartbeat(work.claim, Progress(phase="train", fraction=0.25, epoch=1))
    path = f"/v1/trials/{work.trial.id}"
    assert world.client.get(path).json()["progress"] == {"phase": "train", "fraction": 0.25, "epoch": 1}
    measured = outcome(0.2)
    assert measured.validation is not None
    epoch = EpochMeasurement(epoch=1, train_s=0.5, scores=measured.validation.overall)
    world.container.trials.complete(work.claim, replace(measured, epochs=(epoch,)), staged=world.staged())
    trial = world.client.get(path).json()
    assert trial["epochs"][0]["train_s"] == 0.5
    assert trial["epochs"][0]["scores"]["ndcg"]["low"] == pytest.approx(0.15)
    assert trial["times_s"] == {"train": 1.0}


def test_pruning_and_constraints_are_shown_as_they_are_asked_for(world: World) -> None:
    asked = {
        "pruning": {"rule": "successive_halving", "min_epochs": 1, "n_startup_trials": 5, "reduction_factor": 3},
        "constraints": ["train_seconds <= 3 * baseline", "model_bytes <= 2000000000"],
    }
    body = {"dataset_id": world.ready_dataset(), "pruning": {"rule": "successive_halving"}}
    study = world.client.post("/v1/studies", json={**body, "constraints": asked["constraints"]}).json()
    assert asked.items() <= study["spec"].items()
    shown = world.client.get(f"/v1/studies/{study['id']}").json()
    assert shown["pruning"] == {"n_pruned": 0, "epochs_saved": 0, "train_s_saved": 0.0}
    assert [one["bound"] for one in shown["constraints"]] == [None, 2e9]
    median = world.client.post("/v1/studies", json={"dataset_id": body["dataset_id"], "pruning": {"rule": "median"}})
    assert median.json()["spec"]["pruning"]["reduction_factor"] is None


def test_a_running_trial_shows_its_epochs_and_a_pruned_one_why(world: World) -> None:
    study_id = world.study(n_initial=3, parallelism=2, pruning={"rule": "successive_halving", "n_startup_trials": 1})
    trials = world.container.trials
    first, second = trials.claim("worker"), trials.claim("worker")
    assert first is not None
    assert second is not None
    trials.measured(first.claim, (epoch_measured(1, 0.5),))
    running = world.client.get(f"/v1/trials/{first.trial.id}").json()
    assert (running["state"], running["objective"], running["pruned"]) == ("running", None, None)
    assert running["epochs"][0]["scores"]["objective"]["value"] == 0.5
    trials.measured(second.claim, (epoch_measured(1, 0.1),))
    trials.pruned(second.claim, None)
    pruned = world.client.get(f"/v1/trials/{second.trial.id}").json()
    assert (pruned["state"], pruned["objective"], pruned["failure"]) == ("pruned", None, None)
    assert pruned["pruned"] == {
        "rule": "successive_halving",
        "epoch": 1,
        "value": 0.1,
        "bound": 0.5,
        "n_compared": 1,
    }
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert study["counts"]["pruned"] == 1
    assert study["pruning"] == {"n_pruned": 1, "epochs_saved": 2, "train_s_saved": 2.0}


def test_a_trial_shows_each_constraint_beside_its_value(world: World) -> None:
    study_id = world.study(constraints=["coverage >= 0.4", "train_seconds <= 0.5"])
    work = world.container.trials.claim("worker")
    assert work is not None
    world.container.trials.complete(work.claim, outcome(0.2), staged=world.staged())
    assert world.client.get(f"/v1/trials/{work.trial.id}").json()["constraints"] == [
        {"constraint": "coverage >= 0.4", "value": 0.5, "bound": 0.4, "is_satisfied": True},
        {"constraint": "train_seconds <= 0.5", "value": 1.0, "bound": 0.5, "is_satisfied": False},
    ]
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert (study["state"], study["best"]) == ("failed", None)
    assert study["failure"]["code"] == "no_feasible_trial"
    assert study["failure"]["reason"].endswith("train_seconds <= 0.5 by 1 (the closest 1, the bound 0.5).")
    assert [one["n_satisfied"] for one in study["constraints"]] == [1, 0]
    refused = world.client.post(f"/v1/studies/{study_id}/promote")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_a_constraint_that_is_wrong_is_told_with_its_position_and_what_there_is(world: World) -> None:
    body = {"dataset_id": world.ready_dataset(), "constraints": ["coverage >= 0.1", "speed <= 3 * baseline"]}
    refused = world.client.post("/v1/studies", json=body).json()
    (error,) = refused["errors"]
    assert error["pointer"] == "/constraints/1"
    assert "at position 1: 'speed' is no metric; there are train_seconds, " in error["detail"]
