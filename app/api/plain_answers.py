"""The plainest questions, answered before anything of FastAPI is gone through.

A look-up of neighbours takes a hundredth of a millisecond, all that FastAPI does around one ten times that. So the
plain question (an id as it is, at most `k`, the usual alias) is recognised by its path and answered here: neighbours of
a song, and recommendations for a user. Whatever else is asked, and whatever would be an error, goes on to the route,
which answers plain questions in the same way. Where a scope has a quota, its questions go on too: the route counts
them. It stands before all other middleware but admission, and so gives its answers their id and counts them itself.

Server's processor time a request, beside a route that answers with a constant of the same size: see
`tests.benchmarks.serving`.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import anyio.to_thread
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.authorizing import KeyScopes, ScopedRoute, may_call
from app.api.observing import Figures, request_id_of
from app.domain import keys
from app.domain.errors import SegueError

DEFAULT_K = 10
OK = HTTPStatus.OK.value

PLAIN_ID = "([A-Za-z0-9._:~-]{1,256})"

_log = logging.getLogger(__name__)

_QUERY = re.compile(rb"k=([1-9][0-9]?|100)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A kind of plain question. `path` holds an id, for which `ask` answers with k songs as JSON.

    `route` answers all other questions of the kind, and these requests are counted as its. `waits`: answering asks
    another machine, so it is done in a thread; else on the event loop, which nothing holds up for longer than the
    answer takes.
    """

    path: re.Pattern[str]
    route: ScopedRoute
    ask: Callable[[str, int], bytes]
    waits: bool = False

    def body(self, identity: str, k: int) -> bytes | None:
        """The answer; None where there is an error to tell."""
        try:
            return self.ask(identity, k)
        except SegueError:
            return None  # the route says what is wrong
        except Exception:
            _log.exception("plain_answer_failed")
            return None  # the route answers, or fails where failures are seen to


class PlainAnswers:
    """Middleware that answers these kinds."""

    def __init__(self, app: ASGIApp, *, kinds: Sequence[Plain], key_scopes: KeyScopes | None, figures: Figures) -> None:
        self._app = app
        self._kinds = [(kind.path.fullmatch, kind.route.needs["GET"], kind) for kind in kinds]
        self._key_scopes = key_scopes
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        started = time.perf_counter()
        plain = self._plain(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if plain is None:
            await self._app(scope, receive, send)
            return
        kind, identity, k = plain
        request_id = request_id_of(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        if kind.waits:
            body = await anyio.to_thread.run_sync(kind.body, identity, k)
        else:
            body = kind.body(identity, k)
        if body is None:
            await self._app(scope, receive, send)
            return
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"x-request-id", request_id),
        ]
        await send({"type": "http.response.start", "status": OK, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._figures.note(method="GET", route=kind.route.path, status=OK, seconds=time.perf_counter() - started)

    def _plain(self, scope: Scope) -> tuple[Plain, str, int] | None:
        """The kind of a question, its id and its k; None when it is no plain one, or asked by who may not."""
        path = scope["path"]
        for matched, needed, kind in self._kinds:
            found = matched(path)
            if found is not None:
                k = _k(scope["query_string"])
                if k is None or not (needed is None or self._may_call(scope, needed)):
                    return None
                return kind, found[1], k
        return None

    def _may_call(self, scope: Scope, needed: keys.Scope) -> bool:
        try:
            return may_call(self._key_scopes, scope, needed)
        except SegueError:
            return False  # the route says what is wrong


def _k(query: bytes) -> int | None:
    """How many songs are asked for; None where the question is not a plain one."""
    if not query:
        return DEFAULT_K
    asked = _QUERY.fullmatch(query)
    return None if asked is None else int(asked[1])
