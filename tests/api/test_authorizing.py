"""Who may call: every operation of the description, with every kind of key that it must refuse."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.api.authorizing import ScopedRoute, check_scopes
from app.api.scopes import SCOPES
from app.domain.keys import Scope, granted
from tests.api.world import World, app_on, client_of, container_on, copied, world_on
from tests.keys import HEADERS, KEY

IDENTITY = "x"


@pytest.fixture(scope="module")
def settled(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that no test changes but for its keys."""
    folder = tmp_path_factory.mktemp("authorizing")
    container = container_on(copied(migrated_file, folder), folder / "store")
    with world_on(container) as world:
        yield world


@pytest.fixture(scope="module")
def keys(settled: World) -> dict[str, str]:
    """A key of each scope, by its name, and one that was revoked."""
    made = {
        scope.value: settled.client.post("/v1/keys", json={"name": scope.value, "scopes": [scope.value]}).json()["key"]
        for scope in Scope
    }
    gone = settled.client.post("/v1/keys", json={"name": "gone", "scopes": ["admin"]}).json()
    assert settled.client.delete(f"/v1/keys/{gone['id']}").status_code == 204
    return {**made, "revoked": gone["key"]}


@pytest.fixture
def stranger(settled: World) -> TestClient:
    """Sends no key of its own."""
    client = TestClient(settled.app)
    client.portal = settled.client.portal  # the thread of the app: one for each request takes longer than the request
    return client


def operations(world: World) -> list[tuple[str, str, dict[str, Any]]]:
    described = world.app.openapi()["paths"]
    return [
        (method.upper(), path, operation)
        for path, methods in described.items()
        for method, operation in methods.items()
    ]


def filled(path: str) -> str:
    """The path with something in the place of every id."""
    parts = ((IDENTITY if part.startswith("{") else part) for part in path.split("/"))
    return "/".join(parts)


def assert_refused(answer: Any, status: int, code: str, what: str) -> None:  # noqa: ANN401 - an answer
    assert (answer.status_code, answer.json()["code"]) == (status, code), what
    assert answer.headers["Content-Type"] == "application/problem+json", what
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="segue"'), what


def test_every_operation_refuses_whoever_may_not_call(
    settled: World, stranger: TestClient, keys: dict[str, str]
) -> None:
    last = "A" if KEY[-1] != "A" else "B"
    unknown = {
        "malformed": "Bearer swordfish",
        "of another scheme": f"Basic {KEY}",
        "without a scheme": KEY,
        "empty": "",
        "with another secret": f"Bearer {KEY[:-1]}{last}",
        "of nobody": f"Bearer segue_{secrets.token_hex(16)}_{secrets.token_urlsafe(32)}",
        "revoked": f"Bearer {keys['revoked']}",
        "not ASCII": f"Bearer {KEY}é",
    }
    n_operations = n_refused = 0
    for method, path, operation in operations(settled):
        n_operations += 1
        if not operation["security"]:
            assert path.startswith("/health/")
            continue
        (needed,) = operation["security"][0]["key"]
        name = f"{method} {path}"
        assert_refused(stranger.request(method, filled(path)), 401, "no_key", name)
        for what, sent in unknown.items():
            answer = stranger.request(method, filled(path), headers=[(b"Authorization", sent.encode("latin-1"))])
            assert_refused(answer, 401, "unknown_key", f"{name}: a key {what}")
        twice = stranger.request(method, filled(path), headers=[("Authorization", HEADERS["Authorization"])] * 2)
        assert_refused(twice, 401, "unknown_key", f"{name}: two keys")
        for scope in Scope:
            headers = {"Authorization": f"Bearer {keys[scope]}"}
            if needed in granted([scope]):
                continue
            answer = stranger.request(method, filled(path), headers=headers)
            assert_refused(answer, 403, "missing_scope", f"{name}: with {scope}")
            assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]
            n_refused += 1
    assert n_operations >= 56
    assert n_refused >= 100


def test_every_operation_takes_the_least_key_that_it_names(
    settled: World, stranger: TestClient, keys: dict[str, str]
) -> None:
    for method, path, operation in operations(settled):
        for requirement in operation["security"]:
            (needed,) = requirement["key"]
            headers = {"Authorization": f"bearer {keys[needed]}"}
            answer = stranger.request(method, filled(path), headers=headers)
            assert answer.status_code not in {401, 403}, f"{method} {path}"


def test_neighbours_that_are_there_are_for_those_who_may_ask(world: World) -> None:
    """The plainest question is answered before the router."""
    world.built_model()
    path = "/v1/songs/a/neighbours"
    assert world.client.get(path).status_code == 200
    stranger = TestClient(world.app)
    assert_refused(stranger.get(path), 401, "no_key", path)
    reader = world.client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()["key"]
    assert_refused(stranger.get(path, headers={"Authorization": f"Bearer {reader}"}), 403, "missing_scope", path)
    assert_refused(
        stranger.get(path, headers=[("Authorization", HEADERS["Authorization"])] * 2), 401, "unknown_key", path
    )


def test_the_body_is_not_read_before_the_key(settled: World, stranger: TestClient) -> None:
    answer = stranger.post("/v1/studies", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/openapi.json"])
def test_what_tells_nothing_of_anybody_is_open(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 200


def test_no_scope_stands_in_the_table_for_nothing(settled: World) -> None:
    described = {f"{method} {path}" for method, path, _ in operations(settled)}
    assert {operation.replace(":path}", "}") for operation in SCOPES} == described


def test_a_route_without_a_scope_cannot_be_made() -> None:
    def nothing() -> None: ...

    with pytest.raises(LookupError, match="GET /v1/secrets has no scope"):
        APIRouter(prefix="/v1", route_class=ScopedRoute).get("/secrets")(nothing)
    app, plain = FastAPI(), APIRouter(prefix="/v1")
    plain.get("/secrets")(nothing)
    app.include_router(plain)
    with pytest.raises(LookupError, match="/v1/secrets asks nobody"):
        check_scopes(app.routes)


def test_a_key_is_made_shown_once_and_revoked(world: World) -> None:
    made = world.client.post("/v1/keys", json={"name": "player", "scopes": ["serve"]})
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    key = made.json().pop("key")
    seen = world.client.get(made.headers["Location"]).json()
    assert seen == {name: value for name, value in made.json().items() if name != "key"}
    ask = {"Authorization": f"Bearer {key}"}
    other = TestClient(world.app)
    assert other.get("/v1/songs", headers=ask).status_code == 503  # nothing is live
    assert world.client.delete(made.headers["Location"]).status_code == 204
    assert other.get("/v1/songs", headers=ask).status_code == 401
    listed = world.client.get("/v1/keys").json()["items"]
    assert [found["name"] for found in listed if found["revoked_at"] is not None] == ["player"]
    assert key.rpartition("_")[2] not in world.client.get("/v1/keys").text


def test_a_key_revoked_elsewhere_is_refused_within_seconds(world: World) -> None:
    made = world.container.keys.create(name="elsewhere", scopes=[Scope.READ])
    world.container.known_keys.look()
    headers = {"Authorization": f"Bearer {made.written}"}
    assert TestClient(world.app).get("/v1/studies", headers=headers).status_code == 200
    world.container.keys.revoke(made.key.id)
    world.container.known_keys.look()
    assert TestClient(world.app).get("/v1/studies", headers=headers).status_code == 401


def test_a_server_that_could_never_read_the_keys_says_so(sqlite_url: str, tmp_path: Path) -> None:
    container = container_on(sqlite_url, tmp_path / "store", keys_outlive_s=0)
    client = client_of(app_on(container))
    refused = client.get("/v1/studies")
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "unavailable", "1")
    container.stop()


def test_keys_may_be_off_at_home(sqlite_url: str, tmp_path: Path) -> None:
    container = container_on(sqlite_url, tmp_path / "store", auth="off")
    assert TestClient(app_on(container)).get("/v1/studies").status_code == 200
    container.stop()


def test_a_key_that_calls_too_often_is_told_when_to_come_again(sqlite_url: str, tmp_path: Path) -> None:
    container = container_on(sqlite_url, tmp_path / "store", rate_limits={"read": "2/hour"})
    client = client_of(app_on(container))
    for remaining in (1, 0):
        answer = client.get("/v1/studies")
        assert (answer.status_code, answer.headers["RateLimit-Policy"]) == (200, '"read";q=2;w=3600')
        assert answer.headers["RateLimit"].startswith(f'"read";r={remaining};t=')
    refused = client.get("/v1/datasets")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert refused.headers["RateLimit"] == f'"read";r=0;t={refused.headers["Retry-After"]}'
    assert client.get("/v1/songs").status_code == 503  # another scope; nothing is live
    container.stop()
