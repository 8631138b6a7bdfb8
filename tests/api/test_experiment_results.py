"""Results, power and decisions over HTTP."""

from typing import Any

import pytest

from app.api.schemas.experiment_results import CUT_WARNING, AdviceView, PowerView, ResultsView
from app.domain.experiments.decision import RULE
from tests.api.world import World

Json = dict[str, Any]

BODY: Json = {
    "name": "tuned against old",
    "hypothesis": "Longer.",
    "variants": [{"name": "old", "alias": "production"}, {"name": "tuned", "alias": "challenger"}],
    "metrics": [{"name": "seconds_per_session", "role": "goal"}, {"name": "skip_rate", "role": "guardrail"}],
}
N_USERS = 440
AT_ONCE = 40
"""Users whose plays fit in one body."""


@pytest.fixture
def draft(world: World) -> str:
    world.built_model()
    world.built_model("challenger")
    identity: str = world.client.post("/v1/experiments", json=BODY).json()["id"]
    return identity


def _stopped(world: World, experiment_id: str) -> None:
    """Started, listened to, and stopped."""
    path = f"/v1/experiments/{experiment_id}"
    assert world.client.post(f"{path}/start").status_code == 200
    at = world.client.get(path).json()["started_at"]
    exposures, plays = [], []
    for number in range(N_USERS):
        user_id = f"u{number}"
        variant = world.client.get(f"{path}/assignment", params={"user_id": user_id}).json()["variant"]
        exposures.append({"user_id": user_id, "variant": variant, "at": at})
        plays += [
            {
                "event_id": f"{user_id}-{place}",
                "user_id": user_id,
                "song_id": "song-1",
                "played_at": at,
                "seconds_streamed": 100 + number % 37 + (40 if variant == "tuned" else 0),
                "event_type": "skip" if (number + place) % 5 == 0 else "play",
            }
            for place in range(2)
        ]
    for start in range(0, N_USERS, AT_ONCE):
        told = world.client.post(f"{path}/exposures", json={"exposures": exposures[start : start + AT_ONCE]})
        assert told.status_code == 200, told.text
        heard = world.client.post("/v1/plays", json={"plays": plays[2 * start : 2 * (start + AT_ONCE)]})
        assert heard.status_code == 200, heard.text
    assert world.client.post(f"{path}/stop").status_code == 200


def test_results_of_a_stopped_experiment_are_shown(world: World, draft: str) -> None:
    _stopped(world, draft)

    answer = world.client.get(f"/v1/experiments/{draft}/results")

    assert answer.status_code == 200, answer.text
    found = ResultsView.model_validate_json(answer.content)
    assert found.reason is None
    assert found.health in {"ok", "warning"}
    assert [check.name for check in found.checks] == [
        "sample_ratio",
        "multiple_exposures",
        "before_exposure",
        "missing_outcomes",
        "users",
    ]
    goal = found.metrics[0]
    assert goal.effects[0].lift == pytest.approx(80, abs=10)
    assert sum(arm.n_users for arm in goal.variants) == N_USERS
    assert goal.sequential[0].variant == "tuned"
    assert found.warning is None
    cut = ResultsView.model_validate(world.client.get(f"/v1/experiments/{draft}/results?cut=language").json())
    assert (cut.cut, cut.warning) == ("language", CUT_WARNING)
    advice = AdviceView.model_validate(world.client.get(f"/v1/experiments/{draft}/decision").json())
    assert advice.rule == RULE
    assert {stand.metric for stand in advice.stands} == {"seconds_per_session", "skip_rate"}


def test_a_draft_shows_nothing_and_says_why(world: World, draft: str) -> None:
    found = ResultsView.model_validate(world.client.get(f"/v1/experiments/{draft}/results").json())

    assert found.reason == "The experiment has not started."
    assert (found.health, found.metrics, found.until) == (None, [], None)
    assert world.client.get(f"/v1/experiments/{draft}/decision").json()["action"] == "keep_running"


def test_power_without_plays_says_why(world: World, draft: str) -> None:
    answer = world.client.get(f"/v1/experiments/{draft}/power", params={"lift": 0.05})

    assert answer.status_code == 200, answer.text
    power = PowerView.model_validate(answer.json())
    assert power.metrics[0].n_users is None
    assert power.metrics[0].reason == "Nobody played anything in the time that is looked at."


@pytest.mark.parametrize("lift", ["0", "-1", "11", "much", None])
def test_a_lift_that_is_none_names_its_field(world: World, draft: str, lift: str | None) -> None:
    answer = world.client.get(f"/v1/experiments/{draft}/power", params={} if lift is None else {"lift": lift})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].endswith("lift")


@pytest.mark.parametrize("what", ["results", "decision", "power?lift=0.1"])
def test_an_unknown_experiment_is_not_found(world: World, what: str) -> None:
    assert world.client.get(f"/v1/experiments/exp_none/{what}").status_code == 404
