"""`kill -9` of the server: what it acknowledged is there, nothing is half-made, and a key makes one study."""

import random
import threading
import time
import uuid

import httpx2

from app.domain.tuning.study import StudyState
from tests.journeys.house import ON_POSTGRESQL, PATIENT_LEASE_S, SLOW, House
from tests.journeys.http import answered, client, ended_study, study_body
from tests.processes import until

N_KILLS = 2
N_CLIENTS = 3
N_BASELINES = 5
SEED = 20_261_124


@ON_POSTGRESQL
def test_a_study_goes_on_while_its_server_is_killed_and_its_key_still_gives_the_same_answer(house: House) -> None:
    server = house.server()
    house.worker(lease_s=PATIENT_LEASE_S)
    body = study_body(house.dataset(), epochs=SLOW)
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with client(server) as http:
        first = http.post("/v1/studies", json=body, headers=key)
    asked = answered(first, 202)
    until(
        lambda: any(trial.progress is not None for trial in house.container.studies.get(asked["id"]).running),
        "a trial is running",
    )
    server.kill()

    with client(house.server(port=server.port)) as http:
        again = http.post("/v1/studies", json=body, headers=key)
        assert answered(again, 202) == asked
        assert again.headers["Location"] == first.headers["Location"] == f"/v1/studies/{asked['id']}"
        other = http.post("/v1/studies", json=body | {"seed": 1}, headers=key)
        assert other.headers["Content-Type"] == "application/problem+json"
        assert answered(other, 409)["code"] == "idempotency_key_reused"
        study = ended_study(http, asked["id"])
        assert study["best"] is not None
        assert len(answered(http.get("/v1/studies"), 200)["items"]) == 1
    view = house.container.studies.get(asked["id"])
    assert view.study.state is StudyState.COMPLETED
    house.assert_complete(view.study)
    assert {trial.attempt for trial in house.trials(view.study)} == {1}


class Asker(threading.Thread):
    """Asks for one study after another, each with a key of its own, until the server is gone."""

    def __init__(self, http: httpx2.Client, body: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self._http = http
        self._body = body
        self.answers: dict[str, str | None] = {}
        """By key the study that was acknowledged, None where no answer came."""

    def run(self) -> None:
        while True:
            key = uuid.uuid4().hex
            self.answers[key] = None
            try:
                response = self._http.post("/v1/studies", json=self._body, headers={"Idempotency-Key": key})
            except httpx2.TransportError:
                return
            self.answers[key] = answered(response, 202)["id"]


def test_every_acknowledged_study_exists_and_retried_keys_make_no_second_one(house: House) -> None:
    moments = random.Random(SEED)  # noqa: S311 - instants, no secrets
    body = study_body(house.dataset(), baselines=True)
    answers: dict[str, str | None] = {}
    server = house.server()
    for _ in range(N_KILLS):
        with client(server) as http:
            askers = [Asker(http, body) for _ in range(N_CLIENTS)]
            for asker in askers:
                asker.start()
            until(lambda: all(len(asker.answers) > 1 for asker in askers), "studies are acknowledged")  # noqa: B023
            time.sleep(moments.uniform(0, 0.2))  # the fault's own instant
            server.kill()
            for asker in askers:
                asker.join(30)
                assert not asker.is_alive()
                answers |= asker.answers
        server = house.server(port=server.port)

    assert any(found is None for found in answers.values())
    made: set[str] = set()
    with client(server) as http:
        for key, found in answers.items():
            again = answered(http.post("/v1/studies", json=body, headers={"Idempotency-Key": key}), 202)["id"]
            assert found in {None, again}
            made.add(again)
    assert len(made) == len(answers)
    stored = house.container.studies.list(limit=100_000).rows
    assert {study.id for study in stored} == made
    for study in stored:
        assert study.state is StudyState.QUEUED
        assert len(house.trials(study, None)) == N_BASELINES
