"""Verdict, importance, exports, transfers and events over HTTP, the worker played by the test."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.domain.tuning.trial import Method, TrialRole
from tests.api.world import World
from tests.values import epoch_measured, measurement, outcome

BEST = 0.5


def run_to_the_end(world: World, *, best: float = BEST, counting: float = 0.2) -> None:
    """Play the worker: every trial measures 0.2, the winner `best`, what counts `counting`."""
    while (work := world.container.trials.claim("worker")) is not None:
        role, is_winner = work.trial.role, work.trained_as is TrialRole.SEARCH
        value = best if is_winner and (role is not TrialRole.SEARCH or work.trial.number == 0) else 0.2
        if work.trial.method in {Method.NEXT_SONG, Method.CO_OCCURRENCE}:
            value = counting
        measured = outcome(value)
        if role is TrialRole.REPLICATE and work.trial.seed is not None:
            value += 0.001 * work.trial.seed * (2 if is_winner else 1)
        if role not in {TrialRole.SEARCH, TrialRole.TRANSFER}:
            measured = replace(measured, test=measurement(value), threads=1, cpu="=a cpu")
        world.container.trials.complete(work.claim, measured, staged=world.staged())


def ended(world: World, *, counting: float = 0.2, **changes: Any) -> str:  # noqa: ANN401 - any JSON
    study_id = world.study(n_initial=3, baselines=True, **changes)
    run_to_the_end(world, counting=counting)
    return study_id


def test_a_winner_that_is_above_all_is_improved_and_the_study_says_so(world: World) -> None:
    study_id = ended(world, replicates=3)
    report = world.client.get(f"/v1/studies/{study_id}/verdict").json()
    assert report["verdict"]["finding"] == "improved"
    assert {each["basis"] for each in report["verdict"]["differences"]} <= {"intervals", "seeds"}
    rows = {row["name"]: row for row in report["rows"]}
    assert report["rows"][0]["standing"] == "winner"
    assert rows["gensim_defaults"]["over_seeds"]["n"] == 3
    assert rows["gensim_defaults"]["test_spread"]["n"] == 3
    assert rows["most_popular"]["standing"] == "control"
    study = world.client.get(f"/v1/studies/{study_id}").json()
    assert study["verdict"] == report["verdict"]
    assert study["progress"]["n_ended"] == study["progress"]["n_trials"] == 3 + 5 + 1 + 3 * 3


def test_further_replicates_are_asked_for_of_a_study_that_is_completed(world: World) -> None:
    study_id = ended(world)
    assert world.client.get(f"/v1/studies/{study_id}/verdict").json()["rows"][0]["test_spread"] is None
    changed = world.client.patch(f"/v1/studies/{study_id}", json={"replicates": 2})
    assert (changed.status_code, changed.json()["state"]) == (200, "running")
    run_to_the_end(world)
    report = world.client.get(f"/v1/studies/{study_id}/verdict").json()
    assert {row["over_seeds"]["n"] for row in report["rows"] if row["standing"] == "reference"} == {2}
    clone = world.client.post(f"/v1/studies/{study_id}/clone", json={"replicates": 3}).json()
    assert world.client.get(f"/v1/studies/{clone['id']}").json()["spec"]["replicates"] == 3
    refused = world.client.patch(f"/v1/studies/{study_id}", json={"replicates": 51})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/replicates")


def test_the_verdict_says_when_a_plain_baseline_beats_the_winner(world: World) -> None:
    study_id = ended(world, counting=0.9)
    verdict = world.client.get(f"/v1/studies/{study_id}").json()["verdict"]
    assert (verdict["finding"], verdict["beaten_by"]) == ("improved", ["next_song", "co_occurrence"])
    assert "next_song" in verdict["reason"]


def test_replicates_name_seed_and_source(world: World) -> None:
    study_id = ended(world, replicates=2, seed=2**31 - 1)
    trials = world.client.get(f"/v1/studies/{study_id}/trials", params={"role": "replicate"}).json()["items"]
    assert [trial["seed"] for trial in trials] == [0, 0, 0, 1, 1, 1]
    assert len({trial["source_trial_id"] for trial in trials}) == 3
    assert all(trial["reproducible"]["is_reproducible"] for trial in trials)


def test_there_is_no_verdict_before_the_end_or_without_baselines(world: World) -> None:
    study_id = world.study()
    assert world.client.get(f"/v1/studies/{study_id}/verdict").json()["missing"] == "The study has not ended."
    run_to_the_end(world)
    report = world.client.get(f"/v1/studies/{study_id}/verdict").json()
    assert report["verdict"] is None
    assert "gensim's defaults" in report["missing"]


def test_importance_is_refused_below_its_number_and_given_above(world: World) -> None:
    study_id = ended(world)
    refused = world.client.get(f"/v1/studies/{study_id}/importance")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    body = {"n_initial": 16, "search_space": {"window": {"value": 5}, "negative": {"value": 5}}}
    study_id = world.study(**body)
    run_to_the_end(world)
    found = world.client.get(f"/v1/studies/{study_id}/importance")
    assert found.status_code == 200
    assert {each["name"] for each in found.json()["parameters"]} == {"vector_size", "alpha"}


def test_exports_hold_every_trial_and_no_formula(world: World) -> None:
    study_id = ended(world)
    trials = world.client.get(f"/v1/studies/{study_id}/trials").json()["items"]
    text = world.client.get(f"/v1/studies/{study_id}/export.csv")
    assert text.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert [row["trial_id"] for row in rows] == [trial["id"] for trial in trials]
    assert {row["cpu"] for row in rows} == {"", "'=a cpu"}
    assert float(rows[-1]["test_objective"]) == pytest.approx(BEST)
    table = pq.read_table(io.BytesIO(world.client.get(f"/v1/studies/{study_id}/export.parquet").content))
    assert table["trial_id"].to_pylist() == [trial["id"] for trial in trials]
    assert table["test_objective"].to_pylist()[-1] == pytest.approx(BEST)
    for path in ("export.csv", "export.parquet", "verdict", "importance", "events", "transfers"):
        assert world.client.get(f"/v1/studies/std_none/{path}").status_code == 404


def test_pruned_trials_are_exported_and_told_with_what_they_measured(world: World) -> None:
    study_id = world.study(n_initial=1, epochs=3, pruning={"rule": "median"})
    work = world.container.trials.claim("worker")
    assert work is not None
    epochs = (epoch_measured(1, 0.1), epoch_measured(2, 0.15))
    world.container.trials.measured(work.claim, epochs)
    world.container.trials.pruned(work.claim, replace(outcome(0.15), epochs=epochs))
    (row,) = csv.DictReader(io.StringIO(world.client.get(f"/v1/studies/{study_id}/export.csv").text))
    assert (row["state"], row["validation_objective"]) == ("pruned", "")
    assert (row["last_epoch"], float(row["last_epoch_objective"])) == ("2", 0.15)
    stream = world.client.get(f"/v1/studies/{study_id}/events").text
    (measured,) = [block for block in stream.split("\n\n") if "event: measurement" in block]
    document = json.loads(next(line for line in measured.splitlines() if line.startswith("data: "))[6:])
    assert document["epochs"] == [{"epoch": 1, "objective": 0.1}, {"epoch": 2, "objective": 0.15}]
    assert document["validation"] is None


def test_a_transfer_takes_those_that_keep_the_constraints_first(world: World) -> None:
    study_id = world.study(n_initial=3, constraints=["coverage >= 0.4"])
    for number, coverage in enumerate((0.5, 0.5, 0.1)):
        work = world.container.trials.claim("worker")
        assert work is not None
        value = 0.2 + 0.1 * number
        told = replace(outcome(value), validation=replace(measurement(value), coverage=coverage))
        world.container.trials.complete(work.claim, told, staged=world.staged())
    run_to_the_end(world)
    asked = world.client.post(f"/v1/studies/{study_id}/transfer", json={"fractions": [0.5, 1.0], "n_top": 2})
    report = world.client.get(asked.headers["Location"]).json()
    assert [point["name"] for point in report["points"]] == ["trial-1", "trial-0"]


def test_importance_passes_over_points_that_the_space_holds_no_more(world: World) -> None:
    study_id = world.study(n_initial=14, search_space={"negative": {"value": 5}, "window": {"value": 5}})
    run_to_the_end(world)
    path = f"/v1/studies/{study_id}"
    assert world.client.get(f"{path}/importance").json()["n_trials"] == 14
    narrow = {"vector_size": {"type": "int", "low": 2, "high": 3}}
    changed = world.client.patch(path, json={"search_space": narrow})
    assert changed.status_code == 200, changed.text
    assert world.client.get(f"{path}/importance").status_code == 409


def test_a_transfer_runs_on_the_study_and_reports_agreement(world: World) -> None:
    study_id = ended(world)
    body = {"fractions": [0.5, 1.0], "n_top": 3}
    key = {"Idempotency-Key": "once"}
    asked = world.client.post(f"/v1/studies/{study_id}/transfer", json=body, headers=key)
    assert asked.status_code == 202
    again = world.client.post(f"/v1/studies/{study_id}/transfer", json=body, headers=key)
    assert again.json() == asked.json()
    before = world.client.get(asked.headers["Location"]).json()
    assert (before["state"], before["progress"]) == ("running", {"n_ended": 5, "n_trials": 10})
    assert world.client.get(f"/v1/studies/{study_id}/verdict").json()["verdict"] is not None
    assert world.client.post(f"/v1/studies/{study_id}/transfer", json=body).status_code == 409
    run_to_the_end(world)
    report = world.client.get(asked.headers["Location"]).json()
    assert (report["state"], report["progress"]["n_ended"]) == ("completed", 10)
    (pair,) = report["agreements"]
    assert (pair["fractions"], pair["n"]) == ([0.5, 1.0], 5)
    listed = world.client.get(f"/v1/studies/{study_id}/transfers").json()["items"]
    assert listed == [asked.json()]
    trials = world.client.get(f"/v1/studies/{study_id}/trials", params={"role": "transfer"}).json()["items"]
    assert all(trial["test"] is None and trial["sample_fraction"] == 0.5 for trial in trials)
    other = world.client.post(f"/v1/studies/{study_id}/transfer", json=body)
    assert world.client.get(other.headers["Location"]).json()["state"] == "completed"  # measured before


def test_fractions_that_fall_are_refused_with_their_place(world: World) -> None:
    refused = world.client.post(f"/v1/studies/{ended(world)}/transfer", json={"fractions": [0.5, 0.1]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/fractions/1")


def told(text: str) -> list[tuple[str, int | None]]:
    """Kind and id of each event of a stream."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], int(fields["id"]) if "id" in fields else None))
    return events


def test_the_events_of_a_study_that_has_ended_are_told_and_resumed(world: World) -> None:
    study_id = ended(world)
    whole = world.client.get(f"/v1/studies/{study_id}/events")
    assert whole.headers["content-type"].startswith("text/event-stream")
    events = told(whole.text)
    assert events[-1] == ("end", None)
    ids = [identity for _, identity in events if identity is not None]
    assert ids == sorted(set(ids))
    assert [kind for kind, _ in events].count("measurement") == 3 + 5 + 1
    middle = ids[len(ids) // 2]
    rest = world.client.get(f"/v1/studies/{study_id}/events", headers={"Last-Event-ID": str(middle)})
    assert [identity for _, identity in told(rest.text) if identity is not None] == ids[len(ids) // 2 + 1 :]
    nothing = world.client.get(f"/v1/studies/{study_id}/events", headers={"Last-Event-ID": str(ids[-1])})
    assert nothing.status_code == 204
    wrong = world.client.get(f"/v1/studies/{study_id}/events", headers={"Last-Event-ID": "x"})
    assert wrong.status_code == 422


def test_a_study_is_deleted_with_its_events_and_transfers(world: World) -> None:
    study_id = ended(world)
    world.client.post(f"/v1/studies/{study_id}/transfer", json={"fractions": [0.5, 1.0]})
    run_to_the_end(world)
    assert world.client.delete(f"/v1/studies/{study_id}").status_code == 204
    state = world.state()
    assert (state["events"], state["transfers"], state["trials"]) == ([], [], [])
