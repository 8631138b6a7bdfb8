"""Admission: what the server cannot answer in time is refused at once, so that what it takes is answered in time.

Whether the server keeps up is measured where all of it meets: a clock on the event loop ticks every TICK_S while there
are requests, and how late its ticks are is what everything waits for, the loop's own work and the threads that hold the
interpreter alike. Half of the ticks of WINDOW_S late by BEHIND_S, or IN_A_ROW of them: the server is behind, and stays
so while it has to refuse more than STILL_BEHIND of those who ask, for refusing is what makes it keep up. A burst or a
pause makes one tick late, whatever its length, and nobody is refused for it.

    in flight   at most `most_in_flight`; behind, half as many every WINDOW_S, down to FEWEST; otherwise GROWTH more.
                Requests beyond are refused. Not counted: neighbours and what is answered on arrival, which never wait
                in flight, so that they go on while others wait for a database; and streams and uploads, which are long
                and have bounds of their own.
    turns       behind, a request of any kind that comes up later than TURN_S in its turn of the event loop, and after
                FEWEST_IN_TURN others, is refused: who is answered waits for a turn or two, and these are short. As many
                as came up in time are let in at the next turn, and one more if all did; who arrives beyond them is
                refused on arrival (`early_answers`).

Refused is 503 with `Retry-After`, before anything of the request is read, outside of all else (a refusal has to cost
less than the answer): it is counted in `segue_shed_total` and not among the requests by route. Health and figures are
always answered.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from statistics import median

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.observing import new_request_id
from app.api.problems import MEDIA_TYPE, RETRY_AFTER_S

TICK_S = 0.002
"""Much less than BEHIND_S: of a turn of the event loop, a tick sees what is left when it is due."""

WINDOW_S = 0.1
LEAST_TICKS = 5
"""Of a window, however late they are: one is not half of them."""

BEHIND_S = 0.01
IN_A_ROW = 3
TURN_S = 0.0003
"""With 1 ms, the 99th percentile of neighbours at twice the capacity was 4 times the unloaded, with half of that 1.8
times, with this 1.3, while a tenth less is answered."""

STILL_BEHIND = 0.1
FEWEST = 16
"""So many at once are never refused, however slow the machine."""

FEWEST_IN_TURN = 4

GROWTH = 2
IDLE_S = 1.0
"""Seconds without a request after which the clock stops."""

LOG_EVERY_S = 1.0

UPLOADS = "/v1/uploads"
SPARED = ("/health/", "/metrics")
SPARED_PATHS = tuple(path.encode() for path in SPARED)
LONG = ("/events", "/export.csv", "/export.parquet")

GATE = "gate"
"""Under which name the application tells the server's protocol of its gate: in the state of its lifespan."""

REFUSED = HTTPStatus.SERVICE_UNAVAILABLE

_log = logging.getLogger(__name__)


class Pressure:
    """Whether the server is behind, and how many requests may be in flight."""

    def __init__(self, *, most_in_flight: int) -> None:
        self.is_behind = False
        self.most = most_in_flight
        self._greatest = most_in_flight
        self._late_s: list[float] = []
        self._window_s = 0.0
        self._n_late = 0
        self._n_asked = 0
        self._n_refused = 0

    def answered(self) -> None:
        """Learn that somebody asked and is answered."""
        self._n_asked += 1

    def refused(self, n: int = 1) -> None:
        """Learn that so many asked in vain."""
        self._n_asked += n
        self._n_refused += n

    def ticked(self, late_s: float) -> None:
        """Learn from a tick that came so late."""
        self._late_s.append(late_s)
        self._window_s += TICK_S + late_s
        self._n_late = self._n_late + 1 if late_s > BEHIND_S else 0
        if self._n_late >= IN_A_ROW:
            self.is_behind = True  # at once: the later ticks are, the fewer there are
        if self._window_s < WINDOW_S or len(self._late_s) < LEAST_TICKS:
            return
        is_late = median(self._late_s) > BEHIND_S
        must_refuse = self.is_behind and self._n_refused > STILL_BEHIND * self._n_asked
        self._begin_window()
        self.is_behind = is_late or must_refuse
        if is_late:
            self.most = max(min(FEWEST, self._greatest), self.most // 2)
        elif not must_refuse:
            self.most = min(self._greatest, self.most + GROWTH)

    def rest(self) -> None:
        """Nobody has asked for a while: nobody waits."""
        self.is_behind = False
        self.most = self._greatest
        self._begin_window()

    def _begin_window(self) -> None:
        self._late_s.clear()
        self._window_s = 0.0
        self._n_asked = self._n_refused = 0


class Turn:
    """One turn of the event loop: who arrives in it, and who comes up to be answered, plain questions at once."""

    def __init__(self, *, clock: Callable[[], float], on_refused: Callable[[int], None]) -> None:
        self._clock = clock
        self._on_refused = on_refused
        self._most_let_in = FEWEST
        self._n_arrived = 0
        self._n_refused = 0
        self._n_come_up = 0
        self._began_s = 0.0
        self._was_full = False
        self._was_late = False

    def is_full(self) -> bool:
        """Whether one more that arrives is more than were answered in time of late, so that it is refused."""
        if self._n_arrived == 0:
            asyncio.get_running_loop().call_soon(self._end_of_arrivals)
        self._n_arrived += 1
        if self._n_arrived <= self._most_let_in:
            return False
        self._n_refused += 1
        return True

    def is_late(self) -> bool:
        """Whether one more that comes up does so too late; the first begins the turn."""
        now_s = self._clock()
        if self._n_come_up == 0:
            self._began_s = now_s
            asyncio.get_running_loop().call_soon(self._end)
        self._n_come_up += 1
        if self._n_come_up <= FEWEST_IN_TURN or now_s - self._began_s <= TURN_S:
            return False
        if not self._was_late:
            self._was_late = True
            self._most_let_in = self._n_come_up - 1
        return True

    def _end_of_arrivals(self) -> None:
        n_refused = self._n_refused
        self._n_arrived = self._n_refused = 0
        if n_refused:
            self._was_full = True
            self._on_refused(n_refused)

    def _end(self) -> None:
        if self._was_full and not self._was_late:
            self._most_let_in += 1
        self._n_come_up = 0
        self._was_full = self._was_late = False


class Gate:
    """Who is let in, who is refused, and with which words; one for the event loop of a process."""

    def __init__(
        self,
        *,
        pressure: Pressure,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pressure = pressure
        self._clock = clock
        self._turn = Turn(clock=clock, on_refused=self._note_refused)
        self._shed = Counter("shed", "Requests refused by an overloaded server.", namespace="segue", registry=registry)
        self._n_in_flight = 0
        self._asked_s = 0.0
        self._ticking_on: asyncio.AbstractEventLoop | None = None
        self._n_unsaid = 0
        self._said_s = float("-inf")

    def refuses_on_arrival(self, path: bytes) -> bool:
        """Whether a request is refused before anything is made of it; its path as it was sent."""
        return self._pressure.is_behind and not path.startswith(SPARED_PATHS) and self._turn.is_full()

    def refuses(self, *, is_counted: bool) -> bool:
        """Whether a request that has come up is refused. One that is counted among those in flight may be for these."""
        self._asked_s = self._clock()
        if self._ticking_on is not (loop := asyncio.get_running_loop()):
            self._ticking_on = loop
            self._tick_later(loop)
        if (self._pressure.is_behind and self._turn.is_late()) or (
            is_counted and self._n_in_flight >= self._pressure.most
        ):
            self._note_refused(1)
            return True
        self._pressure.answered()
        return False

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """While a request is answered."""
        self._n_in_flight += 1
        try:
            yield
        finally:
            self._n_in_flight -= 1

    def _note_refused(self, n: int) -> None:
        self._pressure.refused(n)
        self._shed.inc(n)
        self._n_unsaid += n
        now_s = self._clock()
        if now_s - self._said_s > LOG_EVERY_S:
            _log.warning(
                "overloaded n_shed=%d in_flight=%d most=%d", self._n_unsaid, self._n_in_flight, self._pressure.most
            )
            self._n_unsaid, self._said_s = 0, now_s

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


class Admission:
    """Middleware around everything else."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or _is_spared(scope["path"]):
            await self._app(scope, receive, send)
            return
        is_counted = _is_counted(scope)
        if self._gate.refuses(is_counted=is_counted):
            request_id, body = refusal(scope.get("raw_path") or b"/")
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", b"%d" % len(body)),
                (b"retry-after", RETRY_AFTER_S.encode()),
                (b"x-request-id", request_id.encode()),
            ]
            await send({"type": "http.response.start", "status": REFUSED.value, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        elif is_counted:
            with self._gate.in_flight():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def refusal(raw_path: bytes) -> tuple[str, bytes]:
    """The id of a request for this path as it was sent, and the body that it is answered with instead."""
    request_id = new_request_id()
    body = orjson.dumps(
        {
            "type": "about:blank",
            "title": REFUSED.phrase,
            "status": REFUSED.value,
            "code": "overloaded",
            "detail": "The server is asked for more than it can answer: come again later.",
            "instance": raw_path.decode("ascii", "replace"),
            "request_id": request_id,
        }
    )
    return request_id, body


def _is_spared(path: str) -> bool:
    return path.startswith(SPARED)


def _is_counted(scope: Scope) -> bool:
    path: str = scope["path"]
    if path == UPLOADS or path.endswith(LONG):
        return False
    return not (scope["method"] == "GET" and path.endswith("/neighbours"))
