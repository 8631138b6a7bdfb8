"""What surrounds every request: its id, the log, figures, and an answer when all else fails."""

import logging

import pytest
from fastapi.testclient import TestClient

from tests.api.world import World, client_of


@pytest.fixture
def failing(world: World) -> TestClient:
    """A server with a route that fails."""

    @world.app.get("/fails")
    def fails() -> None:
        msg = "the password is swordfish"
        raise RuntimeError(msg)

    return client_of(world.app, raise_server_exceptions=False)


def test_a_sane_request_id_is_kept(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-Id": "abc-1.2_3"}).headers["X-Request-Id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "<script>"])
def test_any_other_is_replaced(client: TestClient, given: str) -> None:
    answered = client.get("/health/live", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert answered != given
    assert len(answered) == 16


def test_what_nobody_foresaw_is_told_without_its_words(failing: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = failing.get("/fails", headers={"X-Request-Id": "here-1"})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["request_id"]) == ("internal_error", "here-1")
    assert "swordfish" not in answer.text
    (line,) = [line for line in caplog.records if line.message == "request_failed"]
    assert "swordfish" in str(line.exc_info)


def test_requests_are_counted_by_the_route_and_not_by_the_path(world: World) -> None:
    for name in ("a", "b", "c"):
        world.client.get(f"/v1/songs/{name}/neighbours")
        world.client.get(f"/none/{name}")
        world.client.request("BREW", "/v1/songs")
    figures = world.client.get("/metrics")
    assert figures.headers["Content-Type"].startswith("text/plain")
    counted = [line for line in figures.text.splitlines() if line.startswith("http_requests_total")]
    assert counted == [
        'http_requests_total{method="GET",route="/v1/songs/{song_id:path}/neighbours",status="503"} 3.0',
        'http_requests_total{method="GET",route="",status="404"} 3.0',
        'http_requests_total{method="other",route="/v1/songs",status="405"} 3.0',
    ]
    assert 'http_request_duration_seconds_count{method="GET",route="/v1/songs/{song_id:path}/neighbours"} 3.0' in (
        figures.text
    )


def test_writes_and_refusals_are_logged_and_reads_are_not(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="app.api"):
        client.get("/v1/datasets")
        client.get("/v1/datasets/dat_none")
        client.post("/v1/datasets", json={"name": "n", "plays": {"source": "plays"}})
    logged = [line.message for line in caplog.records if line.name.startswith("app.api")]
    assert ["status=404" in logged[0], "status=202" in logged[1], len(logged)] == [True, True, 2]


def test_an_id_in_a_path_is_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="app.api"):
        client.get("/v1/users/jane.doe@example.org/recommendations")
    assert "jane.doe" not in caplog.text
