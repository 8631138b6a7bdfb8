"""Who may call: the key of a request is checked before anything else of it is read.

    Authorization: Bearer segue_<id>_<secret>

No key, or none that is known: 401. A known key without the scope: 403. The check is part of the route itself, so that
it costs no second look for the route, and covers routes that read their parameters in their own way.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.types import Receive, Scope, Send

from app.api import scopes
from app.api.problems import Refused
from app.domain import keys

KeyScopes = Callable[[str, str], frozenset[keys.Scope] | None]
"""What the key of an id and a secret grants, None when there is no such key. Raises: Unavailable."""

SCHEME = b"bearer "

CHALLENGE = 'Bearer realm="segue"'


class ScopedRoute(APIRoute):
    """A route that knows which scope each of its methods needs, and asks for it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **described: Any) -> None:  # noqa: ANN401 - the base's
        super().__init__(path, endpoint, **described)
        self.needs = {method: scopes.scope_of(method, path) for method in self.methods or ()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer whoever may call. Raises: Refused, Unavailable."""
        needed = self.needs.get(scope["method"])
        if needed is not None:
            authorize(scope, needed)
        await super().handle(scope, receive, send)


def authorize(scope: Scope, needed: keys.Scope) -> None:
    """Return when the request's key grants what is needed. Raises: Refused, Unavailable."""
    key_scopes: KeyScopes | None = scope["app"].state.services.key_scopes
    if key_scopes is None:  # keys are off: the server listens on this machine alone
        return
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if not sent:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            code="no_key",
            detail="This needs an API key: Authorization: Bearer segue_…",
            headers={"WWW-Authenticate": CHALLENGE},
        )
    parts = _parted(sent[0]) if len(sent) == 1 else None
    granted = None if parts is None else key_scopes(*parts)
    if parts is None or granted is None:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            code="unknown_key",
            detail="There is no such API key, or it was revoked.",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
        )
    if needed not in granted:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            code="missing_scope",
            detail=f"The API key lacks the scope {needed.value!r}.",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{needed.value}"'},
        )
    scope["key_id"] = parts[0]


def _parted(authorization: bytes) -> tuple[str, str] | None:
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return None
    return keys.parted(authorization[len(SCHEME) :].decode("latin-1"))


def check_scopes(app: FastAPI) -> None:
    """Return when every operation of the app asks for its scope. Raises: LookupError."""
    for context in iter_route_contexts(app.routes):
        route = getattr(context, "original_route", context)
        if isinstance(route, APIRoute) and not isinstance(route, ScopedRoute):
            msg = f"{route.path} asks nobody for a key: its router needs the route class ScopedRoute or StrictRoute."
            raise LookupError(msg)
