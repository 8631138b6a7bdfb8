"""The plainest questions, answered before anything of FastAPI is gone through.

A look-up of neighbours takes a hundredth of a millisecond, all that FastAPI does around one ten times that. So the
plain question (an id as it is, at most `k`, the usual alias) is recognised by its path and answered here: neighbours of
a song, and recommendations for a user. Whatever else is asked, and whatever would be an error, goes on to the route,
which answers plain questions in the same way. Where a scope has a quota, its questions go on too: the route counts
them.

    answering asks nobody else      by the server's protocol, once the head of the request is read: `early_answers`
    it asks another machine         in a thread, by the middleware below, before all other but admission

Both stand before what gives answers their id and counts them, and so it is done here.

Server's processor time a request, beside a route that answers with a constant of the same size: see
`tests.benchmarks.serving`.
"""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from http import HTTPStatus

import anyio.to_thread
import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.authorizing import KeyScopes, ScopedRoute, may_call
from app.api.observing import Figures, request_id_of
from app.domain import keys
from app.domain.errors import SegueError

DEFAULT_K = 10
OK = HTTPStatus.OK.value

PLAIN_ID = b"([A-Za-z0-9._:~-]{1,256})"

PLAIN = "plain_questions"
"""Under which name the application tells the server's protocol of them: in the state of its lifespan."""

_log = logging.getLogger(__name__)

_QUERY = re.compile(rb"k=([1-9][0-9]?|100)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A kind of plain question. `path` holds an id, for which `ask` answers with k songs as JSON.

    `route` answers all other questions of the kind, and these requests are counted as its.
    """

    path: re.Pattern[bytes]
    route: ScopedRoute
    ask: Callable[[str, int], bytes]


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is a plain question, asked by who may."""

    kind: Plain
    identity: str
    k: int
    request_id: bytes
    began_s: float


class PlainQuestions:
    """Tells plain questions of these kinds from all other requests, and answers them."""

    def __init__(
        self,
        kinds: Iterable[Plain],
        *,
        key_scopes: KeyScopes | None,
        limited_scopes: Collection[keys.Scope],
        figures: Figures,
    ) -> None:
        of_routes = [(kind.path.fullmatch, kind.route.needs["GET"], kind) for kind in kinds]
        self._kinds = [kind for kind in of_routes if kind[1] not in limited_scopes]
        self._key_scopes = key_scopes
        self._figures = figures

    def find(self, path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Question | None:
        """The question that a GET is, its path and query as they were sent; None too when asked by who may not."""
        for matched, needed, kind in self._kinds:
            found = matched(path)
            if found is not None:
                began_s = time.perf_counter()
                k = _k(query)
                if k is None or not (needed is None or self._may_call(headers, needed)):
                    return None
                return Question(kind, found[1].decode(), k, request_id_of(headers), began_s)
        return None

    def answer(self, question: Question) -> bytes | None:
        """The answer, which is counted; None where there is an error to tell."""
        body = copy_context().run(_answer, question)
        if body is not None:
            seconds = time.perf_counter() - question.began_s
            self._figures.note(method="GET", route=question.kind.route.path, status=OK, seconds=seconds)
        return body

    def _may_call(self, headers: Sequence[tuple[bytes, bytes]], needed: keys.Scope) -> bool:
        try:
            return may_call(self._key_scopes, headers, needed)
        except SegueError:
            return False  # the route says what is wrong


def _answer(question: Question) -> bytes | None:
    structlog.contextvars.bind_contextvars(request_id=question.request_id.decode())
    try:
        return question.kind.ask(question.identity, question.k)
    except SegueError:
        return None  # the route says what is wrong
    except Exception:
        _log.exception("plain_answer_failed")
        return None  # the route answers, or fails where failures are seen to


def _k(query: bytes) -> int | None:
    """How many songs are asked for; None where the question is not a plain one."""
    if not query:
        return DEFAULT_K
    asked = _QUERY.fullmatch(query)
    return None if asked is None else int(asked[1])


class AnswersInThreads:
    """Middleware that answers these questions in threads, for they wait for another machine."""

    def __init__(self, app: ASGIApp, *, questions: PlainQuestions) -> None:
        self._app = app
        self._questions = questions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        question = None
        if scope["type"] == "http" and scope["method"] == "GET":
            question = self._questions.find(scope.get("raw_path") or b"", scope["query_string"], scope["headers"])
        body = None if question is None else await anyio.to_thread.run_sync(self._questions.answer, question)
        if question is None or body is None:
            await self._app(scope, receive, send)
            return
        answer = Response(body, headers={"X-Request-Id": question.request_id.decode()}, media_type="application/json")
        await answer(scope, receive, send)
