"""Objectives by segment, what segments give up, and the front, over HTTP with the test as the worker."""

from typing import Any

import pytest

from app.adapters.ranks import write_ranks
from app.domain.tuning.trial import TrialOutcome
from tests.api.world import World
from tests.values import measured_on, outcome, ranks_of

SEGMENTS = {"ar": 200, "en": 200, "a/c": 30}


def asked(world: World, **body: Any) -> Any:  # noqa: ANN401 - any JSON
    small = {"algorithm": "random", "n_initial": 2, "n_iterations": 0, "baselines": False}
    return world.client.post("/v1/studies", json={"dataset_id": world.ready_dataset(SEGMENTS), **small, **body})


def completed(world: World, **body: Any) -> str:  # noqa: ANN401 - any JSON
    """A study of two trials, the second better in `ar` and the first overall; confirmed."""
    study_id: str = asked(world, **body).json()["id"]
    for hits, coverage in (([60, 100], 0.2), ([90, 20], 0.6)):
        work = world.container.trials.claim("worker")
        assert work is not None
        kept = world.staged()
        write_ranks(kept, {"validation": ranks_of(hits)})
        told = TrialOutcome(validation=measured_on(ranks_of(hits), coverage=coverage), has_ranks=True)
        world.container.trials.complete(work.claim, told, staged=world.staged(), ranks=kept)
    work = world.container.trials.claim("worker")
    assert work is not None
    world.container.trials.complete(work.claim, outcome(0.2), staged=None)
    return study_id


@pytest.mark.parametrize(
    "objective",
    [
        {"k": 10, "hr_weight": 0.5, "aggregate": "macro", "weights": None, "scope": None},
        {"k": 5, "hr_weight": 1.0, "aggregate": "weights", "weights": {"ar": 2.0, "a/c": 1.0}, "scope": None},
        {"k": 10, "hr_weight": 0.5, "aggregate": "micro", "weights": None, "scope": {"segment": "en"}},
    ],
)
def test_an_objective_by_segments_is_shown_as_it_was_asked_for(world: World, objective: dict[str, Any]) -> None:
    made = asked(world, objective=objective)
    assert made.status_code == 202, made.text
    assert made.json()["spec"]["objective"] == objective


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"objective": {"scope": {"segment": "de"}}}, "/objective/scope/segment"),
        ({"objective": {"aggregate": "weights", "weights": {"de": 1}}}, "/objective/weights"),
        ({"objective": {"aggregate": "weights"}}, "/objective/weights"),
        ({"objective": {"aggregate": "macro", "scope": {"segment": "ar"}}}, "/objective/aggregate"),
        ({"objective": {"aggregate": "median"}}, "/objective/aggregate"),
        ({"objectives": ["coverage", "hr_ndcg"]}, "/objectives/0"),
        ({"objectives": ["hr_ndcg", "hr_ndcg"]}, "/objectives"),
        ({"objectives": ["hr_ndcg"]}, "/objectives"),
        ({"objectives": ["hit_ratio", "coverage"], "objective": {"hr_weight": 0.5}}, "/objective/hr_weight"),
    ],
)
def test_objectives_that_cannot_be_are_refused_by_field(world: World, body: dict[str, Any], pointer: str) -> None:
    refused = asked(world, **body)
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_a_dataset_without_segments_has_no_objective_by_segments(world: World) -> None:
    body = {"dataset_id": world.ready_dataset(), "objective": {"aggregate": "worst_segment"}}
    refused = world.client.post("/v1/studies", json=body)
    assert refused.status_code == 422
    assert "segment_by" in refused.text


def test_each_segment_is_told_what_it_gives_up_and_gets_a_study_of_its_own(world: World) -> None:
    study_id = completed(world)
    report = world.client.get(f"/v1/studies/{study_id}/segments").json()
    assert "Bonferroni" in report["correction"]
    ar, en = report["segments"]
    assert (ar["segment"], ar["best"]["number"], ar["winner"]["number"]) == ("ar", 1, 0)
    assert ar["regret"]["low"] > 0
    assert (ar["verdict"], en["verdict"]) == ("worth_it", "not_worth_it")
    made = world.client.post(f"/v1/studies/{study_id}/segments/ar/study", headers={"Idempotency-Key": "once"})
    assert made.status_code == 202
    spec = made.json()["spec"]
    assert spec["segment_of"] == {"study_id": study_id, "segment": "ar"}
    assert spec["objective"]["scope"] == {"segment": "ar"}
    assert spec["first_points"][0]["alpha"] == ar["best"]["parameters"]["alpha"]
    assert world.client.get(made.headers["Location"]).json()["id"] == made.json()["id"]
    again = world.client.post(f"/v1/studies/{study_id}/segments/ar/study", headers={"Idempotency-Key": "once"})
    assert again.json() == made.json()


def test_the_first_trials_of_a_segment_s_study_are_the_points_that_were_best_there(world: World) -> None:
    study_id = completed(world)
    made = world.client.post(f"/v1/studies/{study_id}/segments/a%2Fc/study")
    assert made.status_code == 202  # no trial was measured there, so it begins at random
    assert made.json()["spec"]["first_points"] == []
    world.client.post(f"/v1/studies/{made.json()['id']}/cancel")
    made = world.client.post(f"/v1/studies/{study_id}/segments/ar/study")
    work = world.container.trials.claim("worker")
    assert work is not None
    assert work.trial.study_id == made.json()["id"]
    assert work.trial.parameters is not None
    assert work.trial.parameters.alpha == made.json()["spec"]["first_points"][0]["alpha"]


@pytest.mark.parametrize(("segment", "status"), [("de", 422), ("ar", 409)])
def test_a_segment_s_study_is_refused(world: World, segment: str, status: int) -> None:
    study_id = asked(world).json()["id"]
    refused = world.client.post(f"/v1/studies/{study_id}/segments/{segment}/study")
    assert refused.status_code == status
    if status == 422:
        assert refused.json()["errors"][0]["pointer"] == "segment"
        assert "'a/c', 'ar', 'en'" in refused.text
    assert world.client.get(f"/v1/studies/{study_id}/segments").status_code == 409


def test_the_front_is_told_and_one_of_it_promoted(world: World) -> None:
    study_id = completed(world, objectives=["hr_ndcg", "coverage"])
    front = world.client.get(f"/v1/studies/{study_id}/pareto").json()
    assert front["objectives"] == ["hr_ndcg", "coverage"]
    assert [item["number"] for item in front["items"]] == [0, 1]
    accuracy, coverage = front["items"][1]["objectives"]
    assert accuracy["estimate"]["low"] < accuracy["value"]
    assert (coverage["value"], coverage["estimate"], coverage["is_minimised"]) == (0.6, None, False)
    assert [item["has_vectors"] for item in front["items"]] == [True, False]
    page = world.client.get(f"/v1/studies/{study_id}/pareto", params={"limit": 1}).json()
    assert page["next_cursor"] == front["items"][0]["trial_id"]
    chosen = {"trial_id": front["items"][1]["trial_id"]}
    refused = world.client.post(f"/v1/studies/{study_id}/promote", json={**chosen, "fit": "trial"})
    assert refused.status_code == 409
    model = world.client.post(f"/v1/studies/{study_id}/promote", json={**chosen, "fit": "full"})
    assert model.status_code == 202
    assert model.json()["lineage"]["trial_id"] == chosen["trial_id"]


@pytest.mark.parametrize(("first", "weight"), [("hit_ratio", 1.0), ("ndcg", 0.0), ("hr_ndcg", 0.5)])
def test_the_first_of_two_objectives_is_the_study_s_own(world: World, first: str, weight: float) -> None:
    made = asked(world, objectives=[first, "popularity"]).json()
    assert made["spec"]["objective"]["hr_weight"] == weight
    assert made["spec"]["objectives"] == [first, "popularity"]


def test_a_study_with_one_objective_has_no_front(world: World) -> None:
    refused = world.client.get(f"/v1/studies/{asked(world).json()['id']}/pareto")
    assert refused.status_code == 409
