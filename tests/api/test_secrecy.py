"""Neither answers nor logs repeat a body, a query or a key; an answer may name an id that there is not."""

import io
import logging
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.api.world import World
from tests.keys import HEADERS

MARK = "swordfish-of-the-test"
KEY = f"segue_{'c' * 32}_{MARK}{'x' * (43 - len(MARK))}"

ASKED = [
    ("POST", "/v1/studies", {"dataset_id": f"{MARK}!", "name": MARK}),
    ("POST", "/v1/studies", {MARK: MARK}),
    ("POST", "/v1/studies", [MARK]),
    ("POST", "/v1/datasets", {"name": 3, "plays": {"source": [MARK]}}),
    ("POST", "/v1/plays", {"plays": MARK}),
    ("POST", "/v1/recommendations", {"history": [{"song_id": [MARK]}]}),
    ("POST", "/v1/keys", {"name": 3, "scopes": [MARK]}),
    ("PUT", "/v1/aliases/production", {"model_id": MARK + "!"}),
]


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """Whatever is logged by anybody, at any level."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.addFilter(lambda line: not line.name.startswith("httpx2"))  # the tests' own client
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield output
    root.removeHandler(handler)
    root.setLevel(level)


def assert_silent(answers: list[str], heard: io.StringIO) -> None:
    assert heard.getvalue()
    assert MARK not in heard.getvalue()
    for answer in answers:
        assert MARK not in answer


def test_a_key_is_repeated_nowhere(world: World, heard: io.StringIO) -> None:
    client = TestClient(world.app)
    answers = []
    for sent in (KEY, f"Bearer {KEY}", f"Bearer {MARK}", f"Basic {MARK}"):
        answer = client.get("/v1/studies", headers={"Authorization": sent})
        assert answer.status_code == 401
        answers.append(answer.text + str(answer.headers))
    made = world.client.post("/v1/keys", json={"name": "k", "scopes": ["read"]}).json()["key"]
    client.get("/v1/studies", headers={"Authorization": f"Bearer {made}"})
    assert made.rpartition("_")[2] not in heard.getvalue()
    assert HEADERS["Authorization"].rpartition("_")[2] not in heard.getvalue()
    assert_silent(answers, heard)


def test_a_body_that_is_refused_is_repeated_nowhere(world: World, heard: io.StringIO) -> None:
    answers = []
    for method, path, body in ASKED:
        answer = world.client.request(method, path, json=body)
        assert 400 <= answer.status_code < 500, (path, answer.text)
        answers.append(_without_field_names(answer))
    for content in (f'{{"{MARK}', f'{{"a": "{MARK}", "a": 1}}', MARK):
        headers = {"Content-Type": "application/json"}
        answers.append(world.client.post("/v1/studies", content=content, headers=headers).text)
    assert_silent(answers, heard)


def _without_field_names(answer: object) -> str:
    """The answer; a pointer names a field that there is not, as it has to."""
    text = answer.text  # type: ignore[attr-defined]
    return str(text).replace(f'"pointer": "/{MARK}"', "")


def test_a_query_that_is_refused_is_repeated_nowhere(world: World, heard: io.StringIO) -> None:
    answers = []
    for path in (f"/v1/studies?limit={MARK}", f"/v1/songs?k={MARK}&{'x' * 5}=1", f"/v1/studies?cursor={MARK}!"):
        answer = world.client.get(path)
        assert answer.status_code == 422, answer.text
        answers.append(answer.text)
    assert_silent(answers, heard)


def test_what_a_failing_route_was_asked_is_not_logged(world: World, heard: io.StringIO) -> None:
    @world.app.post("/fails")
    def fails() -> None:
        raise RuntimeError

    client = TestClient(world.app, raise_server_exceptions=False)
    answer = client.post(f"/fails?{MARK}", json={"a": MARK}, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 500
    assert_silent([answer.text], heard)
