"""Neighbours asked for in the plainest way, answered before anything else of the server is gone through.

A look-up takes a hundredth of a millisecond, all that FastAPI does around one ten times that. So the plain question (a
song's id as it is, at most `k`, the usual alias) is recognised by its path and answered here; whatever else is asked,
and whatever would be an error, goes on to the route, which answers plain questions with the same bytes.

Server's processor time a request, beside a route that answers with a constant of the same size: see
`tests.benchmarks.serving`.
"""

import re
from http import HTTPStatus

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.authorizing import KeyScopes, ScopedRoute, may_call
from app.domain.errors import SegueError
from app.services.serving import ServingService

DEFAULT_K = 10

_PATH = re.compile(r"/v1/songs/([A-Za-z0-9._:~-]{1,256})/neighbours")
_QUERY = re.compile(rb"k=([1-9][0-9]?|100)")


class PlainNeighbours:
    """Middleware; `route` is the one that it answers for, as the figures of requests name it."""

    def __init__(
        self, app: ASGIApp, *, serving: ServingService, key_scopes: KeyScopes | None, route: ScopedRoute
    ) -> None:
        self._app = app
        self._key_scopes = key_scopes
        self._serving = serving
        self._route = route
        self._needed = route.needs["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        body = self._answer(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if body is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Scope) -> bytes | None:
        song = _PATH.fullmatch(scope["path"])
        if song is None:
            return None
        query = scope["query_string"]
        k = DEFAULT_K
        if query:
            asked = _QUERY.fullmatch(query)
            if asked is None:
                return None
            k = int(asked[1])
        try:
            if self._needed is not None and not may_call(self._key_scopes, scope, self._needed):
                return None
            return orjson.dumps(self._serving.neighbours(song[1], k=k))
        except SegueError:
            return None  # the route says what is wrong
