"""Who may call: the key of a request is checked before anything else of it is read.

    Authorization: Bearer segue_<id>_<secret>

No key, or none that is known: 401. A known key without the scope: 403. One that calls more often than the scope allows:
429, with `Retry-After`; what is left is told by the fields `RateLimit` and `RateLimit-Policy`
(draft-ietf-httpapi-ratelimit-headers-10). The check is part of the route itself, so that
it costs no second look for the route, and covers routes that read their parameters in their own way.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from app.api import scopes
from app.api.problems import Refused
from app.domain import keys

KeyScopes = Callable[[str, str], frozenset[keys.Scope] | None]
"""What the key of an id and a secret grants, None when there is no such key. Raises: Unavailable."""

Hit = Callable[[str, keys.Scope], Awaitable[keys.Quota | None]]
"""Count a request of a key in a scope; what that leaves it, None where the scope has no quota."""

SCHEME = b"bearer "

KEY_ID = "segue.key_id"
"""Where a request's scope tells the id of its key, None where keys are off."""

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
            key_id = authorize(scope, needed)
            scope[KEY_ID] = key_id
            services = scope["app"].state.services
            if key_id is not None and needed in services.limited_scopes:
                send = counted(await services.hit(key_id, needed), send)
        await super().handle(scope, receive, send)


def authorize(scope: Scope, needed: keys.Scope) -> str | None:
    """The id of the request's key, which grants it; None where keys are off. Raises: Refused, Unavailable."""
    key_scopes: KeyScopes | None = scope["app"].state.services.key_scopes
    if key_scopes is None:  # the server listens on this machine alone
        return None
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
    return parts[0]


def counted(quota: keys.Quota | None, send: Send) -> Send:
    """A way to send that tells what is left. Raises: Refused when nothing is."""
    if quota is None:
        return send
    name = quota.scope.value
    told = {
        "RateLimit-Policy": f'"{name}";q={quota.limit};w={quota.window_s}',
        "RateLimit": f'"{name}";r={quota.remaining};t={quota.reset_s}',
    }
    if quota.is_exceeded:
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            code="rate_limited",
            detail=f"The API key has sent its {quota.limit} requests of {quota.window_s} seconds.",
            headers={**told, "Retry-After": str(quota.reset_s)},
        )
    fields = [(field.lower().encode(), value.encode()) for field, value in told.items()]

    async def send_with_quota(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *fields]
        await send(message)

    return send_with_quota


def may_call(key_scopes: KeyScopes | None, headers: Iterable[tuple[bytes, bytes]], needed: keys.Scope) -> bool:
    """Whether `authorize` would return, for what answers before the route does. Raises: Unavailable."""
    if key_scopes is None:
        return True
    sent = [value for name, value in headers if name == b"authorization"]
    parts = _parted(sent[0]) if len(sent) == 1 else None
    granted = None if parts is None else key_scopes(*parts)
    return granted is not None and needed in granted


def _parted(authorization: bytes) -> tuple[str, str] | None:
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return None
    return keys.parted(authorization[len(SCHEME) :].decode("latin-1"))


def check_scopes(routes: Sequence[BaseRoute]) -> None:
    """Return when every operation among the routes asks for its scope. Raises: LookupError."""
    for context in iter_route_contexts(routes):
        route = getattr(context, "original_route", context)
        if isinstance(route, APIRoute) and not isinstance(route, ScopedRoute):
            msg = f"{route.path} asks nobody for a key: its router needs the route class ScopedRoute or StrictRoute."
            raise LookupError(msg)
