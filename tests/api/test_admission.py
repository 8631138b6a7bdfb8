"""Admission: an overloaded server refuses at once what it cannot answer in time, and no other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from app.api.admission import (
    BEHIND_S,
    FEWEST,
    FEWEST_IN_TURN,
    GROWTH,
    IDLE_S,
    IN_A_ROW,
    LEAST_TICKS,
    STILL_BEHIND,
    TICK_S,
    TURN_S,
    WINDOW_S,
    Admission,
    Gate,
    Pressure,
)
from app.api.schemas.problems import Problem
from app.config import load
from app.main import create_app
from tests.api.world import client_of, container_on

LATE_S = 2 * BEHIND_S


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ticked(pressure: Pressure, late_s: float, n: int) -> None:
    for _ in range(n):
        pressure.ticked(late_s)


def passed(pressure: Pressure, late_s: float, n_windows: int = 1) -> None:
    """So many windows of ticks that are all so late."""
    ticked(pressure, late_s, n_windows * max(LEAST_TICKS, ceil(WINDOW_S / (TICK_S + late_s))))


def test_a_server_that_keeps_up_takes_all_it_may() -> None:
    pressure = Pressure(most_in_flight=100)
    passed(pressure, BEHIND_S / 2, 10)
    assert (pressure.is_behind, pressure.most) == (False, 100)


def test_a_pause_however_long_is_no_overload() -> None:
    pressure = Pressure(most_in_flight=100)
    for _ in range(5):
        ticked(pressure, 10.0, IN_A_ROW - 1)
        ticked(pressure, 0.0, LEAST_TICKS - IN_A_ROW + 1)
    assert (pressure.is_behind, pressure.most) == (False, 100)


def test_ticks_late_in_a_row_are_enough_for_they_come_the_more_seldom_the_later_they_are() -> None:
    pressure = Pressure(most_in_flight=100)
    ticked(pressure, LATE_S, IN_A_ROW - 1)
    ticked(pressure, 0.0, 1)
    ticked(pressure, LATE_S, IN_A_ROW - 1)
    assert not pressure.is_behind
    ticked(pressure, LATE_S, 1)
    assert pressure.is_behind


def test_behind_half_as_many_are_taken_each_time_down_to_the_fewest() -> None:
    pressure = Pressure(most_in_flight=100)
    found = []
    for _ in range(6):
        passed(pressure, LATE_S)
        found.append(pressure.most)
    assert pressure.is_behind
    assert found == [50, 25, FEWEST, FEWEST, FEWEST, FEWEST]


def test_fewer_than_the_fewest_stay_as_they_are() -> None:
    pressure = Pressure(most_in_flight=3)
    passed(pressure, LATE_S)
    assert pressure.most == 3


def test_no_longer_behind_more_are_taken_step_by_step() -> None:
    pressure = Pressure(most_in_flight=100)
    passed(pressure, LATE_S, 4)
    passed(pressure, 0.0, 2)
    assert (pressure.is_behind, pressure.most) == (False, FEWEST + 2 * GROWTH)
    passed(pressure, 0.0, 60)
    assert pressure.most == 100


def test_a_server_that_keeps_up_by_refusing_goes_on_refusing_and_takes_no_more() -> None:
    pressure = Pressure(most_in_flight=100)
    passed(pressure, LATE_S)
    for share, is_behind in ((0.5, True), (2 * STILL_BEHIND, True), (STILL_BEHIND, False)):
        pressure.refused(round(100 * share))
        for _ in range(round(100 * (1 - share))):
            pressure.answered()
        passed(pressure, 0.0)
        assert pressure.is_behind is is_behind
    assert pressure.most == 50 + GROWTH
    pressure.refused(100)  # beyond those in flight, which is no sign of being behind
    passed(pressure, 0.0)
    assert not pressure.is_behind


def test_the_limits_are_back_within_five_seconds_by_default() -> None:
    default = load(env_file=None).most_in_flight
    pressure = Pressure(most_in_flight=default)
    passed(pressure, LATE_S, 10)
    ticked(pressure, 0.0, int(5 / TICK_S))
    assert pressure.most >= default * 0.75


class Clock:
    """Tells what the test says."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Stage:
    """Admission before an application that waits until the test lets it go."""

    def __init__(self, *, most_in_flight: int = 2) -> None:
        self.clock = Clock()
        self.pressure = Pressure(most_in_flight=most_in_flight)
        self.registry = CollectorRegistry()
        self.go = anyio.Event()
        self.gate = Gate(pressure=self.pressure, registry=self.registry, clock=self.clock)
        self.admission = Admission(self._answer, gate=self.gate)
        self.statuses: list[int] = []

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.go.is_set():
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, path: str, method: str = "GET") -> None:
        async def receive() -> Message:
            raise AssertionError  # nothing of a request is read here

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])

        await self.admission({"type": "http", "method": method, "path": path, "headers": []}, receive, send)

    @property
    def n_shed(self) -> float | None:
        return self.registry.get_sample_value("segue_shed_total")


@pytest.mark.anyio
async def test_what_is_beyond_those_in_flight_is_refused_and_the_rest_answered() -> None:
    stage = Stage(most_in_flight=2)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(stage.ask, "/v1/studies")
        await anyio.wait_all_tasks_blocked()
        assert (stage.statuses, stage.n_shed) == ([503, 503, 503], 3)
        stage.go.set()
    assert stage.statuses == [503, 503, 503, 200, 200]
    await stage.ask("/v1/studies")
    assert stage.statuses[-1] == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health/ready"),
        ("GET", "/metrics"),
        ("POST", "/v1/uploads"),
        ("GET", "/v1/studies/std_1/events"),
        ("GET", "/v1/studies/std_1/export.csv"),
        ("GET", "/v1/songs/a/neighbours"),
    ],
)
async def test_what_is_long_or_never_waits_is_neither_counted_nor_refused_for_others(method: str, path: str) -> None:
    stage = Stage(most_in_flight=1)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(stage.ask, path, method)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(stage.ask, "/v1/studies")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(stage.ask, path, method)
        await anyio.wait_all_tasks_blocked()
        assert stage.statuses == []
        stage.go.set()
    assert stage.statuses == [200] * 5


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/songs/a/neighbours", 503), ("/v1/uploads", 503), ("/health/live", 200), ("/metrics", 200)],
)
async def test_behind_what_comes_up_late_in_its_turn_is_refused(path: str, status: int) -> None:
    stage = Stage()
    stage.go.set()
    passed(stage.pressure, LATE_S)
    await stage.ask("/v1/songs/a/neighbours")  # the first of the turn
    stage.clock.now_s += 2 * TURN_S
    for _ in range(FEWEST_IN_TURN):
        await stage.ask("/v1/songs/a/neighbours")
    assert stage.statuses == [200] * FEWEST_IN_TURN + [503]  # few are answered however late
    await stage.ask(path)
    assert stage.statuses[-1] == status
    await anyio.wait_all_tasks_blocked()  # another turn
    await stage.ask(path)
    assert stage.statuses[-1] == 200


def n_let_in(gate: Gate) -> int:
    """How many of many that arrive in one turn are not refused."""
    return sum(not gate.refuses_on_arrival(b"/v1/songs/a/neighbours") for _ in range(10 * FEWEST))


@pytest.mark.anyio
async def test_a_turn_lets_in_as_many_as_came_up_in_time_and_one_more_each_time_that_all_did() -> None:
    stage = Stage()
    stage.go.set()
    passed(stage.pressure, LATE_S)
    assert n_let_in(stage.gate) == FEWEST
    await anyio.wait_all_tasks_blocked()
    assert stage.n_shed == 9 * FEWEST
    for _ in range(10):
        await stage.ask("/v1/songs/a/neighbours")
        stage.clock.now_s += TURN_S / 6.5
    assert stage.statuses == [200] * 7 + [503] * 3
    await anyio.wait_all_tasks_blocked()
    assert n_let_in(stage.gate) == 7
    await anyio.wait_all_tasks_blocked()
    await stage.ask("/v1/songs/a/neighbours")
    await anyio.wait_all_tasks_blocked()
    assert n_let_in(stage.gate) == 8
    await anyio.wait_all_tasks_blocked()
    assert stage.n_shed == 3 + 3 * 10 * FEWEST - FEWEST - 7 - 8


@pytest.mark.anyio
async def test_few_are_let_in_however_late_a_turn_was() -> None:
    stage = Stage()
    stage.go.set()
    passed(stage.pressure, LATE_S)
    for _ in range(2 * FEWEST_IN_TURN):
        await stage.ask("/v1/songs/a/neighbours")
        stage.clock.now_s += 100 * TURN_S
    await anyio.wait_all_tasks_blocked()
    assert n_let_in(stage.gate) == FEWEST_IN_TURN


@pytest.mark.anyio
async def test_who_arrives_at_a_server_that_keeps_up_is_let_in() -> None:
    assert n_let_in(Stage().gate) == 10 * FEWEST


@pytest.mark.anyio
async def test_late_in_a_turn_is_answered_where_the_server_keeps_up() -> None:
    stage = Stage()
    stage.go.set()
    for _ in range(2 * FEWEST):
        await stage.ask("/v1/songs/a/neighbours")
        stage.clock.now_s += 2 * TURN_S
    assert stage.statuses == [200] * 2 * FEWEST


@pytest.mark.anyio
async def test_the_clock_finds_the_server_behind_and_stops_when_nobody_asks() -> None:
    stage = Stage(most_in_flight=100)
    stage.go.set()
    await stage.ask("/v1/studies")
    for _ in range(200):
        stage.clock.now_s += LATE_S + TICK_S  # as time would go if ticks were late
        await anyio.sleep(TICK_S / 10)
        await stage.ask("/v1/studies")
        if stage.pressure.is_behind:
            break
    assert stage.pressure.is_behind
    stage.clock.now_s += 2 * IDLE_S
    with anyio.fail_after(10):
        while stage.pressure.most < 100:
            await anyio.sleep(TICK_S)


@pytest.mark.parametrize(("overload", "statuses"), [("shed", [200, 503]), ("off", [200, 200])])
def test_a_server_with_its_hands_full_says_so(
    sqlite_url: str, tmp_path: Path, overload: str, statuses: list[int]
) -> None:
    container = container_on(sqlite_url, tmp_path / "store", most_in_flight=1, overload=overload)
    app = create_app(container)
    began, go = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow(*, quick: bool = False) -> None:
        began.set()
        assert quick or go.wait(30)

    with client_of(app) as client, ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.get, "/slow")
        assert began.wait(30)
        second = (
            client.post("/v1/studies?x=swordfish", content=b"{") if overload == "shed" else client.get("/slow?quick=1")
        )
        alive, figures = client.get("/health/live"), client.get("/metrics")
        go.set()
        assert [held.result().status_code, second.status_code] == statuses
        assert (alive.status_code, figures.status_code) == (200, 200)
        assert client.get("/slow").status_code == 200
    assert ("segue_shed_total 1.0" in figures.text) == (overload == "shed")
    if overload == "shed":
        assert second.headers["Content-Type"] == "application/problem+json"
        assert second.headers["Retry-After"] == "1"
        problem = Problem.model_validate_json(second.content)
        assert (problem.code, problem.status, problem.instance) == ("overloaded", 503, "/v1/studies")
        assert problem.request_id == second.headers["X-Request-Id"]
