"""Every operation of the description while the database is away: it goes on, or says within two seconds that it cannot.

The bodies are the examples of the description.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.adapters.sql.migrating import upgrade
from tests.api.world import PLAYS_CSV, World, app_on, client_of, container_on
from tests.conftest import missing, start_postgresql

Leaving = tuple[str, Callable[[], None]]
"""The URL of a database, and what takes it away."""

PROMISED_S = 2.0

LEASE_TOKEN = {"Lease-Token": "x" * 43}

GO_ON = {
    "GET /v1/songs",
    "GET /v1/songs/{song_id}",
    "GET /v1/songs/{song_id}/neighbours",
    "POST /v1/songs/neighbours",
    "GET /v1/users/{user_id}/recommendations",
    "POST /v1/recommendations",
    "GET /v1/sources",
    "GET /health/live",
    "GET /health/ready",
}
"""What needs no database; batches of recommendations do, for they read all histories at once."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def bereft(
    request: pytest.FixtureRequest, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A server with a live model whose database has gone."""
    folder = tmp_path_factory.mktemp("away")
    leaving = _sqlite(migrated_file, folder) if request.param == "sqlite" else _postgresql_server()
    with leaving as (url, leave):
        container = container_on(url, folder / "store")
        app = app_on(container)
        with client_of(app, raise_server_exceptions=False) as client:
            world = World(container, app, client)
            world.built_model()
            pool = container.engine.pool
            container.engine.dispose()
            leave()
            container.live.look()
            yield world
        pool.dispose()  # of what was in use at that moment and came back to it since


@contextmanager
def _sqlite(migrated: Path, folder: Path) -> Iterator[Leaving]:
    """A file, and how to put a folder in its place."""
    path = folder / "segue.db"
    shutil.copyfile(migrated, path)

    def leave() -> None:
        path.rename(folder / "away.db")
        path.mkdir()

    yield f"sqlite:///{path}", leave


@contextmanager
def _postgresql_server() -> Iterator[Leaving]:
    """A server of its own, and how to stop it."""
    folder = Path(tempfile.mkdtemp(prefix="segue-"))
    try:
        server = start_postgresql(folder)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        missing("PostgreSQL", error)
    url = server.get_uri(driver="psycopg")
    upgrade(url)
    yield url, server.stop
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _example(description: dict[str, Any], schema: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """The first example of a schema, or of the first alternative that has one."""
    if "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "examples" in schema:
        return schema["examples"][0]
    return next(_example(description, inner) for inner in schema["anyOf"] if inner != {"type": "null"})


def _sent(description: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        return {"json": _example(description, content["application/json"]["schema"])}
    return {"content": PLAYS_CSV} if content else {}


def _asked(client: TestClient, description: dict[str, Any], *, method: str, path: str) -> tuple[Any, float]:
    operation = description["paths"][path][method.lower()]
    names = {"song_id": "a", "user_id": "u", "alias": "production", "segment": "ar"}
    query = {}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] not in names:
            names[parameter["name"]] = "abc_1"
        if parameter["in"] == "query" and parameter.get("required"):
            query[parameter["name"]] = "1" if parameter["schema"].get("type") == "number" else "abc_2"
    sent = _sent(description, operation)
    began = time.monotonic()
    answer = client.request(method, path.format(**names), params=query, headers=LEASE_TOKEN, **sent)
    return answer, time.monotonic() - began


def test_each_operation_goes_on_or_says_at_once_that_it_cannot(bereft: World) -> None:
    description = bereft.app.openapi()
    for method, path, _ in _operations(description):
        name = f"{method} {path}"
        answer, took_s = _asked(bereft.client, description, method=method, path=path)
        assert took_s < PROMISED_S, name
        if name in GO_ON:
            assert answer.status_code == 200, (name, answer.text)
            continue
        assert answer.status_code == 503, (name, answer.status_code, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json", name
        assert answer.json()["code"] == "unavailable", name
        assert answer.headers["Retry-After"] == "1", name


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_figures_and_the_description_go_on(bereft: World, path: str) -> None:
    assert bereft.client.get(path).status_code == 200


def test_what_goes_on_is_described(bereft: World) -> None:
    names = {f"{method} {path}" for method, path, _ in _operations(bereft.app.openapi())}
    assert names >= GO_ON
