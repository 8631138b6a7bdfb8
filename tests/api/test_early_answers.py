"""Early answers: given by the protocol itself, in order, and without a trace on the connection."""

import asyncio
import re
import threading
from pathlib import Path

import pytest
import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from app.api.admission import BEHIND_S, FEWEST, FEWEST_IN_TURN, GATE, IN_A_ROW, TURN_S, Gate, Pressure
from app.api.early_answers import EarlyAnswers
from app.api.observing import Figures
from app.api.plain_answers import PLAIN, PLAIN_ID, Plain, PlainQuestions
from app.api.recommendations import route_for_users
from app.api.schemas.problems import Problem
from app.main import create_app
from app.server import configuration, listening_socket
from tests.api.wires import connected, parted
from tests.api.world import container_on
from tests.processes import until

ASKED = b"GET /v1/songs/a%22/neighbours?k=3 HTTP/1.1\r\nHost: segue\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Line:
    """A connection to an application that answers with the method and the body, when the test lets it."""

    def __init__(self, *, has_gate: bool = True, default_headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.pressure = Pressure(most_in_flight=100)
        self.registry = CollectorRegistry()
        self.go = asyncio.Event()
        self.go.set()
        self.takes_s = 0.0
        self.now_s = 0.0
        gate = Gate(pressure=self.pressure, registry=self.registry, clock=lambda: self.now_s)
        figures = Figures(CollectorRegistry())
        kind = Plain(path=re.compile(b"/plain/%b" % PLAIN_ID), route=route_for_users(), ask=self._plainly)
        self.protocol, self.wire = connected(
            self._answer,
            {
                GATE: gate if has_gate else None,
                PLAIN: PlainQuestions([kind], key_scopes=None, limited_scopes=(), figures=figures),
            },
            default_headers=default_headers,
        )

    def _plainly(self, identity: str, k: int) -> bytes:
        self.now_s += self.takes_s
        self.bound = structlog.contextvars.get_contextvars()
        return b"%b %d" % (identity.encode(), k)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.go.wait()
        body = b"%b " % scope["method"].encode()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def fall_behind(self) -> None:
        for _ in range(IN_A_ROW):
            self.pressure.ticked(2 * BEHIND_S)

    async def ask(self, request: bytes = ASKED) -> list[tuple[int, bytes]]:
        """The answers to what is sent in one piece."""
        self.protocol.data_received(request)
        await settled()
        return self.wire.taken()

    @property
    def n_shed(self) -> float | None:
        return self.registry.get_sample_value("segue_shed_total")


async def settled(n_turns: int = 20) -> None:
    """Some turns of the event loop."""
    for _ in range(n_turns):
        await asyncio.sleep(0)


async def filled(line: Line) -> None:
    """As many arrive, one after the other in one turn, as are let in."""
    for _ in range(FEWEST):
        assert not line.protocol._gate.refuses_on_arrival(b"/v1/songs/a/neighbours")  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_who_arrives_beyond_what_a_turn_can_answer_is_refused_with_a_problem() -> None:
    line = Line(default_headers=[(b"date", b"today")])
    line.fall_behind()
    await filled(line)
    line.protocol.data_received(ASKED)
    ((status, answer),) = line.wire.taken()  # at once
    headers, body = parted(answer)
    problem = Problem.model_validate_json(body)
    assert status == problem.status == 503
    assert (problem.code, problem.instance) == ("overloaded", "/v1/songs/a%22/neighbours")
    assert headers == {
        "date": "today",
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "retry-after": "1",
        "x-request-id": problem.request_id,
    }
    await settled()
    assert line.n_shed == 1
    assert [status for status, _ in await line.ask()] == [200]  # the next turn, on the same connection


@pytest.mark.anyio
async def test_a_server_that_keeps_up_and_one_without_a_gate_refuse_nobody() -> None:
    for line in (Line(), Line(has_gate=False)):
        for _ in range(3 * FEWEST):
            line.protocol.data_received(ASKED)
            await settled()
        assert [status for status, _ in line.wire.taken()] == [200] * 3 * FEWEST


@pytest.mark.anyio
async def test_health_is_told_however_full_the_turn() -> None:
    line = Line()
    line.fall_behind()
    await filled(line)
    assert [status for status, _ in await line.ask(b"GET /health/live HTTP/1.1\r\n\r\n")] == [200]
    assert line.n_shed == 0


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nplays",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\npla\r\n2\r\nys\r\n0\r\n\r\n",
        b"Content-Length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("n_bytes", [1, 7, 1000])
@pytest.mark.anyio
async def test_the_body_of_who_is_refused_is_let_go_and_the_next_is_answered(body: bytes, n_bytes: int) -> None:
    line = Line()
    line.fall_behind()
    await filled(line)
    request = b"POST /v1/plays HTTP/1.1\r\nHost: segue\r\n" + body
    for start in range(0, len(request), n_bytes):
        line.protocol.data_received(request[start : start + n_bytes])
    assert [status for status, _ in line.wire.taken()] == [503]
    await settled()
    ((status, answer),) = await line.ask(request)
    assert status == 200
    assert answer.endswith(b"POST plays" if b"plays" in body or b"pla" in body else b"POST ")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ],
)
@pytest.mark.anyio
async def test_a_connection_that_is_not_kept_ends_with_the_refusal(request_head: bytes) -> None:
    line = Line()
    line.fall_behind()
    await filled(line)
    ((status, answer),) = await line.ask(request_head)
    assert status == 503
    assert b"\r\nconnection: close\r\n" in answer
    assert line.wire.is_closed


@pytest.mark.anyio
async def test_answers_keep_the_order_of_the_questions() -> None:
    line = Line()
    line.fall_behind()
    line.go.clear()
    line.protocol.data_received(ASKED)
    await settled()
    await filled(line)
    line.protocol.data_received(ASKED.replace(b"GET", b"PUT"))  # not refused: it would be told before the first
    assert line.wire.taken() == []
    line.go.set()
    await settled()
    assert [answer[-4:].strip() for _, answer in line.wire.taken()] == [b"GET", b"PUT"]


@pytest.mark.anyio
async def test_who_does_not_read_is_told_no_more() -> None:
    line = Line()
    line.fall_behind()
    await filled(line)
    line.protocol.pause_writing()
    line.protocol.data_received(ASKED * 9)
    await settled()
    assert line.wire.taken() == []
    line.protocol.resume_writing()
    await settled(1_000)
    assert [status for status, _ in line.wire.taken()] == [200] * 9


PLAINLY = b"GET /plain/a?k=3 HTTP/1.1\r\nHost: segue\r\n\r\n"


@pytest.mark.anyio
async def test_plain_questions_are_answered_at_once_in_their_order() -> None:
    line = Line(default_headers=[(b"date", b"today")])
    line.protocol.data_received(PLAINLY + PLAINLY.replace(b"k=3", b"k=4"))
    answers = [(status, *parted(answer)) for status, answer in line.wire.taken()]
    assert [(status, body) for status, _, body in answers] == [(200, b"a 3"), (200, b"a 4")]
    headers = answers[0][1]
    assert len(headers.pop("x-request-id")) == 16
    assert headers == {"date": "today", "content-type": "application/json", "content-length": "3"}
    await settled()
    assert [answer[-4:] for _, answer in await line.ask()] == [b"GET "]  # what is no plain question
    assert line.protocol.server_state.total_requests == 3


@pytest.mark.anyio
async def test_what_is_logged_meanwhile_names_the_request_and_nothing_afterwards_does() -> None:
    line = Line()
    await line.ask(PLAINLY.replace(b"Host", b"X-Request-Id: mine-1\r\nHost"))
    assert line.bound == {"request_id": "mine-1"}
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("n_bytes", [1, 7, 1000])
@pytest.mark.anyio
async def test_a_body_with_a_plain_question_is_let_go(n_bytes: int) -> None:
    line = Line()
    request = PLAINLY.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nplays") * 2
    for start in range(0, len(request), n_bytes):
        line.protocol.data_received(request[start : start + n_bytes])
    await settled()
    assert [answer[-3:] for _, answer in line.wire.taken()] == [b"a 3", b"a 3"]


@pytest.mark.parametrize(
    "request_head",
    [
        PLAINLY.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAINLY.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host", b"Connection: keep-alive\r\nHost"),
        PLAINLY.replace(b"Host", b"Connection: close\r\nHost"),
    ],
)
@pytest.mark.anyio
async def test_a_connection_that_is_not_kept_ends_with_the_answer(request_head: bytes) -> None:
    line = Line()
    ((status, answer),) = await line.ask(request_head)
    assert status == 200
    assert parted(answer)[0]["connection"] == "close"
    assert line.wire.is_closed


@pytest.mark.anyio
async def test_a_plain_question_waits_for_the_answers_before_it() -> None:
    line = Line()
    line.go.clear()
    line.protocol.data_received(ASKED + PLAINLY)
    await settled()
    assert line.wire.taken() == []
    line.go.set()
    await settled()
    assert [answer[-4:] for _, answer in line.wire.taken()] == [b"GET ", b"GET "]  # both by the application


@pytest.mark.anyio
async def test_plain_questions_of_an_overloaded_server_are_refused_once_the_turn_is_late() -> None:
    line = Line()
    line.fall_behind()
    line.takes_s = TURN_S / (FEWEST_IN_TURN + 0.5)
    line.protocol.data_received(PLAINLY * FEWEST)
    statuses = [status for status, _ in line.wire.taken()]
    n_answered = FEWEST_IN_TURN + 1  # the last of which came up just in time
    assert statuses == [200] * n_answered + [503] * (FEWEST - n_answered)
    await settled()
    line.protocol.data_received(PLAINLY * FEWEST)  # as many as were in time; the others are refused on arrival
    assert [status for status, _ in line.wire.taken()] == statuses
    await settled()
    assert line.n_shed == 2 * (FEWEST - n_answered)


@pytest.mark.anyio
async def test_an_access_log_tells_of_those_too() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    gate = Gate(pressure=Pressure(most_in_flight=1), registry=CollectorRegistry())
    protocol, _ = connected(answer, {GATE: gate, PLAIN: object()}, access_log=True)
    assert protocol._gate is None
    assert protocol._questions is None


@pytest.mark.parametrize(("overload", "kind"), [("shed", Gate), ("off", type(None))])
def test_the_server_asks_what_its_application_tells_it_of(
    sqlite_url: str, tmp_path: Path, overload: str, kind: type
) -> None:
    app = create_app(container_on(sqlite_url, tmp_path / "store", overload=overload))
    config = configuration(lambda: app)
    with listening_socket("127.0.0.1", 0) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the server listens")
        server.should_exit = True
        thread.join(10)
    assert config.http_protocol_class is EarlyAnswers
    assert type(server.lifespan.state[GATE]) is kind
    assert type(server.lifespan.state[PLAIN]) is PlainQuestions
