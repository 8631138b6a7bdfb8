"""Bad input over all routes: a problem that names the field, and nothing written."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from app.api.bodies import DEEPEST, parsed
from tests.api.world import (
    MAX_BODY_BYTES,
    MAX_UPLOAD_BYTES,
    PLAYS_CSV,
    World,
    container_on,
    copied,
    world_on,
)
from tests.keys import HEADERS

LONG = "x" * 257
PLAYS = {"source": "plays"}
PLAY = {"event_id": "e", "user_id": "u", "song_id": "s", "played_at": "2026-01-01T12:00:00Z"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """A request, and how it is refused. `{study}` and the like stand for what there is."""

    method: str
    path: str
    status: int
    code: str
    pointer: str | None = None
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def dataset(pointer: str, **changes: Any) -> Case:  # noqa: ANN401 - any JSON
    return Case("POST", "/v1/datasets", 422, "invalid_request", pointer, {"name": "n", "plays": PLAYS, **changes})


def study(pointer: str, **changes: Any) -> Case:  # noqa: ANN401 - any JSON
    return Case("POST", "/v1/studies", 422, "invalid_request", pointer, {"dataset_id": "{dataset}", **changes})


def own(pointer: str, **changes: Any) -> Case:  # noqa: ANN401 - any JSON
    trial = {"parameters": {"vector_size": 50, "window": 3, "negative": 5, "alpha": 0.05}, **changes}
    body = {"trials": [trial]}
    return Case("POST", "/v1/studies/{study}/trials", 422, "invalid_request", f"/trials/0{pointer}", body)


def told(way: str, pointer: str, **body: Any) -> Case:  # noqa: ANN401 - any JSON
    headers = {"Lease-Token": "x" * 43}
    return Case("POST", f"/v1/trials/trl_none/{way}", 422, "invalid_request", pointer, body, headers=headers)


def space(pointer: str, **changes: Any) -> Case:  # noqa: ANN401 - any JSON
    return study(f"/search_space/{pointer}", search_space=changes)


def life(method: str, way: str, pointer: str, body: Any) -> Case:  # noqa: ANN401 - any JSON
    return Case(method, f"/v1/studies/{{study}}{way}", 422, "invalid_request", pointer, body)


def batch(pointer: str, **fields: Any) -> Case:  # noqa: ANN401 - any JSON
    return Case("POST", "/v1/recommendations/batch", 422, "invalid_request", pointer, fields)


def heard(pointer: str, **changes: Any) -> Case:  # noqa: ANN401 - any JSON
    body = {"history": [{"song_id": "a"}], **changes}
    return Case("POST", "/v1/recommendations", 422, "invalid_request", pointer, body)


def asked(path: str, pointer: str) -> Case:
    return Case("GET", path, 422, "invalid_request", pointer)


def raw(content: bytes, **headers: str) -> Case:
    return Case("POST", "/v1/datasets", 422, "malformed_json", "", content=content, headers={**JSON, **headers})


def upload(status: int, code: str, pointer: str | None, content: bytes, **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case("POST", "/v1/uploads", status, code, pointer, content=content, headers=named)


CASES: dict[str, Case] = {
    # datasets
    "dataset: no name": Case("POST", "/v1/datasets", 422, "invalid_request", "/name", {"plays": PLAYS}),
    "dataset: empty name": dataset("/name", name=""),
    "dataset: long name": dataset("/name", name="x" * 201),
    "dataset: NUL in the name": dataset("/name", name="a\x00b"),
    "dataset: number as name": dataset("/name", name=3),
    "dataset: no plays": Case("POST", "/v1/datasets", 422, "invalid_request", "/plays", {"name": "n"}),
    "dataset: plays by path": dataset("/plays", plays="/etc/passwd"),
    "dataset: plays by unknown key": dataset("/plays", plays={"path": "/etc/passwd"}),
    "dataset: plays named twice": dataset("/plays", plays={"source": "plays", "upload_id": "upl_1"}),
    "dataset: nothing named": dataset("/plays", plays={}),
    "dataset: unknown source": dataset("/plays/source", plays={"source": "other"}),
    "dataset: source as path": dataset("/plays/source", plays={"source": "../plays"}),
    "dataset: unknown upload": dataset("/plays/upload_id", plays={"upload_id": "upl_none"}),
    "dataset: upload as path": dataset("/plays/upload_id", plays={"upload_id": "../../etc/passwd"}),
    "dataset: extra field in plays": dataset("/plays/path", plays={"source": "plays", "path": "x"}),
    "dataset: unknown songs": dataset("/songs/source", songs={"source": "other"}),
    "dataset: segments without songs": dataset("/songs", segment_by="language"),
    "dataset: unknown field": dataset("/nmae", nmae="n"),
    "dataset: text as number": dataset("/preparation/min_length", preparation={"min_length": "3"}),
    "dataset: true as number": dataset("/preparation/min_length", preparation={"min_length": True}),
    "dataset: fraction as whole": dataset("/preparation/min_length", preparation={"min_length": 3.5}),
    "dataset: too short": dataset("/preparation/min_length", preparation={"min_length": 2}),
    "dataset: max below min": dataset("/preparation/max_length", preparation={"min_length": 9, "max_length": 8}),
    "dataset: no gap": dataset("/preparation/session_gap_minutes", preparation={"session_gap_minutes": 0}),
    "dataset: empty sample": dataset("/preparation/sample_fraction", preparation={"sample_fraction": 0}),
    "dataset: large sample": dataset("/preparation/sample_fraction", preparation={"sample_fraction": 1.01}),
    "dataset: sampled by song": dataset("/preparation/sample_by", preparation={"sample_by": "song"}),
    "dataset: negative seed": dataset("/preparation/seed", preparation={"seed": -1}),
    "dataset: all for the test": dataset("/split/test_fraction", split={"test_fraction": 1}),
    "dataset: unknown repeats": dataset("/split/repeats", split={"repeats": "keep"}),
    "dataset: number as boolean": dataset("/split/query_in_training", split={"query_in_training": 1}),
    "dataset: null preparation": dataset("/preparation", preparation=None),
    "dataset: not an object": Case("POST", "/v1/datasets", 422, "invalid_request", "", []),
    "dataset: no body": Case("POST", "/v1/datasets", 422, "invalid_request", ""),
    "dataset: no such id": Case("GET", "/v1/datasets/dat_none", 404, "not_found"),
    "dataset: NUL in the id": asked("/v1/datasets/a%00b", "dataset_id"),
    # JSON
    "JSON: cut short": raw(b'{"name": "n"'),
    "JSON: NaN": raw(b'{"name": NaN}'),
    "JSON: Infinity": raw(b'{"name": -Infinity}'),
    "JSON: number too large": raw(b'{"name": 1e999}'),
    "JSON: more than 64 bits": raw(b'{"name": 9223372036854775808}'),
    "JSON: endless number": raw(b'{"name": ' + b"9" * 5000 + b"}"),
    "JSON: a name twice": raw(b'{"name": "a", "name": "b"}'),
    "JSON: not UTF-8": raw(b'{"name": "\xff"}'),
    "JSON: half a surrogate pair": raw(b'{"name": "\\ud800"}'),
    "JSON: half a surrogate pair as a name": raw(b'{"\\uDC2f": 1}'),
    "JSON: nested deep": raw(b'{"name": ' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
    "JSON: nested a bit too deep": raw(b'{"name": ' + b"[" * 40 + b"]" * 40 + b"}"),
    "JSON: large": Case(
        "POST", "/v1/datasets", 413, "too_large", "", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON
    ),
    "JSON: as text": Case(
        "POST",
        "/v1/datasets",
        415,
        "unsupported_media_type",
        "Content-Type",
        content=b"{}",
        headers={"Content-Type": "text/plain"},
    ),
    "JSON: as a form": Case(
        "PUT",
        "/v1/aliases/a",
        415,
        "unsupported_media_type",
        "Content-Type",
        content=b"a=1",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "JSON: of no type": Case(
        "POST",
        "/v1/plays",
        415,
        "unsupported_media_type",
        "Content-Type",
        content=b"{}",
        headers={"Content-Type": ""},
    ),
    # studies
    "study: no dataset": Case("POST", "/v1/studies", 422, "invalid_request", "/dataset_id", {}),
    "study: unknown dataset": study("/dataset_id", dataset_id="dat_none"),
    "study: dataset as number": study("/dataset_id", dataset_id=1),
    "study: dataset not ready": Case("POST", "/v1/studies", 409, "conflict", None, {"dataset_id": "{queued_dataset}"}),
    "study: unknown preset": study("/preset", preset="huge"),
    "study: unknown algorithm": study("/algorithm", algorithm="grid"),
    "study: unknown acquisition": study("/acquisition", acquisition="ts"),
    "study: unknown trainer": study("/trainer", trainer="spark"),
    "study: k of nothing": study("/objective/k", objective={"k": 0}),
    "study: heavy weight": study("/objective/hr_weight", objective={"hr_weight": 1.5}),
    "study: unknown objective": study("/objective/mrr", objective={"mrr": 1}),
    "study: no initial trial": study("/n_initial", n_initial=0),
    "study: negative iterations": study("/n_iterations", n_iterations=-1),
    "study: iterations as text": study("/n_iterations", n_iterations="19"),
    "study: no epochs": study("/epochs", epochs=0),
    "study: epochs twice": study("/epochs", epochs=3, search_space={"epochs": {"value": 4}}),
    "study: large seed": study("/seed", seed=2**31),
    "study: no parallelism": study("/parallelism", parallelism=0),
    "study: many threads": study("/threads", threads=1_000),
    "study: no time": study("/trial_timeout_s", trial_timeout_s=0),
    "study: no attempts": study("/max_attempts", max_attempts=0),
    "study: baselines as text": study("/baselines", baselines="yes"),
    "stopping: unknown rule": study("/stopping/patience", stopping={"patience": 3}),
    "stopping: no trials": study("/stopping/max_trials", stopping={"max_trials": 0}),
    "stopping: no time": study("/stopping/max_run_s", stopping={"max_run_s": 0}),
    "stopping: a target beyond reach": study("/stopping/target", stopping={"target": 1.5}),
    "stopping: improvement over nothing": study(
        "/stopping/no_improvement/n_trials", stopping={"no_improvement": {"min_delta": 0.1}}
    ),
    "stopping: a negative share": study(
        "/stopping/min_expected_improvement", stopping={"min_expected_improvement": -0.1}
    ),
    "stopping: random search expects nothing": study(
        "/stopping/min_expected_improvement", algorithm="random", stopping={"min_expected_improvement": 0.1}
    ),
    "retry: negative wait": study("/retry/backoff_s", retry={"backoff_s": -1}),
    "retry: shrinking wait": study("/retry/backoff_factor", retry={"backoff_factor": 0.5}),
    "retry: unknown kind": study("/retry/on/bored", retry={"on": {"bored": 2}}),
    "retry: no attempt": study("/retry/on/lost", retry={"on": {"lost": 0}}),
    "retry: too many attempts": study("/retry/on/lost", retry={"on": {"lost": 21}}),
    "retry: true": study("/retry/on/lost", retry={"on": {"lost": True}}),
    "retry: given up before it began": study("/retry/abort_after", retry={"abort_after": 0}),
    "extend: by nothing": life("POST", "/extend", "/n_iterations", {"n_iterations": 0}),
    "extend: by no number": life("POST", "/extend", "/n_iterations", {}),
    "extend: what has not ended": Case(
        "POST", "/v1/studies/{study}/extend", 409, "conflict", None, {"n_iterations": 1}
    ),
    "extend: none": Case("POST", "/v1/studies/std_none/extend", 404, "not_found", None, {"n_iterations": 1}),
    "change: null name": life("PATCH", "", "/name", {"name": None}),
    "change: unknown field": life("PATCH", "", "/seed", {"seed": 1}),
    "change: no parallelism": life("PATCH", "", "/parallelism", {"parallelism": 0}),
    "change: iterations as text": life("PATCH", "", "/n_iterations", {"n_iterations": "9"}),
    "change: rule out of range": life("PATCH", "", "/stopping/target", {"stopping": {"target": 2}}),
    "change: space upside down": life(
        "PATCH", "", "/search_space/alpha/low", {"search_space": {"alpha": {"type": "float", "low": 0.5, "high": 0.1}}}
    ),
    "change: a value beyond what there is": life(
        "PATCH", "", "/search_space/window/value", {"search_space": {"window": {"value": 1_000}}}
    ),
    "change: nothing left free": life(
        "PATCH",
        "",
        "/search_space",
        {
            "search_space": {name: {"value": 2} for name in ("vector_size", "window", "negative")}
            | {"alpha": {"value": 0.1}}
        },
    ),
    "change: stale": Case(
        "PATCH", "/v1/studies/{study}", 412, "stale_version", None, {"name": "n"}, headers={"If-Match": '"7"'}
    ),
    "change: malformed precondition": Case(
        "PATCH", "/v1/studies/{study}", 422, "invalid_request", "If-Match", {"name": "n"}, headers={"If-Match": "7"}
    ),
    "change: none": Case("PATCH", "/v1/studies/std_none", 404, "not_found", None, {"name": "n"}),
    "clone: null seed": life("POST", "/clone", "/seed", {"seed": None}),
    "clone: unknown dataset": life("POST", "/clone", "/dataset_id", {"dataset_id": "dat_none"}),
    "clone: dataset not ready": Case(
        "POST", "/v1/studies/{study}/clone", 409, "conflict", None, {"dataset_id": "{queued_dataset}"}
    ),
    "clone: none": Case("POST", "/v1/studies/std_none/clone", 404, "not_found"),
    "delete: what has not ended": Case("DELETE", "/v1/studies/{study}", 409, "conflict"),
    "delete: what a model comes from": Case("DELETE", "/v1/studies/{promoted}", 409, "conflict"),
    "delete: none": Case("DELETE", "/v1/studies/std_none", 404, "not_found"),
    "pruning: no rule": study("/pruning/rule", pruning={}),
    "pruning: unknown rule": study("/pruning/rule", pruning={"rule": "luck"}),
    "pruning: no first epoch": study("/pruning/min_epochs", pruning={"rule": "median", "min_epochs": 0}),
    "pruning: all epochs first": study("/pruning/min_epochs", pruning={"rule": "median", "min_epochs": 3}),
    "pruning: no others": study("/pruning/n_startup_trials", pruning={"rule": "median", "n_startup_trials": 0}),
    "pruning: no reduction": study(
        "/pruning/reduction_factor", pruning={"rule": "successive_halving", "reduction_factor": 1}
    ),
    "pruning: reduction of the median": study(
        "/pruning/reduction_factor", pruning={"rule": "median", "reduction_factor": 3}
    ),
    "pruning: unknown field": study("/pruning/patience", pruning={"rule": "median", "patience": 3}),
    "constraints: a text": study("/constraints", constraints="coverage >= 0.1"),
    "constraints: a number": study("/constraints/0", constraints=[1]),
    "constraints: empty": study("/constraints/0", constraints=[""]),
    "constraints: unknown metric": study("/constraints/1", constraints=["ndcg >= 0.1", "speed <= 3"]),
    "constraints: no relation": study("/constraints/0", constraints=["coverage 0.1"]),
    "constraints: code": study("/constraints/0", constraints=["__import__('os').getpid() <= 1"]),
    "constraints: unknown baseline": study("/constraints/0", constraints=["ndcg >= baseline.mine"]),
    "constraints: baseline without training": study(
        "/constraints/0", constraints=["train_seconds <= baseline.next_song"]
    ),
    "constraints: without baselines": study("/baselines", constraints=["ndcg >= baseline"], baselines=False),
    "constraints: too many": study("/constraints", constraints=["ndcg >= 0.1"] * 11),
    "space: not an object": study("/search_space", search_space=[]),
    "space: unknown hyperparameter": space("learning_rate", learning_rate={"value": 1}),
    "space: a bare value": space("alpha", alpha=0.1),
    "space: unknown kind": space("alpha", alpha={"type": "normal", "low": 0.1, "high": 1}),
    "space: neither range nor value": space("alpha", alpha={"low": 0.1, "high": 1}),
    "space: no high": space("alpha/high", alpha={"type": "float", "low": 0.1}),
    "space: low as text": space("alpha/low", alpha={"type": "float", "low": "0.1", "high": 1}),
    "space: upside down": space("alpha/low", alpha={"type": "float", "low": 0.5, "high": 0.1}),
    "space: log of zero": space("sample/low", sample={"type": "float", "low": 0, "high": 0.1, "scale": "log"}),
    "space: unknown scale": space("alpha/scale", alpha={"type": "float", "low": 0.1, "high": 1, "scale": "sqrt"}),
    "space: beyond what there is": space("vector_size/high", vector_size={"type": "int", "low": 2, "high": 10**6}),
    "space: a whole number as float": space("window/type", window={"type": "float", "low": 1, "high": 4}),
    "space: a fraction as int": space("window/low", window={"type": "int", "low": 1.5, "high": 4}),
    "space: one choice": space("sg/choices", sg={"type": "categorical", "choices": [1]}),
    "space: the same choice twice": space("sg/choices/1", sg={"type": "categorical", "choices": [1, 1]}),
    "space: a choice that is none": space("sg/choices/1", sg={"type": "categorical", "choices": [0, 2]}),
    "space: true as a choice": space("sg/choices/1", sg={"type": "categorical", "choices": [0, True]}),
    "space: true as a value": space("sg/value", sg={"value": True}),
    "space: a value beyond what there is": space("alpha/value", alpha={"value": 5}),
    "space: a fraction of a window": space("window/value", window={"value": 2.5}),
    "space: unknown scoring": space("scoring/value", scoring={"value": "cosine"}),
    "space: extra field": space("alpha/step", alpha={"type": "float", "low": 0.1, "high": 1, "step": 0.1}),
    "space: two conditions": space(
        "window/only_if", window={"type": "int", "low": 1, "high": 4, "only_if": {"sg": 1, "scoring": "input"}}
    ),
    "space: a condition on nothing": space(
        "window/only_if", window={"type": "int", "low": 1, "high": 4, "only_if": {}}
    ),
    "space: a condition that never holds": space(
        "window/only_if/sg", window={"type": "int", "low": 1, "high": 4, "only_if": {"sg": 0}}
    ),
    "space: a condition on a real number": space(
        "window/only_if/alpha", window={"type": "int", "low": 1, "high": 4, "only_if": {"alpha": 0.1}}
    ),
    "space: a condition on itself": space(
        "window/only_if/window", window={"type": "int", "low": 1, "high": 4, "only_if": {"window": 2}}
    ),
    "space: otherwise for nothing": space(
        "window/otherwise", window={"type": "int", "low": 1, "high": 4, "otherwise": 5}
    ),
    "space: nothing free": study(
        "/search_space",
        search_space={name: {"value": 2} for name in ("vector_size", "window", "negative")} | {"alpha": {"value": 0.1}},
    ),
    "study: warm start of no mode": study("/warm_start/mode", warm_start={"mode": "copy", "study_ids": ["a"]}),
    "study: warm start of nothing": study("/warm_start/study_ids", warm_start={"mode": "transfer", "study_ids": []}),
    "study: warm start of many": study(
        "/warm_start/study_ids", warm_start={"mode": "transfer", "study_ids": ["a", "b", "c", "d", "e", "f"]}
    ),
    "study: warm start of one twice": study(
        "/warm_start/study_ids/1", warm_start={"mode": "transfer", "study_ids": ["a", "a"]}
    ),
    "study: warm start of none": study(
        "/warm_start/study_ids/0", warm_start={"mode": "transfer", "study_ids": ["std_none"]}
    ),
    "study: warm start of an open one": Case(
        "POST",
        "/v1/studies",
        409,
        "conflict",
        None,
        {"dataset_id": "{dataset}", "warm_start": {"mode": "transfer", "study_ids": ["{study}"]}},
    ),
    "study: inherited of none": Case("GET", "/v1/studies/std_none/inherited", 404, "not_found"),
    "study: inherited from nowhere": asked("/v1/studies/{study}/inherited?cursor=-0", "cursor"),
    # own points, asking and telling
    "own: nothing": Case("POST", "/v1/studies/{study}/trials", 422, "invalid_request", "/trials", {"trials": []}),
    "own: too many": Case(
        "POST", "/v1/studies/{study}/trials", 422, "invalid_request", "/trials", {"trials": [{"parameters": {}}] * 101}
    ),
    "own: no parameters": Case(
        "POST", "/v1/studies/{study}/trials", 422, "invalid_request", "/trials/0/parameters", {"trials": [{}]}
    ),
    "own: a tuned one missing": own("/parameters/vector_size", parameters={"window": 3, "negative": 5, "alpha": 0.05}),
    "own: beyond what can be trained": own("/parameters/window", parameters={"window": 101}),
    "own: fraction as whole": own("/parameters/window", parameters={"window": 3.5}),
    "own: unknown parameter": own("/parameters/dropout", parameters={"dropout": 0.5}),
    "own: beyond the space": own(
        "/parameters/window", parameters={"vector_size": 50, "window": 41, "negative": 5, "alpha": 0.05}
    ),
    "own: another value than the fixed one": own(
        "/parameters/sg", parameters={"vector_size": 50, "window": 4, "negative": 5, "alpha": 0.05, "sg": 0}
    ),
    "own: measurement of nothing": own("/measurement", measurement={"n_pairs": 5}),
    "own: measurement without pairs": own("/measurement/n_pairs", measurement={"objective": 0.5}),
    "own: measurement above 1": own("/measurement/objective", measurement={"objective": 1.5, "n_pairs": 5}),
    "own: half a measurement of a segment": own(
        "/measurement/segments/a~1r",
        measurement={"objective": 0.5, "n_pairs": 5, "segments": {"a/r": {"ndcg": 0.5, "n_pairs": 5}}},
    ),
    "own: no room": Case(
        "POST",
        "/v1/studies/{study}/trials",
        409,
        "budget_spent",
        None,
        {"trials": [{"parameters": {"vector_size": 50, "window": 3, "negative": 5, "alpha": 0.05}}] * 2},
    ),
    "own: for no study": Case(
        "POST", "/v1/studies/std_none/trials", 404, "not_found", None, {"trials": [{"parameters": {}}]}
    ),
    "ask: nobody": Case("POST", "/v1/studies/{study}/trials/ask", 422, "invalid_request", "/client_id", {}),
    "ask: with a long name": Case(
        "POST", "/v1/studies/{study}/trials/ask", 422, "invalid_request", "/client_id", {"client_id": "x" * 201}
    ),
    "ask: of a study that workers run": Case(
        "POST", "/v1/studies/{study}/trials/ask", 409, "conflict", None, {"client_id": "a"}
    ),
    "ask: of no study": Case("POST", "/v1/studies/std_none/trials/ask", 404, "not_found", None, {"client_id": "a"}),
    "tell: without a token": Case("POST", "/v1/trials/trl_none/heartbeat", 422, "invalid_request", "Lease-Token", {}),
    "tell: under a short token": Case(
        "POST",
        "/v1/trials/trl_none/fail",
        422,
        "invalid_request",
        "Lease-Token",
        {"reason": "r"},
        None,
        {"Lease-Token": "short"},
    ),
    "tell: of no trial": Case(
        "POST", "/v1/trials/trl_none/heartbeat", 404, "not_found", None, {}, None, {"Lease-Token": "x" * 43}
    ),
    "tell: more than all": told("heartbeat", "/progress/fraction", progress={"fraction": 1.5}),
    "tell: epoch 0": told("measurements", "/epoch", epoch=0, objective=0.1, n_pairs=5),
    "tell: an epoch of nothing": told("measurements", "", epoch=1, n_pairs=5),
    "tell: no measurement": told("complete", "/measurement"),
    "tell: half a measurement": told("complete", "/measurement", measurement={"hit_ratio": 0.5, "n_pairs": 5}),
    "tell: no reason": told("fail", "/reason"),
    "tell: of no kind": told("fail", "/kind", reason="r", kind="lost"),
    "tell: less than no time": told(
        "complete", "/evaluate_s", measurement={"objective": 0.5, "n_pairs": 5}, evaluate_s=-1
    ),
    "tell: bytes and a half": told(
        "complete", "/model_bytes", measurement={"objective": 0.5, "n_pairs": 5}, model_bytes=0.5
    ),
    "tell: final as text": told("fail", "/is_final", reason="r", is_final="yes"),
    "study: no such id": Case("GET", "/v1/studies/std_none", 404, "not_found"),
    "study: trials of none": Case("GET", "/v1/studies/std_none/trials", 404, "not_found"),
    "study: cancel none": Case("POST", "/v1/studies/std_none/cancel", 404, "not_found"),
    "study: pause none": Case("POST", "/v1/studies/std_none/pause", 404, "not_found"),
    "study: resume what runs": Case("POST", "/v1/studies/{study}/resume", 409, "conflict"),
    "study: promote none": Case("POST", "/v1/studies/std_none/promote", 404, "not_found", None, {}),
    "study: promote too soon": Case("POST", "/v1/studies/{study}/promote", 409, "conflict", None, {}),
    "study: promote to a bad alias": Case(
        "POST", "/v1/studies/{study}/promote", 422, "invalid_request", "/alias", {"alias": "Prod/1"}
    ),
    "study: promote an unknown fit": Case(
        "POST", "/v1/studies/{study}/promote", 422, "invalid_request", "/fit", {"fit": "half"}
    ),
    "trial: no such id": Case("GET", "/v1/trials/trl_none", 404, "not_found"),
    "trial: slash in the id": Case("GET", "/v1/trials/a%2Fb", 422, "invalid_request", "trial_id"),
    # lists
    "list: no limit": asked("/v1/datasets?limit=0", "limit"),
    "list: large limit": asked("/v1/studies?limit=201", "limit"),
    "list: limit as text": asked("/v1/models?limit=ten", "limit"),
    "list: NUL in the cursor": asked("/v1/datasets?cursor=%00", "cursor"),
    "list: unknown parameter": asked("/v1/datasets?page=2", "page"),
    "list: unknown role": asked("/v1/studies/{study}/trials?role=winner", "role"),
    # models, aliases
    "model: no such id": Case("GET", "/v1/models/mdl_none", 404, "not_found"),
    "alias: no such name": Case("GET", "/v1/aliases/none", 404, "not_found"),
    "alias: bad name": asked("/v1/aliases/Prod!", "alias"),
    "alias: history of none": Case("GET", "/v1/aliases/none/history", 404, "not_found"),
    "alias: bad cursor": asked("/v1/aliases/a/history?cursor=-1", "cursor"),
    "alias: no model": Case("PUT", "/v1/aliases/a", 422, "invalid_request", "/model_id", {}),
    "alias: unknown model": Case("PUT", "/v1/aliases/a", 422, "invalid_request", "/model_id", {"model_id": "mdl_none"}),
    "alias: roll back none": Case("POST", "/v1/aliases/none/rollback", 404, "not_found"),
    "alias: long precondition": Case(
        "POST",
        "/v1/aliases/a/rollback",
        422,
        "invalid_request",
        "If-Match",
        headers={"If-Match": '"1"' + " " * 99 + "x"},
    ),
    # serving
    "songs: k of nothing": asked("/v1/songs/a/neighbours?k=0", "k"),
    "songs: large k": asked("/v1/songs/a/neighbours?k=101", "k"),
    "songs: k as text": asked("/v1/songs/a/neighbours?k=ten", "k"),
    "songs: unknown parameter": asked("/v1/songs/a/neighbours?n=3", "n"),
    "songs: bad alias": asked("/v1/songs/a/neighbours?alias=A", "alias"),
    "songs: a filter of no value": asked("/v1/songs/a/neighbours?filter=language", "filter"),
    "songs: no such column": asked("/v1/songs/a/neighbours?filter=tempo=1", "filter"),
    "songs: none of an artist": asked("/v1/songs/a/neighbours?max_per_artist=0", "max_per_artist"),
    "songs: a model that is not live": Case("GET", "/v1/songs/a/neighbours?model=mdl_none", 409, "model_not_live"),
    "denials: bad limit": asked("/v1/denials?limit=201", "limit"),
    "songs: unknown alias": Case("GET", "/v1/songs/a/neighbours?alias=none", 503, "nothing_live"),
    "songs: long id": asked(f"/v1/songs/{LONG}/neighbours", "song_id"),
    "songs: empty id": asked("/v1/songs//neighbours", "song_id"),
    "songs: NUL in the id": asked("/v1/songs/a%00b/neighbours", "song_id"),
    "songs: control character": asked("/v1/songs/a%1Fb", "song_id"),
    "songs: bad cursor": asked("/v1/songs?cursor=abc", "cursor"),
    "songs: large limit": asked("/v1/songs?limit=101", "limit"),
    "songs: long query": asked(f"/v1/songs?query={LONG}", "query"),
    "users: long id": asked(f"/v1/users/{LONG}/recommendations", "user_id"),
    "users: NUL in the id": asked("/v1/users/%00/recommendations", "user_id"),
    "users: no half-life": asked("/v1/users/u/recommendations?half_life_days=0", "half_life_days"),
    "users: half-life NaN": asked("/v1/users/u/recommendations?half_life_days=nan", "half_life_days"),
    "users: endless half-life": asked("/v1/users/u/recommendations?half_life_days=inf", "half_life_days"),
    "users: long history": asked("/v1/users/u/recommendations?history_length=1001", "history_length"),
    "users: no lambda": asked("/v1/users/u/recommendations?mmr_lambda=1.1", "mmr_lambda"),
    "users: seen by nobody": asked("/v1/users/u/recommendations?exclude_seen=mine", "exclude_seen"),
    "users: seen for ever": asked("/v1/users/u/recommendations?exclude_seen=36501", "exclude_seen"),
    "users: weight of no event": asked("/v1/users/u/recommendations?event_weight=love=1", "event_weight"),
    "users: heavy event": asked("/v1/users/u/recommendations?event_weight=like=11", "event_weights/like"),
    "users: by nothing": asked("/v1/users/u/recommendations?by=mood", "by"),
    "users: page of nothing": asked("/v1/users/u/plays?limit=0", "limit"),
    "users: bad cursor": asked("/v1/users/u/plays?cursor=abc", "cursor"),
    "users: NUL in whom to see": asked("/v1/users/%00", "user_id"),
    "users: NUL in whom to erase": Case("DELETE", "/v1/users/%00", 422, "invalid_request", "user_id"),
    "users: erased by parameter": Case("DELETE", "/v1/users/u?force=1", 422, "invalid_request", "force"),
    "batch: nobody": batch("/user_ids", user_ids=[]),
    "batch: many": batch("/user_ids", user_ids=["u"] * 1_001),
    "batch: a number": batch("/user_ids/0", user_ids=[7]),
    "batch: explained": batch("/explain", user_ids=["u"], explain=True),
    "session: none": Case("POST", "/v1/recommendations", 422, "invalid_request", "/session", {"session": []}),
    "session: beside a history": heard("", session=["a"]),
    "session: nothing heard": Case("POST", "/v1/recommendations", 422, "invalid_request", "", {"k": 3}),
    "history: unknown event": heard("/history/0/event_type", history=[{"song_id": "a", "event_type": "love"}]),
    "history: no length": heard("/history/0/duration_s", history=[{"song_id": "a", "duration_s": 0}]),
    "history: heavy event": heard("/event_weights/like", event_weights={"like": 10.5}),
    "history: unknown weight": heard("/event_weights/love", event_weights={"love": 1}),
    "history: much excluded": heard("/exclude", exclude=["a"] * 1_001),
    "history: none": heard("/history", history=[]),
    "history: not a list": heard("/history", history={"song_id": "a"}),
    "history: long": heard("/history", history=[{"song_id": "a"}] * 1_001),
    "history: no song": heard("/history/0/song_id", history=[{}]),
    "history: long id": heard("/history/1/song_id", history=[{"song_id": "a"}, {"song_id": LONG}]),
    "history: instant without offset": heard(
        "/history/0/played_at", history=[{"song_id": "a", "played_at": "2026-01-01T12:00:00"}]
    ),
    "history: k as text": heard("/k", k="10"),
    "history: unknown field": heard("/user_id", user_id="u"),
    # plays
    "plays: none": Case("POST", "/v1/plays", 422, "invalid_request", "/plays", {"plays": []}),
    "plays: too many": Case("POST", "/v1/plays", 413, "too_large", "", {"plays": [PLAY] * 1_001}),
    "plays: not a list": Case("POST", "/v1/plays", 422, "invalid_request", "/plays", {"plays": PLAY}),
    # uploads
    "upload: nothing": upload(422, "invalid_source", "", b""),
    "upload: an image": upload(422, "invalid_source", "", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64),
    "upload: no song_id": upload(422, "invalid_source", "", b"song,session_id\na,1\n"),
    "upload: Parquet cut short": upload(422, "invalid_source", "", b"PAR1" + b"\x00" * 100),
    "upload: large": upload(413, "too_large", None, PLAYS_CSV * (MAX_UPLOAD_BYTES // len(PLAYS_CSV) + 1)),
    "upload: as JSON": upload(
        415, "unsupported_media_type", "Content-Type", PLAYS_CSV, Content_Type="application/json"
    ),
    "upload: as a form": upload(
        415, "unsupported_media_type", "Content-Type", PLAYS_CSV, Content_Type="multipart/form-data; boundary=x"
    ),
    "upload: compressed": upload(415, "unsupported_media_type", "Content-Encoding", PLAYS_CSV, Content_Encoding="gzip"),
    "upload: another digest": upload(
        422,
        "invalid_request",
        "Content-Digest",
        PLAYS_CSV,
        Content_Digest="sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:",
    ),
    "upload: a short digest": upload(
        422, "invalid_request", "Content-Digest", PLAYS_CSV, Content_Digest="sha-256=:AAAA:"
    ),
    "upload: no digest that we know": upload(
        422, "invalid_request", "Content-Digest", PLAYS_CSV, Content_Digest="md5=:AAAA:"
    ),
    "upload: digest of broken base64": upload(
        422, "invalid_request", "Content-Digest", PLAYS_CSV, Content_Digest="sha-256=:A=A:"
    ),
    "upload: empty key": upload(422, "invalid_request", "Idempotency-Key", PLAYS_CSV, Idempotency_Key=""),
    "upload: no such id": Case("GET", "/v1/uploads/upl_none", 404, "not_found"),
    "upload: path as id": Case("GET", "/v1/uploads/..%2F..%2Fsegue.db", 422, "invalid_request", "upload_id"),
    # keys
    "key: long": Case(
        "POST",
        "/v1/datasets",
        422,
        "invalid_request",
        "Idempotency-Key",
        {"name": "n", "plays": PLAYS},
        headers={"Idempotency-Key": "x" * 256},
    ),
    "key: not printable": Case(
        "POST",
        "/v1/datasets",
        422,
        "invalid_request",
        "Idempotency-Key",
        {"name": "n", "plays": PLAYS},
        headers={"Idempotency-Key": "caf\u00e9"},
    ),
    # routes
    "route: none": Case("GET", "/v2/studies", 404, "no_such_route"),
    "route: the root": Case("GET", "/", 404, "no_such_route"),
    "route: a slash too many": Case("GET", "/v1/studies/", 404, "no_such_route"),
    "route: wrong method": Case("PUT", "/v1/studies/{study}", 405, "method_not_allowed"),
    "route: wrong method for an alias": Case("POST", "/v1/aliases/a", 405, "method_not_allowed"),
}


@pytest.fixture(scope="module")
def settled(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with a model that is live, a study that is queued and a dataset that is not ready."""
    folder = tmp_path_factory.mktemp("settled")
    container = container_on(copied(migrated_file, folder), folder / "store")
    with world_on(container, raise_server_exceptions=False) as world:
        yield world


@pytest.fixture(scope="module")
def names(settled: World) -> dict[str, str]:
    """The ids of what is there."""
    settled.built_model()
    study_id = settled.study()
    queued = settled.client.post("/v1/datasets", json={"name": "queued", "plays": PLAYS}).json()["id"]
    ready = settled.client.get(f"/v1/studies/{study_id}").json()["dataset_id"]
    (model,) = settled.client.get("/v1/models").json()["items"]
    promoted = model["lineage"]["study_id"]
    return {"study": study_id, "dataset": ready, "queued_dataset": queued, "promoted": promoted}


def _filled(value: Any, names: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        for name, identity in names.items():
            value = value.replace(f"{{{name}}}", identity)
        return value
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    return value


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_refused_and_leaves_nothing(settled: World, names: dict[str, str], case: Case) -> None:
    before = settled.state()
    answer = settled.client.request(
        case.method,
        _filled(case.path, names),
        json=_filled(case.json, names),
        content=case.content,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in case.headers.items()],
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (case.status, case.status, case.code), problem
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    if case.pointer is not None:
        assert [error["pointer"] for error in problem["errors"]] == [case.pointer]
        assert problem["errors"][0]["detail"]
    if case.status == 405:
        assert answer.headers["Allow"]
    assert settled.state() == before


def test_a_bound_that_is_crossed_is_told(settled: World) -> None:
    refused = settled.client.get("/v1/songs/a/neighbours", params={"k": 101}).json()
    assert refused["errors"] == [{"pointer": "k", "detail": "Input should be less than or equal to 100", "limit": 100}]


def test_every_wrong_field_is_named_up_to_a_number(settled: World) -> None:
    refused = settled.client.post("/v1/recommendations", json={"history": [{} for _ in range(120)]}).json()
    assert refused["detail"] == "The request is wrong in 120 places."
    assert [error["pointer"] for error in refused["errors"]][:2] == ["/history/0/song_id", "/history/1/song_id"]
    assert len(refused["errors"]) == 20


def test_a_large_body_is_refused_however_it_is_sent(settled: World) -> None:
    chunks = (b" " * 1_000 for _ in range(MAX_BODY_BYTES // 1_000 + 1))
    refused = settled.client.post("/v1/datasets", content=chunks, headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_a_body_without_end_is_refused_as_soon_as_it_is_too_large(settled: World) -> None:
    n_chunks = 0
    said: list[Message] = []

    async def receive() -> Message:
        nonlocal n_chunks
        n_chunks += 1
        return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

    async def send(message: Message) -> None:
        said.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in {**JSON, **HEADERS}.items()]
    place = {"path": "/v1/datasets", "raw_path": b"/v1/datasets", "query_string": b"", "root_path": ""}
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "headers": headers, **place}
    asyncio.run(settled.app(scope, receive, send))
    assert said[0]["status"] == 413
    assert n_chunks == MAX_BODY_BYTES // 1_000 + 1


def test_a_large_upload_is_refused_however_it_is_sent(settled: World) -> None:
    before = settled.state()
    chunks = (PLAYS_CSV * 100 for _ in range(MAX_UPLOAD_BYTES // len(PLAYS_CSV * 100) + 1))
    refused = settled.client.post("/v1/uploads", content=chunks)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert settled.state() == before


NO_JSON = {
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "a number below all": b'{"a": -1e999}',
    "half a surrogate pair": b'{"a": "\\uDfff"}',
    "a level too deep": b'{"a": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}",
    "a list as deep": b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON.keys())
def test_whatever_takes_json_takes_no_other(settled: World, content: bytes) -> None:
    before = settled.state()
    n_asked = 0
    for path, methods in settled.app.openapi()["paths"].items():
        for method, operation in methods.items():
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue
            n_asked += 1
            place = re.sub(r"{[a-z_]+}", "abc", path)
            headers = {**JSON, "Lease-Token": "x" * 43}
            refused = settled.client.request(method, place, content=content, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (422, "malformed_json"), place
    assert n_asked >= 25
    assert settled.state() == before


def test_json_may_be_as_deep_as_is_said() -> None:
    inner = b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)
    assert set(parsed(b'{"a": ' + inner + b"}")) == {"a"}


@pytest.mark.parametrize("path", ["/v1/songs/a%ED%A0%80b", "/v1/users/%FF/plays", "/v1/songs?query=%ED%BF%BF"])
@pytest.mark.usefixtures("names")
def test_bytes_that_are_no_text_reach_no_service_as_surrogates(settled: World, path: str) -> None:
    assert settled.client.get(path).status_code in {200, 404, 422}


def test_wrong_fields_of_unusual_names_are_pointed_at_as_json_pointers_do(settled: World) -> None:
    refused = settled.client.post("/v1/datasets", json={"name": "n", "plays": PLAYS, "a/b~c": 1}).json()
    assert refused["errors"][0]["pointer"] == "/a~1b~0c"
