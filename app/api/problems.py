"""Problems: the one table from errors to HTTP statuses, and how each becomes `application/problem+json` (RFC 9457)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.api.schemas.problems import Problem
from app.domain.errors import (
    Conflict,
    DamagedArtifact,
    GatesRefused,
    InvalidRequest,
    NotFound,
    NothingLive,
    SegueError,
    StaleGeneration,
    StaleVersion,
    StorageFull,
    TooLarge,
    Unavailable,
    UnknownSong,
)

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[SegueError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    StaleGeneration: HTTPStatus.PRECONDITION_FAILED,
    StaleVersion: HTTPStatus.PRECONDITION_FAILED,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NothingLive: HTTPStatus.SERVICE_UNAVAILABLE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    DamagedArtifact: HTTPStatus.INTERNAL_SERVER_ERROR,
    SegueError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""An error's status is that of its nearest class in here."""

OF_FRAMEWORK: dict[int, tuple[str, str]] = {
    HTTPStatus.NOT_FOUND: ("no_such_route", "There is no such route; /openapi.json describes all."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "The route does not take this method; see Allow."),
}
"""Code and detail of what the framework itself refuses."""

DESCRIPTIONS: dict[int, str] = {
    401: "There is no API key, or none that is known; `WWW-Authenticate` says how to send one.",
    403: "The API key lacks the scope.",
    404: "There is no such thing.",
    408: "The client stopped sending.",
    409: "The present state forbids it, or the idempotency key belongs to another request.",
    412: "It has changed since the generation or version that `If-Match` names.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "The request itself is wrong; `errors` names the fields.",
    429: "The API key has sent its requests for now; `Retry-After` says when to come again.",
    500: "The server failed; the log knows why, by the request's id.",
    503: "The database cannot be reached, nothing is live to answer, or the server is overloaded.",
    507: "No space is left for files.",
}

RETRY_AFTER_S = "1"

MOST_FIELDS = 20
"""Wrong fields that one problem lists at most."""

LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length")

Field = dict[str, Any]


class Refused(HTTPException):
    """A request that is refused before it reaches a service."""

    def __init__(
        self,
        status: HTTPStatus,
        *,
        code: str,
        detail: str,
        pointer: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers=headers)
        self.code = code
        self.pointer = pointer


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation may be refused with, for its description."""
    return {status: {"model": Problem, "description": DESCRIPTIONS[status]} for status in statuses}


def problem(
    scope: Scope,
    status: int,
    *,
    code: str,
    detail: str,
    errors: Sequence[Field] = (),
    headers: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Response:
    """The answer that tells a problem."""
    path: bytes = scope.get("raw_path") or b""
    told = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
        "instance": path.decode("ascii", "replace") or "/",
        "request_id": scope.get("request_id", ""),
        **({"errors": list(errors)} if errors else {}),
        **(facts or {}),
    }
    return Response(json.dumps(told), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def status_of(error: SegueError) -> HTTPStatus:
    """The status of an error's nearest class in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


async def _tell_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, SegueError):
        raise error
    errors: list[Field] = []
    facts: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case InvalidRequest():
            errors = [{"pointer": error.pointer, "detail": str(error)}]
        case UnknownSong():
            facts = {"song_id": error.identity, "model_id": error.model_id}
        case StaleGeneration():
            facts = {"current_generation": error.actual}
        case GatesRefused():
            facts = {"gates": [asdict(report) for report in error.reports]}
        case StaleVersion():
            facts = {"current_version": error.actual}
        case TooLarge():
            facts = {"limit_bytes": error.limit_bytes}
        case Unavailable():
            headers = {"Retry-After": RETRY_AFTER_S}
    return problem(
        request.scope,
        status_of(error),
        code=error.code,
        detail=str(error),
        errors=errors,
        headers=headers,
        facts=facts,
    )


async def _tell_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error, Refused):
        code, detail, pointer = error.code, str(error.detail), error.pointer
    else:  # the framework itself refuses
        code, detail = OF_FRAMEWORK.get(error.status_code, ("refused", str(error.detail)))
        pointer = None
    return problem(
        request.scope,
        error.status_code,
        code=code,
        detail=detail,
        errors=[] if pointer is None else [{"pointer": pointer, "detail": detail}],
        headers=error.headers,
    )


async def _tell_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    fields = _fields(error.errors(), body=error.body)
    places = "one place" if len(fields) == 1 else f"{len(fields)} places"
    return problem(
        request.scope,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        code=InvalidRequest.code,
        detail=f"The request is wrong in {places}.",
        errors=fields[:MOST_FIELDS],
    )


def _fields(found: Sequence[Mapping[str, Any]], *, body: object) -> list[Field]:
    """One entry a field, whatever the number of ways it is wrong in."""
    fields: dict[str, Field] = {}
    for error in found:
        pointer = _pointer(error["loc"], body)
        detail = str(error["msg"])
        if pointer in fields:
            fields[pointer]["detail"] += f"; {detail[:1].lower()}{detail[1:]}"
            continue
        fields[pointer] = {"pointer": pointer, "detail": detail}
        facts = error.get("ctx", {})
        limit = next((facts[name] for name in LIMITS if isinstance(facts.get(name), int | float)), None)
        if limit is not None:
            fields[pointer]["limit"] = limit
    return list(fields.values())


def _pointer(location: Sequence[int | str], body: object) -> str:
    """A JSON pointer into the body, or the name of a parameter.

    A location also names the alternatives of a union that were tried; what the body does not have is left out, but for
    the last step: a missing field.
    """
    where, *steps = location
    if where != "body":
        return str(steps[0]) if steps else str(where)
    here = body
    found: list[str] = []
    for number, step in enumerate(steps, start=1):
        match here:
            case dict() if step in here:
                here = here[step]
            case list() if isinstance(step, int) and step < len(here):
                here = here[step]
            case dict() if number == len(steps) and step != "[key]":
                pass
            case _:
                continue
        found.append(str(step).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in found)


def tell_problems(app: FastAPI) -> None:
    """Answer every error of an app with a problem."""
    app.add_exception_handler(SegueError, _tell_error)
    app.add_exception_handler(HTTPException, _tell_refusal)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
