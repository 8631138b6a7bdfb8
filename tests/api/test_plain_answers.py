"""The plain question is answered before the router, with the bytes that the route answers with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.schemas.recommendations import RecommendationsView
from app.api.schemas.songs import NeighboursParameters, NeighboursView
from app.domain.keys import Scope
from tests.api.wires import Answer, at_once
from tests.api.world import World, client_of, container_on, world_on
from tests.keys import HEADERS

PATH = "/v1/songs/a/neighbours"
OF_USERS = "/v1/users/u/recommendations"


@pytest.fixture
def served(world: World) -> World:
    """A server with a live model."""
    world.built_model()
    return world


@pytest.fixture
def client(served: World) -> TestClient:
    """Asks it."""
    return served.client


@pytest.fixture
def far(postgresql_url: str, tmp_path: Path) -> Iterator[World]:
    """A server whose database is another process."""
    container = container_on(postgresql_url, tmp_path / "store")
    with world_on(container) as world:
        yield world


def answered(world: World, path: str) -> Answer:
    """What a plain question gets."""
    answer = at_once(world, path)
    assert answer is not None
    assert answer.status == 200
    return answer


@pytest.mark.parametrize("query", ["", "k=1", "k=3", "k=10", "k=100"])
def test_a_plain_question_gets_the_bytes_of_the_route(served: World, query: str) -> None:
    plain = answered(served, f"{PATH}?{query}")
    routed = served.client.get(f"{PATH}?{query}")
    assert routed.status_code == 200
    assert plain.body == routed.content
    assert {**plain.headers, "x-request-id": ""} == {**routed.headers, "x-request-id": ""}
    NeighboursView.model_validate_json(plain.body)


@pytest.mark.parametrize("query", ["", "k=1", "k=3", "k=100"])
@pytest.mark.parametrize("user", ["u", "nobody"])
def test_recommendations_asked_for_plainly_are_those_of_the_route(served: World, query: str, user: str) -> None:
    path = f"/v1/users/{user}/recommendations?{query}"
    plain = RecommendationsView.model_validate_json(answered(served, path).body)
    routed = RecommendationsView.model_validate_json(served.client.get(path).content)
    assert plain.attribution != routed.attribution
    assert plain.model_copy(update={"attribution": ""}) == routed.model_copy(update={"attribution": ""})


@pytest.mark.parametrize("query", ["", "?k=3"])
def test_where_the_database_is_another_process_it_is_asked_in_a_thread(far: World, query: str) -> None:
    path = f"{OF_USERS}{query}"
    far.built_model()
    assert at_once(far, PATH) is not None
    assert at_once(far, path) is None
    plain = far.client.get(path)
    routed = far.client.get(f"{path}{'&' if query else '?'}by=profile")
    assert (plain.status_code, routed.status_code) == (200, 200)
    assert plain.headers["Content-Type"] == routed.headers["Content-Type"]
    assert len(plain.headers["X-Request-Id"]) == 16
    answers = [RecommendationsView.model_validate_json(answer.content) for answer in (plain, routed)]
    assert len({answer.attribution for answer in answers}) == 2
    assert len({answer.model_copy(update={"attribution": ""}).model_dump_json() for answer in answers}) == 1
    route = 'method="GET",route="/v1/users/{user_id:path}/recommendations"'
    assert f'http_requests_total{{{route},status="200"}} 2.0' in far.client.get("/metrics").text


def test_what_the_thread_cannot_answer_is_answered_by_the_route(far: World) -> None:
    refused = far.client.get(OF_USERS)
    assert (refused.status_code, refused.json()["code"]) == (503, "nothing_live")


def test_a_plain_answer_has_an_id_and_is_counted_as_its_route(served: World) -> None:
    mine = at_once(served, PATH, headers={**HEADERS, "X-Request-Id": "mine-1"})
    assert mine is not None
    assert mine.headers["x-request-id"] == "mine-1"
    assert len(answered(served, PATH).headers["x-request-id"]) == 16
    figures = served.client.get("/metrics").text
    route = 'method="GET",route="/v1/songs/{song_id:path}/neighbours"'
    assert f'http_requests_total{{{route},status="200"}} 2.0' in figures
    assert f"http_request_duration_seconds_count{{{route}}} 2.0" in figures


def test_what_nobody_foresaw_is_answered_as_the_route_fails(
    served: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        msg = "swordfish"
        raise RuntimeError(msg)

    monkeypatch.setattr(served.container.serving, "written_neighbours", fails)
    assert at_once(served, PATH) is None
    answer = client_of(served.app, raise_server_exceptions=False).get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "swordfish" not in answer.text
    assert [line.message for line in caplog.records if line.exc_info] == ["plain_answer_failed", "request_failed"]


@pytest.mark.parametrize("path", [PATH, OF_USERS])
def test_before_a_model_is_live_there_is_a_problem(world: World, path: str) -> None:
    assert at_once(world, path) is None
    refused = world.client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (503, "nothing_live")


@pytest.mark.parametrize("path", [PATH, OF_USERS])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nothing"}])
def test_without_a_key_there_is_no_plain_answer(served: World, path: str, headers: dict[str, str]) -> None:
    assert at_once(served, path, headers=headers) is None
    assert at_once(served, path) is not None


@pytest.mark.parametrize("path", [PATH, OF_USERS])
def test_what_has_a_quota_is_counted(sqlite_url: str, tmp_path: Path, path: str) -> None:
    container = container_on(sqlite_url, tmp_path / "store", rate_limits={Scope.SERVE: "2/minute"})
    with world_on(container) as world:
        world.built_model()
        assert at_once(world, path) is None
        assert [world.client.get(path).status_code for _ in range(3)] == [200, 200, 429]


def test_without_k_the_answer_is_as_long_as_the_route_says(served: World) -> None:
    default = NeighboursParameters.model_fields["k"].default
    assert answered(served, PATH).body == answered(served, f"{PATH}?k={default}").body


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=x", "k=", "n=3", "k=%31&n=2"])
def test_a_wrong_question_is_answered_by_the_route(served: World, query: str) -> None:
    assert at_once(served, f"{PATH}?{query}") is None
    refused = served.client.get(f"{PATH}?{query}")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_an_unknown_song_is_a_problem(served: World) -> None:
    assert at_once(served, "/v1/songs/nowhere/neighbours?k=3") is None
    missing = served.client.get("/v1/songs/nowhere/neighbours?k=3")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")


def test_an_id_of_any_text_still_has_neighbours(client: TestClient) -> None:
    for path in ("/v1/songs/AC%2Fneighbours/neighbours", "/v1/songs/sch%C3%B6n%20%F0%9F%8E%B5%3F%23%25/neighbours"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_other_methods_are_refused(served: World, method: str) -> None:
    assert at_once(served, PATH, method=method) is None
    assert served.client.request(method, PATH).status_code == 405
