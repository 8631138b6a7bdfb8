"""Admission: what the server cannot answer in time is refused at once, so that what it takes is answered in time.

Whether the server keeps up is measured where all of it meets: a clock on the event loop ticks every TICK_S while there
are requests, and how late its ticks are is what everything waits for, the loop's own work and the threads that hold the
interpreter alike. Half of TICKS ticks late by BEHIND_S, or IN_A_ROW of them: the server is behind, and stays so while
it has to refuse more than STILL_BEHIND of those who ask, for refusing is what makes it keep up. A burst or a pause
makes one tick late, whatever its length, and nobody is refused for it.

    in flight   at most `most_in_flight`; behind, half as many every TICKS ticks, down to FEWEST; otherwise GROWTH more.
                Requests beyond are refused. Not counted: neighbours, which never wait in flight, so that they go on
                while others wait for a database; and streams and uploads, which are long and have bounds of their own.
    turns       behind, a request of any kind that comes up later than TURN_S in its turn of the event loop, and after
                FEWEST_IN_TURN others, is refused: who is answered waits for a turn or two, and these are short.

Refused is 503 with `Retry-After`, before anything of the request is read, outside of all else (a refusal has to cost
less than the answer): it is counted in `segue_shed_total` and not among the requests by route. Health and figures are
always answered.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from statistics import median

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observing import new_request_id
from app.api.problems import MEDIA_TYPE, RETRY_AFTER_S

TICK_S = 0.01
TICKS = 10
BEHIND_S = 0.01
IN_A_ROW = 3
TURN_S = 0.002
STILL_BEHIND = 0.1
FEWEST = 16
"""So many at once are never refused, however slow the machine."""

FEWEST_IN_TURN = 4

GROWTH = 2
IDLE_S = 1.0
"""Seconds without a request after which the clock stops."""

LOG_EVERY_S = 1.0

UPLOADS = "/v1/uploads"
LONG = ("/events", "/export.csv", "/export.parquet")

_log = logging.getLogger(__name__)


class Pressure:
    """Whether the server is behind, and how many requests may be in flight."""

    def __init__(self, *, most_in_flight: int) -> None:
        self.is_behind = False
        self.most = most_in_flight
        self._greatest = most_in_flight
        self._late_s: list[float] = []
        self._n_late = 0
        self._n_asked = 0
        self._n_refused = 0

    def asked(self, *, is_refused: bool) -> None:
        """Learn that somebody asked, and whether in vain."""
        self._n_asked += 1
        self._n_refused += is_refused

    def ticked(self, late_s: float) -> None:
        """Learn from a tick that came so late."""
        self._late_s.append(late_s)
        self._n_late = self._n_late + 1 if late_s > BEHIND_S else 0
        if self._n_late >= IN_A_ROW:
            self.is_behind = True  # at once: the later ticks are, the fewer there are
        if len(self._late_s) < TICKS:
            return
        is_late = median(self._late_s) > BEHIND_S
        must_refuse = self.is_behind and self._n_refused > STILL_BEHIND * self._n_asked
        self._late_s.clear()
        self._n_asked = self._n_refused = 0
        self.is_behind = is_late or must_refuse
        if is_late:
            self.most = max(min(FEWEST, self._greatest), self.most // 2)
        elif not must_refuse:
            self.most = min(self._greatest, self.most + GROWTH)

    def rest(self) -> None:
        """Nobody has asked for a while: nobody waits."""
        self.is_behind = False
        self.most = self._greatest
        self._late_s.clear()


class Admission:
    """Middleware around everything else."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        pressure: Pressure,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._pressure = pressure
        self._clock = clock
        self._shed = Counter("shed", "Requests refused by an overloaded server.", namespace="segue", registry=registry)
        self._n_in_flight = 0
        self._asked_s = 0.0
        self._ticking_on: asyncio.AbstractEventLoop | None = None
        self._turn_s = 0.0
        self._n_in_turn = 0
        self._n_unsaid = 0
        self._said_s = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or _is_spared(scope["path"]):
            await self._app(scope, receive, send)
            return
        now_s = self._asked_s = self._clock()
        loop = asyncio.get_running_loop()
        if self._ticking_on is not loop:
            self._ticking_on = loop
            self._tick_later(loop)
        is_counted = _is_counted(scope)
        is_refused = (self._pressure.is_behind and self._is_late(loop, now_s)) or (
            is_counted and self._n_in_flight >= self._pressure.most
        )
        self._pressure.asked(is_refused=is_refused)
        if is_refused:
            await self._refuse(scope, send, now_s=now_s)
        elif not is_counted:
            await self._app(scope, receive, send)
        else:
            self._n_in_flight += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._n_in_flight -= 1

    def _is_late(self, loop: asyncio.AbstractEventLoop, now_s: float) -> bool:
        """Whether the turn has been long already; the first who asks begins it."""
        if self._n_in_turn == 0:
            self._turn_s = now_s
            loop.call_soon(self._end_turn)
        self._n_in_turn += 1
        return self._n_in_turn > FEWEST_IN_TURN and now_s - self._turn_s > TURN_S

    def _end_turn(self) -> None:
        self._n_in_turn = 0

    def _tick_later(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(TICK_S, self._tick, loop, self._clock() + TICK_S)

    def _tick(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        now_s = self._clock()
        if self._n_in_flight == 0 and now_s - self._asked_s > IDLE_S:
            self._ticking_on = None
            self._pressure.rest()
            return
        self._pressure.ticked(now_s - due_s)
        self._tick_later(loop)

    async def _refuse(self, scope: Scope, send: Send, *, now_s: float) -> None:
        self._shed.inc()
        self._n_unsaid += 1
        if now_s - self._said_s > LOG_EVERY_S:
            _log.warning(
                "overloaded n_shed=%d in_flight=%d most=%d", self._n_unsaid, self._n_in_flight, self._pressure.most
            )
            self._n_unsaid, self._said_s = 0, now_s
        request_id = new_request_id()
        body = orjson.dumps(
            {
                "type": "about:blank",
                "title": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
                "status": HTTPStatus.SERVICE_UNAVAILABLE.value,
                "code": "overloaded",
                "detail": "The server is asked for more than it can answer: come again later.",
                "instance": (scope.get("raw_path") or b"/").decode("ascii", "replace"),
                "request_id": request_id,
            }
        )
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", RETRY_AFTER_S.encode()),
            (b"x-request-id", request_id.encode()),
        ]
        status = HTTPStatus.SERVICE_UNAVAILABLE.value
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_spared(path: str) -> bool:
    return path.startswith("/health/") or path == "/metrics"


def _is_counted(scope: Scope) -> bool:
    path: str = scope["path"]
    if path == UPLOADS or path.endswith(LONG):
        return False
    return not (scope["method"] == "GET" and path.endswith("/neighbours"))
