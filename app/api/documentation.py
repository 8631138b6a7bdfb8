"""The description of the API, /openapi.json."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.links import with_links
from app.api.problems import DESCRIPTIONS, MEDIA_TYPE
from app.api.schemas.base import Body, View
from app.api.scopes import SCOPES

DESCRIPTION = """\
From raw plays to a tuned, promoted, served model: send plays, prepare a dataset, run a study, promote its best trial,
and ask for neighbours and recommendations.

Work that takes long answers 202 with a `Location` to look at. Lists take `limit` and `cursor` and answer
`{items, next_cursor}`. Every error is a problem (RFC 9457) with a stable `code`. A POST that creates something takes an
`Idempotency-Key` and may then be repeated safely.

Every request carries an API key, `Authorization: Bearer segue_…`, but for those to `/health`, `/metrics` and this
description. Each operation names the scope that its key needs: `serve`, `events`, `read`, `tune`, `promote` or `admin`.
`tune` and `promote` imply `read`, `admin` implies all. A key that calls too often is told 429 with `Retry-After`;
answers say what is left by `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
"""

SCHEME = "key"
"""The security scheme's name."""

SCHEMES = {
    SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "segue_<id>_<secret>",
        "description": "An API key; `segue keys create` or `POST /v1/keys` makes one.",
    }
}

TAGS = [
    {"name": "uploads", "description": "Files of plays and songs."},
    {"name": "datasets", "description": "Plays, prepared and frozen."},
    {"name": "studies", "description": "Searches for the best hyperparameters."},
    {"name": "trials", "description": "Points of a search, trained and measured."},
    {"name": "models", "description": "Files that serve."},
    {"name": "aliases", "description": "Which model is live."},
    {"name": "experiments", "description": "Variants on live listeners."},
    {"name": "songs", "description": "Neighbours, and songs by name."},
    {"name": "catalogue", "description": "What is said of songs, denied songs, and new ones."},
    {"name": "recommendations", "description": "Songs for users."},
    {"name": "plays", "description": "What users hear."},
    {"name": "keys", "description": "Who may call."},
    {"name": "users", "description": "What is known of a user, and forgetting one."},
    {"name": "health", "description": "How the server is."},
]


def describe(app: FastAPI) -> None:
    """Have the app describe its problems as what they are."""

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            plain = get_openapi(
                title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=TAGS
            )
            app.openapi_schema = with_links(_with_whole_examples(_with_security(_with_problems(plain))))
        return app.openapi_schema

    app.openapi = description  # type: ignore[method-assign]  # the way that FastAPI documents


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    for path in schema["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}
    return schema


def _with_security(schema: dict[str, Any]) -> dict[str, Any]:
    """What each operation asks of a key, and that it may refuse one."""
    schema["components"]["securitySchemes"] = SCHEMES
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refusals = {str(status): {"description": DESCRIPTIONS[status], "content": problem} for status in (401, 403, 429)}
    for operation, needed in SCOPES.items():
        method, _, path = operation.partition(" ")
        described = schema["paths"][path.replace(":path}", "}")][method.lower()]
        described["security"] = [] if needed is None else [{SCHEME: [needed.value]}]
        if needed is not None:
            described["responses"] = dict(sorted({**described["responses"], **refusals}.items()))
    return schema


def _with_whole_examples(schema: dict[str, Any]) -> dict[str, Any]:
    """The examples as written: FastAPI leaves out what is null in them."""
    schemas = schema["components"]["schemas"]
    for kind in (*_kinds_of(View), *_kinds_of(Body)):
        extra = kind.model_config.get("json_schema_extra")
        if kind.__name__ in schemas and isinstance(extra, dict) and "examples" in extra:
            schemas[kind.__name__]["examples"] = extra["examples"]
    return schema


def _kinds_of(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds_of(kind)
