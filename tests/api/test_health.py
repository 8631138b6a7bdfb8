"""Health: live at once, ready once there is something to answer with."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.domain.errors import Unavailable
from app.domain.serving import ServingStatus
from tests.api.world import World, app_on, client_of, container_on


def test_a_server_that_runs_is_live(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}


def test_a_server_with_nothing_to_load_is_ready(world: World) -> None:
    world.container.live.look()
    ready = world.client.get("/health/ready")
    assert (ready.status_code, ready.json()["is_ready"], ready.json()["aliases"]) == (200, True, [])


def test_a_server_that_has_not_looked_yet_is_not_ready(sqlite_url: str, tmp_path: Path) -> None:
    container = container_on(sqlite_url, tmp_path)
    refused = client_of(app_on(container)).get("/health/ready")
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (refused.json()["is_ready"], refused.json()["database"]) == (False, "unknown")
    container.stop()


def test_a_server_with_a_loaded_model_shows_it(world: World) -> None:
    model_id = world.built_model()
    (alias,) = world.client.get("/health/ready").json()["aliases"]
    assert (alias["live_model_id"], alias["live_generation"], alias["error"]) == (model_id, 1, None)


def test_figures_tell_what_serves_and_why_a_model_is_refused(world: World) -> None:
    world.built_model()
    figures = world.client.get("/metrics").text
    assert 'segue_alias_live_generation{alias="production"} 1.0' in figures
    assert "segue_database_reachable 1.0" in figures
    assert "segue_alias_refused{" not in figures
    next_id = world.built_model(is_damaged=True)
    figures = world.client.get("/metrics").text
    assert 'segue_alias_wanted_generation{alias="production"} 2.0' in figures
    assert 'segue_alias_live_generation{alias="production"} 1.0' in figures
    (refused,) = [line for line in figures.splitlines() if line.startswith("segue_alias_refused{")]
    assert f'model_id="{next_id}"' in refused
    assert "vectors.npy" in refused


def test_without_the_database_loaded_models_serve_on(sqlite_url: str, tmp_path: Path) -> None:
    container = container_on(sqlite_url, tmp_path / "store")
    app = app_on(container)
    with client_of(app) as client:
        World(container, app, client).built_model()
        container.engine.dispose()
        (tmp_path / "segue.db").rename(tmp_path / "away.db")
        (tmp_path / "segue.db").mkdir()
        container.live.look()
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["database"]) == (200, "unreachable")
        assert client.get("/v1/songs/a/neighbours").status_code == 200
        recommended = client.get("/v1/users/u/recommendations")
        assert (recommended.status_code, recommended.json()["history"]) == (200, "dataset_only")
        for refused in (
            client.get("/v1/studies"),
            client.post("/v1/datasets", json={"name": "n", "plays": {"source": "plays"}}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert refused.headers["Retry-After"] == "1"


def test_a_status_without_aliases_is_shown() -> None:
    from app.api.schemas.health import ReadyView

    status = ServingStatus(is_ready=False, aliases=[], looked_at=None, lookup_error=str(Unavailable("away")))
    assert ReadyView.of(status).database == "unreachable"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_that_load_scripts_from_elsewhere_are_left_out(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
