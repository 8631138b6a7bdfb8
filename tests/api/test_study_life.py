"""Studies over HTTP, beside watching them: extended, changed, cloned, deleted; stopped by a rule; tried again."""

from typing import Any

from app.domain.lease import Failure
from app.domain.tuning.search_space import IntParameter
from tests.api.world import World
from tests.values import outcome


def run(world: World, *objectives: float) -> None:
    for objective in objectives:
        work = world.container.trials.claim("worker")
        assert work is not None
        world.container.trials.complete(work.claim, outcome(objective), staged=world.staged())


def look(world: World, study_id: str) -> dict[str, Any]:
    found: dict[str, Any] = world.client.get(f"/v1/studies/{study_id}").json()
    return found


def test_a_completed_study_is_extended(world: World) -> None:
    study_id = world.completed_study()
    extended = world.client.post(f"/v1/studies/{study_id}/extend", json={"n_iterations": 2})
    assert extended.status_code == 202
    assert extended.headers["Location"] == f"/v1/studies/{study_id}"
    study = extended.json()
    assert (study["state"], study["finished_at"], study["version"]) == ("running", None, 1)
    assert (study["spec"]["n_initial"], study["spec"]["n_iterations"]) == (1, 2)
    run(world, 0.1, 0.3, 0.3)
    study = look(world, study_id)
    assert (study["state"], study["best"]["number"]) == ("completed", 2)
    assert study["confirmation"]["source_trial_id"] == study["best"]["id"]
    again = world.client.post(f"/v1/studies/{world.study()}/extend", json={"n_iterations": 2})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_a_study_says_by_which_rule_it_was_stopped(world: World) -> None:
    rules = {"target": 0.3, "no_improvement": {"n_trials": 5}}
    study_id = world.study(n_initial=9, stopping=rules)
    asked = look(world, study_id)
    assert asked["stopped"] is None
    assert asked["spec"]["stopping"] == {
        "max_trials": None,
        "max_run_s": None,
        "no_improvement": {"n_trials": 5, "min_delta": 0.0},
        "target": 0.3,
        "min_expected_improvement": None,
    }
    run(world, 0.1, 0.35, 0.35)
    study = look(world, study_id)
    assert study["state"] == "completed"
    assert study["stopped"]["rule"] == "target"
    assert "0.35" in study["stopped"]["reason"]
    assert study["stopped"]["at"].endswith("Z")
    assert study["run_s"] > 0
    assert study["progress"] == {"fraction": 1.0, "n_ended": 3, "n_trials": 3}


def test_failures_are_told_apart_and_a_trial_says_when_it_is_tried_again(world: World) -> None:
    retry = {"backoff_s": 600.0, "max_backoff_s": 900.0, "on": {"out_of_memory": False, "lost": 9}}
    study_id = world.study(n_initial=2, max_attempts=2, retry=retry)
    shown = look(world, study_id)["spec"]["retry"]
    assert shown["on"] == {"failed": None, "timed_out": None, "out_of_memory": 1, "lost": 9}
    assert (shown["backoff_s"], shown["backoff_factor"], shown["abort_after"]) == (600.0, 2.0, None)
    ways = (("crashed", "waiting"), ("out_of_memory", "failed"))
    for code, state in ways:
        work = world.container.trials.claim("worker")
        assert work is not None
        world.container.trials.fail(work.claim, Failure(code=code, reason="It went wrong."), is_final=False)
        trial = world.client.get(f"/v1/trials/{work.trial.id}").json()
        assert trial["state"] == state
        assert (trial["not_before"] is not None) == (state == "waiting")
        assert sum(trial["failures"].values()) == 1
    assert look(world, study_id)["failures"] == {"failed": 1, "timed_out": 0, "out_of_memory": 1, "lost": 0}
    assert world.container.trials.claim("worker") is None


def test_a_study_is_changed_under_its_version(world: World) -> None:
    study_id = world.study(n_initial=5)
    path = f"/v1/studies/{study_id}"
    tag = world.client.get(path).headers["ETag"]
    assert tag == '"0"'
    body = {"parallelism": 4, "trial_timeout_s": 60, "n_iterations": 3, "name": "more", "stopping": {"max_trials": 6}}
    changed = world.client.patch(path, json=body, headers={"If-Match": tag})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"1"')
    spec = changed.json()["spec"]
    assert (spec["parallelism"], spec["trial_timeout_s"], spec["n_iterations"]) == (4, 60, 3)
    assert (changed.json()["name"], spec["stopping"]["max_trials"]) == ("more", 6)
    stale = world.client.patch(path, json={"name": "less"}, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert stale.json()["current_version"] == 1
    cleared = world.client.patch(path, json={"trial_timeout_s": None, "stopping": {}}, headers={"If-Match": "*"})
    assert cleared.json()["spec"]["trial_timeout_s"] is None
    assert cleared.json()["spec"]["stopping"]["max_trials"] is None
    assert cleared.json()["spec"]["parallelism"] == 4


def test_a_study_shows_its_revisions_and_each_trial_its_own(world: World) -> None:
    study_id = world.study(n_initial=3)
    run(world, 0.2)
    window = {"type": "int", "low": 1, "high": 2, "scale": "linear"}
    changed = world.client.patch(f"/v1/studies/{study_id}", json={"search_space": {"window": window}})
    assert (changed.status_code, changed.json()["revision"]) == (200, 1)
    run(world, 0.2)
    study = look(world, study_id)
    assert [revision["number"] for revision in study["revisions"]] == [0, 1]
    assert study["revisions"][0]["search_space"]["window"]["high"] == 40
    assert study["revisions"][1]["search_space"]["window"] == window
    assert study["revisions"][1]["search_space"] == study["spec"]["search_space"]
    trials = world.client.get(f"/v1/studies/{study_id}/trials").json()["items"]
    assert [trial["revision"] for trial in trials] == [0, 1]
    assert trials[1]["parameters"]["window"] <= IntParameter(name="window", low=1, high=2).high


def test_a_clone_is_asked_for_like_a_study(world: World) -> None:
    study_id = world.study(seed=3)
    clone = world.client.post(f"/v1/studies/{study_id}/clone", json={"seed": 4, "name": "again"})
    assert clone.status_code == 202
    assert clone.headers["Location"] == f"/v1/studies/{clone.json()['id']}"
    assert (clone.json()["cloned_from"], clone.json()["name"], clone.json()["state"]) == (study_id, "again", "queued")
    spec = look(world, study_id)["spec"]
    assert clone.json()["spec"] == {**spec, "seed": 4}
    assert world.client.post(f"/v1/studies/{study_id}/clone").json()["spec"] == spec


def test_a_deleted_study_is_gone(world: World) -> None:
    study_id = world.completed_study()
    (trial, _) = world.client.get(f"/v1/studies/{study_id}/trials").json()["items"]
    deleted = world.client.delete(f"/v1/studies/{study_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert world.client.get(f"/v1/studies/{study_id}").status_code == 404
    assert world.client.get(f"/v1/trials/{trial['id']}").status_code == 404
    assert world.client.get("/v1/studies").json()["items"] == []
    assert not [name for name in world.state()["files"] if name.startswith("trials/")]


def test_a_study_that_is_open_or_made_a_model_is_not_deleted(world: World) -> None:
    promoted = world.completed_study()
    model_id = world.client.post(f"/v1/studies/{promoted}/promote").json()["id"]
    for study_id, said in ((world.study(), "cancel it"), (promoted, model_id)):
        refused = world.client.delete(f"/v1/studies/{study_id}")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert said in refused.json()["detail"]
