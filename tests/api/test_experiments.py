"""Experiments over HTTP: from the draft through exposures to a decision that moves the alias."""

from dataclasses import dataclass
from typing import Any

import pytest

from app.api.schemas.experiments import ExperimentDetailView, ExperimentView
from app.api.schemas.exposures import AssignmentView, ExposuresView
from app.api.schemas.recommendations import RecommendationsView
from app.api.schemas.songs import NeighboursView
from app.domain.experiments.assignment import bucket
from tests.api.world import World

Json = dict[str, Any]

BODY: Json = {
    "name": "tuned against old",
    "hypothesis": "Longer.",
    "variants": [{"name": "old", "alias": "production"}, {"name": "tuned", "alias": "challenger"}],
    "metrics": [{"name": "seconds_per_session", "role": "goal"}],
}


@dataclass
class Ground:
    """A server with two models, `old` live as production and `tuned` as challenger."""

    world: World
    old: str
    tuned: str

    def post(self, path: str, body: Json | None = None, *, status: int = 200, **headers: str) -> Json:
        """The answer to a POST."""
        return self.asked("POST", path, status=status, body=body, **headers)

    def asked(self, method: str, path: str, *, status: int = 200, body: Json | None = None, **headers: str) -> Json:
        """The answer to a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.world.client.request(method, f"/v1/{path}", json=body, headers=named)
        assert answer.status_code == status, answer.text
        found: Json = answer.json()
        return found

    def get(self, path: str, **parameters: Any) -> Json:  # noqa: ANN401 - any parameter
        """The answer to a GET."""
        answer = self.world.client.get(f"/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def refused(self, method: str, path: str, body: Json | None = None, **parameters: Any) -> tuple[int, str, str]:  # noqa: ANN401
        """Status, code and pointer of a problem."""
        answer = self.world.client.request(method, f"/v1/{path}", json=body, params=parameters)
        problem = answer.json()
        return answer.status_code, problem["code"], problem.get("errors", [{"pointer": ""}])[0]["pointer"]

    def started(self, **changes: Any) -> str:  # noqa: ANN401 - any JSON
        """The id of an experiment that runs and whose variants are loaded."""
        experiment_id: str = self.post("experiments", {**BODY, **changes}, status=201)["id"]
        self.post(f"experiments/{experiment_id}/start")
        self.world.container.live.look()
        return experiment_id

    def user_of(self, experiment_id: str, variant: str | None) -> str:
        """The first user who is assigned it."""
        return next(
            user_id
            for user_id in (f"user-{number}" for number in range(1000))
            if self.get(f"experiments/{experiment_id}/assignment", user_id=user_id)["variant"] == variant
        )


@pytest.fixture
def ground(world: World) -> Ground:
    return Ground(world, world.built_model(), world.built_model("challenger"))


def test_a_draft_is_created_seen_listed_changed_and_deleted(ground: Ground) -> None:
    created = ground.world.client.post("/v1/experiments", json=BODY)
    assert created.status_code == 201
    view = ExperimentView.model_validate_json(created.content)
    assert created.headers["Location"] == f"/v1/experiments/{view.id}"
    assert (view.state, view.version, view.traffic, view.segment_by, view.alias) == (
        "draft",
        0,
        1.0,
        True,
        "production",
    )
    assert view.created_by is not None
    assert [(each.name, each.models, each.live_as) for each in view.variants] == [
        ("old", None, f"{view.id}-1"),
        ("tuned", None, f"{view.id}-2"),
    ]
    assert (view.metrics[0].kind, view.metrics[0].unit) == ("mean", "session")
    seen = ground.world.client.get(f"/v1/experiments/{view.id}")
    assert seen.headers["ETag"] == '"0"'
    detail = ExperimentDetailView.model_validate_json(seen.content)
    assert [(each.n_exposed, each.n_crossed) for each in detail.exposures] == [(0, 0), (0, 0)]
    changes = {"name": "again", "layer": "home", "weights": {"tuned": 3}, "segment_by": "artist", "planned_days": 7}
    changed = ground.asked("PATCH", f"experiments/{view.id}", body=changes, If_Match='"0"')
    assert (changed["name"], changed["version"], changed["traffic_salt"]) == ("again", 1, "layer-home")
    assert [each["weight"] for each in changed["variants"]] == [1, 3]
    assert ground.refused("PATCH", f"experiments/{view.id}", {"name": None})[0] == 422
    assert [each["id"] for each in ground.get("experiments", limit=1)["items"]] == [view.id]
    assert ground.world.client.delete(f"/v1/experiments/{view.id}").status_code == 204
    assert ground.refused("GET", f"experiments/{view.id}") == (404, "not_found", "")


def test_the_same_idempotency_key_drafts_once(ground: Ground) -> None:
    first, again = (ground.post("experiments", BODY, status=201, Idempotency_Key="k") for _ in range(2))
    assert first == again
    assert len(ground.get("experiments")["items"]) == 1


def test_own_metrics_and_serving_are_shown_as_asked(ground: Ground) -> None:
    own: Json = {
        "name": "likes_per_session",
        "kind": "ratio",
        "numerator": {"sum": "events", "event_types": ["like"]},
        "denominator": {"sum": "sessions"},
    }
    serving = {"mmr_lambda": 0.5, "exclude_seen": "30", "event_weights": {"like": 3.0}}
    variants = [
        {"name": "a", "bundle": {"default": ground.old}, "serving": serving},
        {"name": "b", "model_id": ground.tuned, "weight": 0.5},
    ]
    made = ground.post("experiments", {**BODY, "metrics": [*BODY["metrics"], own], "variants": variants}, status=201)
    assert made["metrics"][1] == {
        **own,
        "numerator": {**own["numerator"], "is_attributed": False},
        "denominator": {"sum": "sessions", "event_types": None, "is_attributed": False},
        "role": "secondary",
        "unit": "user",
        "higher_is_better": True,
        "margin": None,
        "return_after_days": None,
    }
    assert made["variants"][0]["serving"] == {**serving, "exclude_seen": 30}
    assert made["variants"][0]["bundle"] == {"default": ground.old, "segments": {}}
    assert (made["variants"][1]["weight"], made["variants"][1]["model_id"]) == (0.5, ground.tuned)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"variants": BODY["variants"][:1]}, "/variants"),
        ({"variants": [BODY["variants"][0], {"name": "b"}]}, "/variants/1/model_id"),
        ({"variants": [BODY["variants"][0], {"name": "b", "alias": "nothing"}]}, "/variants/1/alias"),
        ({"variants": [BODY["variants"][0], {"name": "b", "alias": "exp_1-1"}]}, "/variants/1/alias"),
        ({"variants": [BODY["variants"][0], {"name": "b", "model_id": "mdl_x"}]}, "/variants/1/model_id"),
        ({"metrics": [{"name": "fun", "role": "goal"}]}, "/metrics/0/name"),
        ({"metrics": [{"name": "plays_per_user", "role": "goal", "unit": "session"}]}, "/metrics/0/kind"),
        ({"metrics": [{"name": "x", "role": "goal", "kind": "mean"}]}, "/metrics/0/numerator"),
        (
            {"metrics": [{"name": "skip_rate", "role": "goal", "kind": "mean", "numerator": {"sum": "events"}}]},
            "/metrics/0/name",
        ),
        ({"metrics": [{"name": "plays_per_user"}]}, "/metrics"),
        ({"traffic": 0}, "/traffic"),
        ({"segment_by": "mood"}, "/segment_by"),
        ({"unit": "session"}, "/unit"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_what_is_wrong_with_a_draft_is_pointed_to(ground: Ground, changes: Json, pointer: str) -> None:
    assert ground.refused("POST", "experiments", {**BODY, **changes}) == (422, "invalid_request", pointer)


def test_recommendations_within_an_experiment_expose_once(ground: Ground) -> None:
    experiment_id = ground.started()
    for variant, number, model_id in (("old", 1, ground.old), ("tuned", 2, ground.tuned)):
        user_id = ground.user_of(experiment_id, variant)
        for _ in range(2):
            answer = ground.get(f"users/{user_id}/recommendations", experiment=experiment_id, k=2)
            RecommendationsView.model_validate(answer)
            assert answer["experiment"] == {
                "id": experiment_id,
                "variant": variant,
                "segment": None,
                "is_exposed": True,
                "reason": None,
            }
            assert (answer["alias"], answer["model_id"]) == (f"{experiment_id}-{number}", model_id)
            assert answer["attribution"].startswith(f"v1.{experiment_id}-{number}.{model_id}.1.")
        play = {"event_id": user_id, "user_id": user_id, "song_id": "a", "played_at": "2026-01-01T12:00:00Z"}
        sent = ground.post("plays", {"plays": [{**play, "attribution": answer["attribution"]}]})
        assert sent["n_accepted"] == 1
    counts = ground.get(f"experiments/{experiment_id}")["exposures"]
    assert counts == [{"variant": name, "n_exposed": 1, "n_crossed": 0} for name in ("old", "tuned")]


def test_neighbours_within_an_experiment_expose_too(ground: Ground) -> None:
    experiment_id = ground.started()
    user_id = ground.user_of(experiment_id, "tuned")
    answer = ground.get("songs/a/neighbours", experiment=experiment_id, user_id=user_id, k=2)
    NeighboursView.model_validate(answer)
    assert (answer["model_id"], answer["experiment"]["variant"]) == (ground.tuned, "tuned")
    assert answer["attribution"].startswith(f"v1.{experiment_id}-2.{ground.tuned}.1.")
    assert ground.get(f"experiments/{experiment_id}/assignment", user_id=user_id)["is_exposed"]
    assert ground.refused("GET", "songs/none/neighbours", experiment=experiment_id, user_id="other")[0] == 404
    assert not ground.get(f"experiments/{experiment_id}/assignment", user_id="other")["is_exposed"]


def test_who_is_not_in_the_experiment_gets_what_everybody_gets(ground: Ground) -> None:
    experiment_id = ground.started(traffic=0.01)
    user_id = ground.user_of(experiment_id, None)
    answer = ground.get(f"users/{user_id}/recommendations", experiment=experiment_id)
    plain = ground.get(f"users/{user_id}/recommendations")
    assert answer.pop("experiment") == {
        "id": experiment_id,
        "variant": None,
        "segment": None,
        "is_exposed": False,
        "reason": "not_in_traffic",
    }
    assert {**answer, "attribution": ""} == {**plain, "attribution": ""}


@pytest.mark.parametrize(
    ("path", "parameters", "pointer"),
    [
        ("songs/a/neighbours", {"experiment": "exp_1"}, "user_id"),
        ("songs/a/neighbours", {"user_id": "u"}, "user_id"),
        ("songs/a/neighbours", {"experiment": "exp_1", "user_id": "u", "model": "mdl_1"}, "experiment"),
        ("songs/a/neighbours", {"experiment": "exp_1", "user_id": "u", "alias": "production"}, "experiment"),
        ("songs/a/neighbours", {"alias": "exp_1-2"}, "alias"),
        ("users/u/recommendations", {"experiment": "exp_1", "alias": "production"}, "experiment"),
        ("users/u/recommendations", {"experiment": "exp 1"}, "experiment"),
        ("users/u/recommendations", {"alias": "exp_1-2"}, "alias"),
        ("experiments/exp_1/assignment", {}, "user_id"),
    ],
)
def test_questions_that_make_no_sense_are_refused(ground: Ground, path: str, parameters: Json, pointer: str) -> None:
    assert ground.refused("GET", path, **parameters) == (422, "invalid_request", pointer)


def test_an_experiment_that_there_is_not_is_not_found(ground: Ground) -> None:
    assert ground.refused("GET", "users/u/recommendations", experiment="exp_1")[0] == 404
    assert ground.refused("GET", "songs/a/neighbours", experiment="exp_1", user_id="u")[0] == 404
    for way in ("start", "pause", "resume", "stop"):
        assert ground.refused("POST", f"experiments/exp_1/{way}")[0] == 404
    assert ground.refused("POST", "experiments/exp_1/decide", {"action": "rollback"})[0] == 404


def test_any_client_can_compute_an_assignment_by_the_answer(ground: Ground) -> None:
    experiment_id = ground.started(traffic=0.5, layer="home")
    allocation = ground.get(f"experiments/{experiment_id}")["allocations"][-1]
    for number in range(30):
        found = ground.get(f"experiments/{experiment_id}/assignment", user_id=f"ü {number}")
        AssignmentView.model_validate(found)
        traffic_bucket = bucket("layer-home", f"ü {number}")
        own = bucket(experiment_id, f"ü {number}")
        assert (found["traffic_bucket"], found["bucket"]) == (traffic_bucket, own)
        is_in = any(first <= traffic_bucket < end for first, end in allocation["traffic"])
        (expected,) = [
            name for name, held in allocation["variants"].items() if any(first <= own < end for first, end in held)
        ]
        assert found["variant"] == (expected if is_in else None)


def test_exposures_that_a_client_tells_have_a_verdict_each(ground: Ground) -> None:
    experiment_id = ground.started()
    old, tuned = ground.user_of(experiment_id, "old"), ground.user_of(experiment_id, "tuned")
    at = ground.get(f"experiments/{experiment_id}")["started_at"]
    told = [
        {"user_id": old, "variant": "old", "at": at},
        {"user_id": tuned, "variant": "old", "at": at},
        {"user_id": old, "variant": "tuned", "at": at},
        {"user_id": old, "variant": "old", "at": "2020-01-01T00:00:00Z"},
    ]
    answer = ground.post(f"experiments/{experiment_id}/exposures", {"exposures": told})
    ExposuresView.model_validate(answer)
    assert [each["verdict"] for each in answer["verdicts"]] == ["recorded", "rejected", "crossed", "rejected"]
    reasons = [each["reason"]["code"] for each in answer["verdicts"] if each["reason"]]
    assert reasons == ["wrong_variant", "before_start"]
    assert (answer["n_recorded"], answer["n_crossed"], answer["n_rejected"]) == (1, 1, 2)
    assert ground.refused("POST", f"experiments/{experiment_id}/exposures", {"exposures": []})[2] == "/exposures"
    wrong = {"exposures": [{"user_id": "u", "variant": "old", "at": "1960-01-01T00:00:00Z"}]}
    assert ground.refused("POST", f"experiments/{experiment_id}/exposures", wrong)[2] == "/exposures/0/at"


def test_from_the_start_to_a_decision_and_back(ground: Ground) -> None:
    experiment_id = ground.started()
    path = f"experiments/{experiment_id}"
    assert ground.refused("PATCH", path, {"alpha": 0.1}) == (409, "conflict", "")
    assert len(ground.asked("PATCH", path, body={"traffic": 0.5})["allocations"]) == 2
    ground.asked("POST", f"{path}/pause", status=412, If_Match='"1"')
    assert ground.post(f"{path}/pause")["state"] == "paused"
    assert ground.post(f"{path}/resume")["state"] == "running"
    assert ground.post(f"{path}/stop")["state"] == "stopped"
    decided = ground.post(f"{path}/decide", {"action": "promote", "variant": "tuned", "reason": "longer"})
    assert (decided["state"], decided["decisions"][0]["generation"]) == ("decided", 2)
    assert ground.get("aliases/production")["model_id"] == ground.tuned
    move = ground.get("aliases/production/moves")["items"][0]
    assert (move["reason"], move["experiment_id"]) == ("experiment", experiment_id)
    assert move["moved_by"] == decided["decisions"][0]["decided_by"]
    back = ground.post(f"{path}/decide", {"action": "rollback"})
    assert [each["action"] for each in back["decisions"]] == ["promote", "rollback"]
    assert ground.get("aliases/production")["model_id"] == ground.old
    ground.world.container.live.look()
    answer = ground.get("users/u/recommendations", experiment=experiment_id)
    assert (answer["experiment"]["reason"], answer["model_id"]) == ("stopped", ground.old)


def test_a_refused_decision_shows_the_gates(ground: Ground) -> None:
    experiment_id = ground.started()
    ground.post(f"experiments/{experiment_id}/stop")
    body = {"action": "promote", "variant": "tuned", "gates": {"required": ["paired"]}}
    problem = ground.asked("POST", f"experiments/{experiment_id}/decide", status=409, body=body)
    assert (problem["code"], problem["gates"][0]["model_id"]) == ("gates_refused", ground.tuned)


def test_a_full_layer_is_a_conflict_of_its_own(ground: Ground) -> None:
    ground.started(layer="home", traffic=0.8)
    other = ground.post("experiments", {**BODY, "layer": "home", "traffic": 0.3}, status=201)
    assert ground.refused("POST", f"experiments/{other['id']}/start") == (409, "layer_full", "")


def test_no_alias_is_called_like_a_variant(ground: Ground) -> None:
    experiment_id = ground.started()
    refused = ground.refused("PUT", f"aliases/{experiment_id}-1", {"model_id": ground.old})
    assert refused == (422, "invalid_request", "alias")


def test_erasing_a_user_erases_the_exposures(ground: Ground) -> None:
    experiment_id = ground.started()
    user_id = ground.user_of(experiment_id, "old")
    ground.get(f"users/{user_id}/recommendations", experiment=experiment_id)
    assert ground.asked("DELETE", f"users/{user_id}")["n_exposures_erased"] == 1
    assert not ground.get(f"experiments/{experiment_id}/assignment", user_id=user_id)["is_exposed"]
