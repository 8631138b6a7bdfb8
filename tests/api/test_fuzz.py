"""Requests that nobody would write: made from the description, and from any text at all."""

import contextlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

from app.api.bodies import parsed
from app.api.documentation import SCHEME
from app.api.problems import Refused
from tests.api.world import PLAYS_CSV, World, app_on, client_of, container_on, copied
from tests.keys import HEADERS, KEY

LEFT_OUT: list[Any] = [
    checks.positive_data_acceptance,  # 422 also tells what no schema can: rules between fields, ids of nothing
]

LEFT_OUT_OF: dict[str, list[Any]] = {
    "PATCH /v1/songs/{song_id}": [checks.use_after_free],  # of a song that was deleted, it makes one anew
    "GET /v1/keys/{key_id}": [checks.use_after_free],  # a key that was revoked is still shown
}
"""The same of single operations."""

LEFT_OUT_OF_CHAINS: list[Any] = [
    checks.negative_data_rejection,  # keys are replaced by one that does; single requests are checked for it
]

CONFIG = {
    "auth": {"openapi": {SCHEME: {"bearer": KEY}}},
    "phases": {"stateful": {"inference": {"algorithms": []}}},
}
"""With a key, for without one all are told 401; and by the links that the description has."""

Described = schemathesis.APIOperation[Any, Any, Any, Any]

N_EXAMPLES = 5
"""Requests of each kind to each operation."""

BESIDE_THE_KEY = (ParameterLocation.PATH, ParameterLocation.QUERY, ParameterLocation.BODY)

MEANT = {"413": "too_large", "503": "nothing_live", "507": "storage_full"}
"""Refusals that are meant and that the checks take for others: a body that goes on and on, an alias made up."""


@pytest.fixture(scope="module")
def settled(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """A server with something of everything in it."""
    folder = tmp_path_factory.mktemp("fuzz")
    container = container_on(copied(migrated_file, folder), folder / "store")
    app = app_on(container)
    world = World(container, app, client_of(app))  # the app's life begins with the first request from its description
    world.built_model()
    world.study()
    yield world
    container.stop()


@pytest.fixture(scope="module")
def there(settled: World) -> dict[str, str]:
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


@pytest.fixture(scope="module")
def described(settled: World) -> Any:  # noqa: ANN401
    """What the server says of itself."""
    return schemathesis.openapi.from_asgi("/openapi.json", settled.app, config=SchemathesisConfig.from_dict(CONFIG))


def test_the_server_answers_as_it_is_described(there: dict[str, str], described: Any) -> None:  # noqa: ANN401
    statuses: Counter[int] = Counter()
    n_operations = 0
    for found in described.get_all_operations():
        operation: Described = found.ok()  # an error has none, and so fails the test
        n_operations += 1
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _ask(
                operation, mode, there=there if mode is schemathesis.GenerationMode.POSITIVE else {}, statuses=statuses
            )
    assert n_operations >= 28
    n_answered = sum(statuses.values())
    assert sum(n for status, n in statuses.items() if status < 300) > 0.2 * n_answered  # the key opens
    assert statuses[401] < 0.2 * n_answered


def _ask(
    operation: Described, mode: schemathesis.GenerationMode, *, there: dict[str, str], statuses: Counter[int]
) -> None:
    """Ask as described, or else; with ids of what is there, for random ones are never found."""

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=N_EXAMPLES,
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
        if case.meta is not None and any(case.meta.is_negative_at(location) for location in BESIDE_THE_KEY):
            case.headers.update(HEADERS)  # otherwise the key's absence would be all that is refused
        response = case.call()
        statuses[response.status_code] += 1
        if str(response.status_code) in MEANT:
            assert response.json()["code"] == MEANT[str(response.status_code)]
            return
        case.validate_response(response, excluded_checks=LEFT_OUT)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing about it can be wrong
        ask()


CHAINS = {
    "POST /v1/studies": "^/v1/studies$|^/v1/studies/[^/]+(/(pause|resume|cancel|trials|extend|verdict|export.csv))?$",
    "POST /v1/datasets": "^/v1/datasets",
    "PUT /v1/aliases/{alias}": "^/v1/aliases",
    "POST /v1/keys": "^/v1/keys",
    "PUT /v1/songs/{song_id}": "^/v1/songs/",
}
"""What is made, and the paths that are asked of it by links."""


@pytest.mark.parametrize("maker", CHAINS)
def test_what_was_made_answers_by_the_links_of_the_description(
    there: dict[str, str],
    described: Any,  # noqa: ANN401
    maker: str,
) -> None:
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    endless = "/events$"  # a stream ends with its study
    chosen = described.include(path_regex=CHAINS[maker]).exclude(path_regex=endless)

    bodies: dict[str, Any] = {
        "POST /v1/studies": {"dataset_id": there["dataset_id"]},
        "POST /v1/datasets": {"name": "n", "plays": {"source": "plays"}},
        "PUT /v1/aliases/{alias}": {"model_id": there["model_id"]},
    }

    class Chained(chosen.as_state_machine()):  # type: ignore[misc]  # made from the description
        """What was made, asked as links say; it is made of what is there."""

        def before_call(self, case: "schemathesis.Case[Any]") -> None:
            case.body = bodies.get(case.operation.label, case.body)

        def get_call_kwargs(self, case: "schemathesis.Case[Any]") -> dict[str, Any]:
            """The key, in place of whatever was made up for one, and known to the checks as ours."""
            del case
            return {"headers": HEADERS}

        def validate_response(self, response: Any, case: "schemathesis.Case[Any]", *_: Any, **__: Any) -> None:  # noqa: ANN401
            statuses[case.operation.label][response.status_code] += 1
            if str(response.status_code) in MEANT:
                assert response.json()["code"] == MEANT[str(response.status_code)]
                return
            left_out = [*LEFT_OUT, *LEFT_OUT_OF.get(case.operation.label, []), *LEFT_OUT_OF_CHAINS]
            case.validate_response(response, excluded_checks=left_out, recorder=self.recorder)

    Chained.run(
        settings=hypothesis.settings(
            max_examples=8,
            stateful_step_count=6,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    assert any(status < 300 for status in statuses[maker]), dict(statuses)


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
