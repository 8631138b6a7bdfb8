"""The plain question is answered before the router, with the bytes that the route answers with."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.schemas.recommendations import RecommendationsView
from app.api.schemas.songs import NeighboursParameters, NeighboursView
from app.domain.keys import Scope
from tests.api.world import World, app_on, client_of, container_on
from tests.keys import HEADERS

PATH = "/v1/songs/a/neighbours"


@pytest.fixture
def client(world: World) -> TestClient:
    """A server with a live model."""
    world.built_model()
    return world.client


@pytest.mark.parametrize("query", ["", "k=1", "k=3", "k=10", "k=100"])
def test_a_plain_question_gets_the_bytes_of_the_route(client: TestClient, query: str) -> None:
    plain = client.get(f"{PATH}?{query}")
    routed = client.get(f"{PATH}?{query}{'&' if query else ''}alias=production")
    assert (plain.status_code, routed.status_code) == (200, 200)
    assert plain.content == routed.content
    assert {name for name in plain.headers if name != "x-request-id"} == {
        name for name in routed.headers if name != "x-request-id"
    }
    assert plain.headers["Content-Type"] == routed.headers["Content-Type"]
    NeighboursView.model_validate_json(plain.content)


@pytest.mark.parametrize("query", ["", "k=1", "k=3", "k=100"])
@pytest.mark.parametrize("user", ["u", "nobody"])
def test_recommendations_asked_for_plainly_are_those_of_the_route(client: TestClient, query: str, user: str) -> None:
    path = f"/v1/users/{user}/recommendations?{query}"
    plain = client.get(path)
    routed = client.get(f"{path}{'&' if query else ''}by=profile")
    assert (plain.status_code, routed.status_code) == (200, 200)
    assert plain.headers["Content-Type"] == routed.headers["Content-Type"]
    answers = [answer.json() for answer in (plain, routed)]
    RecommendationsView.model_validate(answers[0])
    tokens = {answer.pop("attribution") for answer in answers}
    assert answers[0] == answers[1]
    assert len(tokens) == 2


def test_a_plain_answer_has_an_id_and_is_counted_as_its_route(client: TestClient) -> None:
    assert client.get(PATH, headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    assert len(client.get(PATH).headers["X-Request-Id"]) == 16
    figures = client.get("/metrics").text
    route = 'method="GET",route="/v1/songs/{song_id:path}/neighbours"'
    assert f'http_requests_total{{{route},status="200"}} 2.0' in figures
    assert f"http_request_duration_seconds_count{{{route}}} 2.0" in figures


def test_what_nobody_foresaw_is_answered_as_the_route_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        msg = "swordfish"
        raise RuntimeError(msg)

    world.built_model()
    monkeypatch.setattr(world.container.serving, "written_neighbours", fails)
    answer = client_of(world.app, raise_server_exceptions=False).get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "swordfish" not in answer.text
    assert [line.message for line in caplog.records if line.exc_info] == ["plain_answer_failed", "request_failed"]


def test_recommendations_before_a_model_is_live_are_a_problem(world: World) -> None:
    refused = world.client.get("/v1/users/u/recommendations")
    assert (refused.status_code, refused.json()["code"]) == (503, "nothing_live")


def test_a_key_without_the_scope_gets_no_plain_answer(world: World) -> None:
    world.built_model()
    for path in (PATH, "/v1/users/u/recommendations"):
        assert world.client.get(path, headers={"Authorization": "Bearer nothing"}).status_code == 401
        assert world.client.get(path).status_code == 200


@pytest.mark.parametrize("path", [PATH, "/v1/users/u/recommendations"])
def test_what_has_a_quota_is_counted(sqlite_url: str, tmp_path: Path, path: str) -> None:
    container = container_on(sqlite_url, tmp_path / "store", rate_limits={Scope.SERVE: "2/minute"})
    app = app_on(container)
    with TestClient(app, headers=HEADERS) as client:
        World(container, app, client).built_model()
        assert [client.get(path).status_code for _ in range(3)] == [200, 200, 429]


def test_without_k_the_answer_is_as_long_as_the_route_says(client: TestClient) -> None:
    default = NeighboursParameters.model_fields["k"].default
    assert client.get(PATH).content == client.get(f"{PATH}?k={default}").content


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=x", "k=", "n=3", "k=%31&n=2"])
def test_a_wrong_question_is_answered_by_the_route(client: TestClient, query: str) -> None:
    refused = client.get(f"{PATH}?{query}")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_an_unknown_song_is_a_problem(client: TestClient) -> None:
    missing = client.get("/v1/songs/nowhere/neighbours?k=3")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")


def test_before_a_model_is_live_there_is_a_problem(world: World) -> None:
    refused = world.client.get(PATH)
    assert (refused.status_code, refused.json()["code"]) == (503, "nothing_live")


def test_an_id_of_any_text_still_has_neighbours(client: TestClient) -> None:
    for path in ("/v1/songs/AC%2Fneighbours/neighbours", "/v1/songs/sch%C3%B6n%20%F0%9F%8E%B5%3F%23%25/neighbours"):
        assert client.get(path).status_code == 200


def test_other_methods_are_refused(client: TestClient) -> None:
    assert client.post(PATH).status_code == 405


def test_it_is_counted_as_the_route(client: TestClient) -> None:
    client.get(PATH)
    figures = client.get("/metrics").text
    assert 'http_requests_total{method="GET",route="/v1/songs/{song_id:path}/neighbours",status="200"}' in figures
