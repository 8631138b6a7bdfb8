"""Requests that nobody would write: made from the description, and from any text at all."""

import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

from app.api.bodies import parsed
from app.api.problems import Refused
from tests.api.world import PLAYS_CSV, World, app_on, client_of, container_on

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.missing_required_header,
]

Described = schemathesis.APIOperation[Any, Any, Any, Any]

MEANT = {"413": "too_large", "503": "nothing_live", "507": "storage_full"}
"""Refusals that are meant and that the checks take for others: a body that goes on and on, an alias made up."""


@pytest.fixture(scope="module")
def settled(_migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """A server with something of everything in it."""
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "segue.db"
    path.write_bytes(_migrated_file.read_bytes())
    container = container_on(f"sqlite:///{path}", folder / "store")
    app = app_on(container)
    world = World(container, app, client_of(app))  # the app's life begins with the first request from its description
    world.built_model()
    world.study()
    yield world
    container.stop()


def test_the_server_answers_as_it_is_described(settled: World) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", settled.app)
    there = _ids(settled)
    n_operations = 0
    for found in described.get_all_operations():
        operation: Described = found.ok()  # type: ignore[union-attr]  # an error has none, and so fails the test
        n_operations += 1
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _ask(operation, mode, there=there if mode is schemathesis.GenerationMode.POSITIVE else {})
    assert n_operations >= 28


def _ids(settled: World) -> dict[str, str]:
    """The ids of what is there, by the parameter that names it."""
    ask = settled.client
    (model,) = ask.get("/v1/models").json()["items"]
    return {
        "dataset_id": model["lineage"]["dataset_id"],
        "study_id": model["lineage"]["study_id"],
        "trial_id": model["lineage"]["trial_id"],
        "model_id": model["id"],
        "upload_id": ask.post("/v1/uploads", content=PLAYS_CSV).json()["id"],
        "alias": "production",
        "song_id": "a",
        "user_id": "u",
    }


def _ask(operation: Described, mode: schemathesis.GenerationMode, *, there: dict[str, str]) -> None:
    """Ask as described, or else; with ids of what is there, for random ones are never found."""

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=12,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: "schemathesis.Case[Any]") -> None:
        case.path_parameters = {name: there.get(name, value) for name, value in case.path_parameters.items()}
        if isinstance(case.body, dict):
            case.body = {name: there.get(name, value) for name, value in case.body.items()}
        response = case.call()
        if str(response.status_code) in MEANT:
            assert response.json()["code"] == MEANT[str(response.status_code)]
            return
        case.validate_response(response, checks=CHECKS)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing about it can be wrong
        ask()


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=10,
)


@hypothesis.given(ANY_JSON)
def test_json_is_read_as_it_is_written(value: object) -> None:
    assert parsed(json.dumps(value).encode()) == value
    assert parsed(json.dumps(value, ensure_ascii=False).encode()) == value


@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(Refused):
        value = parsed(content)
        assert parsed(json.dumps(value).encode()) == value


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True, database=None)
@hypothesis.given(song_id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256))
def test_any_id_reaches_the_model_as_it_is(settled: World, song_id: str) -> None:
    answer = settled.client.get(f"/v1/users/{quote(song_id, safe='')}/recommendations")
    assert answer.status_code == 200
    assert answer.json()["user_id"] == song_id
