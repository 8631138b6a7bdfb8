"""A team's own trainer asks for trials and tells what it measured; leases lapse, servers and clients are killed."""

import subprocess
import threading
from typing import Any

import httpx2

from app.domain.tuning.trial import TrialRole, TrialState
from tests.journeys import own_trainer
from tests.journeys.house import ON_POSTGRESQL, ON_SQLITE, House
from tests.journeys.http import Json, answered, client, ended_study, study_body, until_live
from tests.processes import Server, kill, start_program, until

N_TRIALS = 8
N_BASELINES = 5

N_SMALL = 3

TRAINED_WITHIN_S = 60.0
"""Within which a client has trained all that is left."""

LEASE_S = 5.0
"""A client's lease, once it shall lapse."""


def ask(http: httpx2.Client, study_id: str, client_id: str) -> httpx2.Response:
    return http.post(f"/v1/studies/{study_id}/trials/ask", json={"client_id": client_id})


def tell(http: httpx2.Client, asked: Json, way: str, **body: Any) -> httpx2.Response:  # noqa: ANN401 - any JSON
    path = f"/v1/trials/{asked['trial']['id']}/{way}"
    return http.post(path, json=body, headers={"Lease-Token": asked["lease_token"]})


def measured(asked: Json) -> Json:
    """As a trainer would that likes a high rate."""
    return {"objective": asked["trial"]["parameters"]["alpha"], "n_pairs": 100}


def train_until_none_is_left(server: Server, study_id: str, client_id: str, done: list[Json]) -> None:
    with client(server) as http:
        while (answer := ask(http, study_id, client_id)).status_code == 200:
            asked = answer.json()
            answered(tell(http, asked, "complete", measurement=measured(asked)), 200)
            done.append(asked)
        assert answer.json()["code"] in {"budget_spent", "conflict"}, answer.text


@ON_POSTGRESQL
def test_an_external_study_runs_to_its_end_through_a_lapsed_lease_and_a_killed_server(house: House) -> None:
    server = house.server(ask_lease_s=600)
    body = study_body(
        house.dataset(),
        trainer="external",
        algorithm="bayesian",
        n_initial=3,
        n_iterations=N_TRIALS - 3,
        baselines=True,
    )
    with client(server) as http:
        study_id = answered(http.post("/v1/studies", json=body), 202)["id"]
        late = answered(ask(http, study_id, "a"), 200)
        answered(tell(http, late, "measurements", epoch=1, objective=0.01, n_pairs=100), 200)
    server.kill()

    server = house.server(port=server.port, ask_lease_s=LEASE_S)
    house.worker()
    with client(server) as http:
        path = f"/v1/trials/{late['trial']['id']}"
        assert [epoch["epoch"] for epoch in answered(http.get(path), 200)["epochs"]] == [1]
        assert answered(tell(http, late, "heartbeat"), 200)["answer"] == "continue"
        until(lambda: http.get(path).json()["state"] == "waiting", "the silent client's lease has lapsed")
        again = answered(ask(http, study_id, "b"), 200)
        assert (again["trial"]["id"], again["trial"]["attempt"]) == (late["trial"]["id"], 2)
        assert again["trial"]["parameters"] == late["trial"]["parameters"]
        refused = tell(http, late, "complete", measurement={"objective": 1.0, "n_pairs": 100})
        assert answered(refused, 409)["code"] == "lost_lease"
        answered(tell(http, again, "complete", measurement=measured(again)), 200)

    done: list[Json] = [again]
    clients = [
        threading.Thread(target=train_until_none_is_left, args=(server, study_id, name, done)) for name in ("a", "b")
    ]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert sorted(asked["trial"]["number"] for asked in done) == list(range(N_TRIALS))

    with client(server) as http:
        study = ended_study(http, study_id)
        assert study["counts"]["completed"] == N_TRIALS
        assert study["best"]["objective"] == max(measured(asked)["objective"] for asked in done)
        assert study["confirmation"] is None
        assert study["unconfirmed"]
        assert [trial["state"] for trial in study["baselines"]] == ["completed"] * N_BASELINES
        assert answered(http.post(f"/v1/studies/{study_id}/promote"), 409)["code"] == "no_vectors"
        promoted = answered(http.post(f"/v1/studies/{study_id}/promote", json={"fit": "full"}), 202)
        until_live(http, promoted["id"])
    search = house.container.studies.trials(study_id, limit=99, role=TrialRole.SEARCH).rows
    assert all(trial.state is TrialState.COMPLETED and not trial.has_vectors for trial in search)
    assert late["lease_token"] not in server.log.read_text(encoding="utf-8")


# Clients that are killed


def trainer(house: House, server: Server, study_id: str, client_id: str, *more: str) -> subprocess.Popen[bytes]:
    started = start_program(house.settings, own_trainer.__name__, server.url, study_id, client_id, *more)
    house.started.append(started)
    return started


def small_study(house: House, http: httpx2.Client) -> str:
    body = study_body(house.dataset(), trainer="external", n_initial=N_SMALL, n_iterations=0)
    study_id: str = answered(http.post("/v1/studies", json=body), 202)["id"]
    return study_id


def killed_in_the_middle(house: House, server: Server, http: httpx2.Client, study_id: str) -> Json:
    """The trial of a client that was killed after it had told of an epoch."""
    path = f"/v1/studies/{study_id}/trials"
    lost = trainer(house, server, study_id, "lost", "hang")
    until(lambda: bool(http.get(path).json()["items"]), "the client has asked")
    trial = f"/v1/trials/{http.get(path).json()['items'][0]['id']}"
    until(lambda: bool(http.get(trial).json()["epochs"]), "the client has told of an epoch")
    kill(lost)
    return answered(http.get(trial), 200)


@ON_SQLITE
def test_what_a_killed_client_had_is_trained_by_another_though_no_worker_is_about(house: House) -> None:
    server = house.server(ask_lease_s=1)
    with client(server) as http:
        study_id = small_study(house, http)
        left = killed_in_the_middle(house, server, http, study_id)
        assert trainer(house, server, study_id, "other").wait(TRAINED_WITHIN_S) == 0
        study = ended_study(http, study_id)
        assert study["counts"]["completed"] == N_SMALL
        assert study["failures"]["lost"] == 1
        again = answered(http.get(f"/v1/trials/{left['id']}"), 200)
        assert (again["state"], again["attempt"], again["parameters"]) == ("completed", 2, left["parameters"])


def test_a_killed_client_that_is_started_again_goes_on_with_its_trial(sqlite_house: House) -> None:
    house = sqlite_house
    server = house.server(ask_lease_s=600)
    with client(server) as http:
        study_id = small_study(house, http)
        left = killed_in_the_middle(house, server, http, study_id)
        assert trainer(house, server, study_id, "lost").wait(TRAINED_WITHIN_S) == 0
        study = ended_study(http, study_id)
        assert (study["counts"]["completed"], study["failures"]["lost"]) == (N_SMALL, 0)
        again = answered(http.get(f"/v1/trials/{left['id']}"), 200)
        assert (again["state"], again["attempt"], again["parameters"]) == ("completed", 2, left["parameters"])
