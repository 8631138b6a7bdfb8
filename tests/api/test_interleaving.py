"""Interleaving over HTTP: drafted, started, listened to by simulated users, and read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.services.interleaving import InterleavingService
from app.simulation.listeners import Effect
from app.simulation.scenario import Scenario, SimulationFailed
from app.simulation.service import Done, Service, listen
from tests.api.world import World
from tests.values import FakeClock


def body(world: World, *, kind: str = "interleaving", n_variants: int = 2) -> dict[str, Any]:
    models = [world.built_model("production"), world.built_model("challenger")]
    variants = [{"name": name, "model_id": models[place % 2]} for place, name in enumerate(("old", "new", "third"))]
    return {
        "name": "which is played",
        "hypothesis": "The songs of the new model are played more.",
        "kind": kind,
        "variants": variants[:n_variants],
        "metrics": [{"name": "attributed_plays", "role": "goal"}],
        "segment_by": False,
    }


def started(world: World, **changes: Any) -> str:  # noqa: ANN401 - any JSON
    created = world.client.post("/v1/experiments", json=body(world, **changes))
    assert created.status_code == 201, created.text
    experiment_id: str = created.json()["id"]
    assert world.client.post(f"/v1/experiments/{experiment_id}/start").status_code == 200
    world.container.live.look()
    return experiment_id


def listened(world: World, experiment_id: str, *, n_users: int = 60, **effect: float) -> Done:
    now_ms = int(np.datetime64("now", "ms").astype(np.int64))
    return listen(
        Service("", key="", http=world.client),
        experiment_id,
        column="language",
        scenario=lambda languages: Scenario(
            n_users=n_users,
            languages=languages,
            effects={language.name: Effect(**effect) for language in languages},
            start_ms=now_ms,
            days=1,
            days_before=1,
        ),
        console=Console(quiet=True),
    )


def asked(world: World, experiment_id: str, user_id: str = "u") -> dict[str, Any]:
    answer = world.client.get(f"/v1/users/{user_id}/recommendations", params={"experiment": experiment_id, "k": 4})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_user_gets_one_list_whose_songs_say_whose_they_are(world: World) -> None:
    experiment_id = started(world)
    answer = asked(world, experiment_id)
    assert answer["experiment"] == {
        "id": experiment_id,
        "variant": "interleaved",
        "segment": None,
        "is_exposed": True,
        "reason": None,
    }
    assert answer["alias"] == experiment_id
    assert answer["attribution"].startswith(f"v1.{experiment_id}.")
    songs = answer["recommendations"]
    assert len({song["song_id"] for song in songs}) == len(songs) == 4
    teams = [song["attribution"].split(".")[1] for song in songs]
    assert sorted(teams) == [f"{experiment_id}-1", f"{experiment_id}-1", f"{experiment_id}-2", f"{experiment_id}-2"]
    seen = world.client.get(f"/v1/experiments/{experiment_id}").json()
    assert seen["kind"] == "interleaving"
    assert seen["exposures"] == [{"variant": "interleaved", "n_exposed": 1, "n_crossed": 0}]
    assigned = world.client.get(f"/v1/experiments/{experiment_id}/assignment", params={"user_id": "w"}).json()
    assert assigned["variant"] == "interleaved"


def test_plays_of_a_song_credit_the_variant_that_recommended_it(world: World) -> None:
    experiment_id = started(world)
    songs = asked(world, experiment_id)["recommendations"]
    of_new = next(song for song in songs if f"{experiment_id}-2" in song["attribution"])
    empty = world.client.get(f"/v1/experiments/{experiment_id}/preference").json()
    assert (empty["overall"]["n_without"], empty["overall"]["share"]) == (1, None)
    assert empty["overall"]["reason"]
    now = f"{np.datetime64('now', 'ms') + np.timedelta64(1, 's')}Z"
    play = {"event_id": "e", "user_id": "u", "song_id": of_new["song_id"], "played_at": now}
    sent = world.client.post("/v1/plays", json={"plays": [{**play, "attribution": of_new["attribution"]}]})
    assert sent.json()["n_accepted"] == 1
    assert world.client.post(f"/v1/experiments/{experiment_id}/pause").status_code == 200
    assert asked(world, experiment_id)["experiment"]["variant"] == "interleaved"
    found = world.client.get(f"/v1/experiments/{experiment_id}/preference")
    assert found.status_code == 200


def test_simulated_users_are_exposed_and_their_preference_is_read(world: World) -> None:
    experiment_id = started(world)
    done = listened(world, experiment_id, recommended=5.0)
    n_exposed = done.n_exposed["interleaved"]
    assert n_exposed > 0
    assert done.n_outside == 0
    tomorrow = FakeClock(datetime.now(UTC) + timedelta(days=1))  # they heard for a day to come
    read = InterleavingService(SqlUnitsOfWork(world.container.engine, clock=tomorrow)).preferences(experiment_id)
    assert read.overall.votes.n_users == n_exposed
    assert read.overall.votes.n_wins > read.overall.votes.n_losses
    assert read.overall.n_plays[1] > read.overall.n_plays[0] > 0
    assert read.overall.preference is not None
    assert read.overall.preference.low <= read.overall.preference.share <= read.overall.preference.high


def test_neighbours_and_told_exposures_are_not_interleaved(world: World) -> None:
    experiment_id = started(world)
    neighbours = world.client.get("/v1/songs/a/neighbours", params={"experiment": experiment_id, "user_id": "u"})
    assert neighbours.status_code == 409
    told = {"exposures": [{"user_id": "u", "variant": "old", "at": "2030-01-01T00:00:00Z"}]}
    answer = world.client.post(f"/v1/experiments/{experiment_id}/exposures", json=told).json()
    assert "one_list" in str(answer)


def test_a_list_is_drafted_from_two_variants(world: World) -> None:
    refused = world.client.post("/v1/experiments", json=body(world, n_variants=3))
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/variants"
    draft = world.client.post("/v1/experiments", json=body(world)).json()
    changed = world.client.patch(
        f"/v1/experiments/{draft['id']}", json={"variants": body(world, n_variants=3)["variants"]}
    )
    assert changed.status_code == 422


def test_other_experiments_have_no_preference(world: World) -> None:
    assignment = started(world, kind="assignment")
    draft = world.client.post("/v1/experiments", json=body(world)).json()["id"]
    for experiment_id, status in ((assignment, 409), (draft, 409), ("exp_none", 404)):
        assert world.client.get(f"/v1/experiments/{experiment_id}/preference").status_code == status


def test_simulated_users_of_an_assignment_experiment_are_exposed_as_the_service_says(world: World) -> None:
    experiment_id = started(world, kind="assignment")
    done = listened(world, experiment_id)
    counts = world.client.get(f"/v1/experiments/{experiment_id}").json()
    assert sum(done.n_exposed.values()) > 10
    assert set(done.n_exposed) == {"old", "new"}
    assert {each["variant"]: each["n_exposed"] for each in counts["exposures"]} == done.n_exposed
    assert world.client.post(f"/v1/experiments/{experiment_id}/stop").status_code == 200
    with pytest.raises(SimulationFailed, match="is stopped"):
        listened(world, experiment_id)
