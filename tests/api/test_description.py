"""/openapi.json: whole, and true."""

from typing import Any

import pytest

from app.api.schemas.base import View
from tests.api.world import World


@pytest.fixture(scope="module")
def description(standing: World) -> dict[str, Any]:
    whole: dict[str, Any] = standing.client.get("/openapi.json").json()
    return whole


def operations(description: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_is_described_with_its_problems(description: dict[str, Any]) -> None:
    assert len(operations(description)) >= 28
    for name, operation in operations(description):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"422", "500", "503"} <= refusals.keys(), name
        for answer in refusals.values():
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, name


def _examples(description: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "examples" in schema:
        return list(schema["examples"])
    of_entries = schema.get("properties", {}).get("items", {}).get("items")
    return [] if of_entries is None else _examples(description, of_entries)


def test_every_answer_and_every_body_has_an_example(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        answer = next(answer for status, answer in operation["responses"].items() if int(status) < 300)
        assert ("200" not in operation["responses"] and "204" in operation["responses"]) == ("content" not in answer), (
            name
        )
        if "application/json" in answer.get("content", {}):  # files and streams have none
            assert _examples(description, answer["content"]["application/json"]["schema"]), name
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None:
            assert _examples(description, body["schema"]), name


def test_what_takes_long_says_where_to_look(description: dict[str, Any]) -> None:
    created = {
        name: answer
        for name, operation in operations(description)
        for status, answer in operation["responses"].items()
        if status in {"201", "202"}
    }
    assert created.keys() == {
        "POST /v1/uploads",
        "POST /v1/datasets",
        "POST /v1/studies",
        "POST /v1/studies/{study_id}/promote",
        "POST /v1/models/{model_id}/neighbours",
        "POST /v1/studies/{study_id}/trials",
        "POST /v1/studies/{study_id}/segments/{segment}/study",
        "POST /v1/studies/{study_id}/extend",
        "POST /v1/studies/{study_id}/clone",
        "POST /v1/studies/{study_id}/transfer",
        "POST /v1/retrain",
        "POST /v1/experiments",
        "POST /v1/keys",
    }
    assert all("Location" in answer["headers"] for answer in created.values())


def test_what_creates_takes_an_idempotency_key(description: dict[str, Any]) -> None:
    keyed = {
        name
        for name, operation in operations(description)
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    assert keyed == {
        "POST /v1/uploads",
        "POST /v1/datasets",
        "POST /v1/studies",
        "POST /v1/studies/{study_id}/promote",
        "POST /v1/models/{model_id}/neighbours",
        "POST /v1/studies/{study_id}/trials",
        "POST /v1/studies/{study_id}/segments/{segment}/study",
        "POST /v1/studies/{study_id}/extend",
        "POST /v1/studies/{study_id}/clone",
        "POST /v1/studies/{study_id}/transfer",
        "POST /v1/retrain",
        "POST /v1/experiments",
    }


def test_examples_of_bodies_are_bodies(description: dict[str, Any]) -> None:
    from app.api.schemas.asking import AskBody, CompletionBody, EpochBody, FailBody, HeartbeatBody
    from app.api.schemas.datasets import DatasetBody
    from app.api.schemas.experiment_metrics import MetricBody
    from app.api.schemas.experiments import DecisionBody, ExperimentBody, ExperimentChangesBody
    from app.api.schemas.exposures import ExposuresBody
    from app.api.schemas.keys import KeyBody
    from app.api.schemas.models import AssignmentBody, PromotionBody
    from app.api.schemas.own_trials import OwnTrialsBody
    from app.api.schemas.plays import PlaysBody
    from app.api.schemas.policies import RetryBody, StoppingBody
    from app.api.schemas.recommendations import RecommendationBody
    from app.api.schemas.studies import StudyBody
    from app.api.schemas.study_life import CloneBody, ExtensionBody, StudyChangesBody

    asking = (AskBody, HeartbeatBody, EpochBody, CompletionBody, FailBody)
    others = (DatasetBody, OwnTrialsBody, PromotionBody, AssignmentBody, PlaysBody, RecommendationBody, KeyBody)
    of_studies = (StudyBody, ExtensionBody, StudyChangesBody, CloneBody, StoppingBody, RetryBody)
    of_experiments = (ExperimentBody, ExperimentChangesBody, DecisionBody, ExposuresBody, MetricBody)
    for body in (*asking, *of_studies, *of_experiments, *others):
        examples = description["components"]["schemas"][body.__name__]["examples"]
        for example in examples:
            body.model_validate(example)


def test_examples_of_answers_are_answers(description: dict[str, Any]) -> None:
    from app.api.schemas import (
        asking,
        comparisons,
        datasets,
        experiment_results,
        experiments,
        exposures,
        health,
        keys,
        models,
        own_trials,
        plays,
        recommendations,
        songs,
        studies,
        trials,
        warm_starts,
    )
    from app.api.schemas import uploads as sent

    checked = set()
    of_tuning = (studies, trials, own_trials, asking, warm_starts, comparisons)
    for module in (
        datasets,
        experiments,
        experiment_results,
        exposures,
        health,
        keys,
        models,
        plays,
        recommendations,
        songs,
        sent,
        *of_tuning,
    ):
        for name, schema in description["components"]["schemas"].items():
            view = getattr(module, name, None)
            if view is not None and issubclass(view, View):
                for example in schema.get("examples", []):
                    view.model_validate(example)
                    checked.add(name)
    assert len(checked) >= 15


def test_links_give_what_the_linked_operations_take(description: dict[str, Any]) -> None:
    by_id = {operation["operationId"]: operation for _, operation in operations(description)}
    links = [
        link
        for _, operation in operations(description)
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 60
    for link in links:
        parameters = by_id[link["operationId"]]["parameters"]
        assert {parameter["name"] for parameter in parameters if parameter["required"]} == link["parameters"].keys()


MAKES_NOTHING_NEW = {
    "POST /v1/studies/{study_id}/extend",
    "POST /v1/studies/{study_id}/trials",
    "POST /v1/models/{model_id}/neighbours",
}
"""They answer with what was there, or with what has no place but a list."""


def test_what_is_made_links_to_what_may_be_asked_of_it(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        made = {**operation["responses"].get("201", {}), **operation["responses"].get("202", {})}
        if made and name not in MAKES_NOTHING_NEW:
            assert made.get("links"), name
