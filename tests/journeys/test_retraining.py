"""Retraining with real programs: workers are killed in each of its steps, and it is done once."""

import time
from datetime import UTC, datetime

import httpx2

from tests.journeys.house import House
from tests.journeys.http import Json, answered, client, ended_study, promoted_model, study_body, until_live
from tests.processes import kill

WITHIN_S = 120.0

STEPS = ["gathering", "preparing", "measuring", "building"]

MADE = {"datasets": "dataset_id", "studies": "study_id", "models": "model_id"}


def made(http: httpx2.Client) -> dict[str, set[str]]:
    """The ids of all that there is, by kind."""
    return {kind: {each["id"] for each in answered(http.get(f"/v1/{kind}"), 200)["items"]} for kind in MADE}


def send_plays(http: httpx2.Client) -> int:
    """Plays that the source does not have; how many were taken."""
    now = datetime.now(UTC).isoformat()
    plays = [
        {"event_id": f"new-{number}", "user_id": "newcomer", "song_id": f"song-{number}", "played_at": now}
        for number in range(4)
    ]
    return int(answered(http.post("/v1/plays", json={"plays": plays}), 200)["n_accepted"])


def test_a_retraining_is_done_once_however_often_its_workers_are_killed(sqlite_house: House) -> None:
    house = sqlite_house
    worker = house.worker()
    with client(house.server()) as http:
        study = answered(http.post("/v1/studies", json=study_body(house.dataset())), 202)
        old = promoted_model(http, ended_study(http, study["id"])["id"])
        n_sent = send_plays(http)
        before = made(http)

        path = f"/v1/retrainings/{answered(http.post('/v1/retrain', json={'alias': 'production'}), 202)['id']}"
        killed_in: list[str] = []
        ends_at = time.monotonic() + WITHIN_S
        found: Json = answered(http.get(path), 200)
        while found["state"] in STEPS and time.monotonic() < ends_at:
            if found["state"] not in killed_in:
                killed_in.append(found["state"])
                kill(worker)
                worker = house.worker()
            time.sleep(0.05)
            found = answered(http.get(path), 200)
        assert (found["state"], found["failure"]) == ("ended", None), found
        assert killed_in == STEPS
        assert found["n_sent_plays"] == n_sent

        new = {kind: ids - before[kind] for kind, ids in made(http).items()}
        assert new == {kind: {found[name]} for kind, name in MADE.items()}
        moves = answered(http.get("/v1/aliases/production/moves"), 200)["items"]
        assert [move["model_id"] for move in moves] == [found["model_id"], old["id"]]
        until_live(http, found["model_id"])
