"""A worker claims, runs and reports until it is asked to stop, and outlives whatever goes wrong."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.polling import PollingSignals
from app.domain.errors import DamagedArtifact, Unavailable
from tests.worker.conftest import HeldAct, Ledger
from tests.worker.stand_in import Act
from worker.loop import Reaper, Slot, Worker, new_worker_id
from worker.queues import Held
from worker.runner import Runner
from worker.stopping import Stopping


class Line:
    """A queue of acts; exceptions in it are raised by the claim."""

    def __init__(self, ledger: Ledger, acts: Sequence[Act | Exception] = ()) -> None:
        self.ledger = ledger
        self.acts = list(acts)
        self.n_reaped = 0
        self.n_claims = 0
        self.names: list[str] = []
        self.reap_trouble: list[Exception] = []
        self.lock = threading.Lock()

    def claim(self, worker_id: str) -> Held | None:
        assert worker_id
        with self.lock:
            self.n_claims += 1
            self.names.append(worker_id)
            if not self.acts:
                return None
            act = self.acts.pop(0)
        if isinstance(act, Exception):
            raise act
        return HeldAct(act, self.ledger)

    def reap(self) -> int:
        self.n_reaped += 1
        if self.reap_trouble:
            raise self.reap_trouble.pop()
        return 1 if self.n_reaped == 1 else 0


class Shop:
    """A worker in threads of this test."""

    def __init__(self, store: FolderArtifactStore, new_runner: Callable[[], Runner]) -> None:
        self.store = store
        self.new_runner = new_runner
        self.signals = PollingSignals()
        self.asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def open(
        self,
        *lines: Line,
        n_slots: int = 1,
        poll_interval_s: float = 0.05,
        grace_s: float = 5.0,
        reap_interval_s: float | None = None,
    ) -> None:
        stopping = Stopping(grace_s=grace_s)
        slots = [
            Slot(
                "worker-1",
                queues=lines,
                store=self.store,
                signals=self.signals,
                stopping=stopping,
                new_runner=self.new_runner,
                lease_s=5,
                poll_interval_s=poll_interval_s,
            )
            for _ in range(n_slots)
        ]
        reaper = Reaper(lines, lease_s=5, stopping=stopping, interval_s=reap_interval_s)
        worker = Worker(slots, reapers=[reaper], signals=self.signals, stopping=stopping, asked=self.asked)
        self.thread = threading.Thread(target=worker.run)
        self.thread.start()

    def close(self) -> None:
        if self.thread is not None:
            self.asked.put(signal.SIGTERM)
            self.thread.join(20)
            assert not self.thread.is_alive()


@pytest.fixture
def shop(store: FolderArtifactStore, new_runner: Callable[[], Runner]) -> Iterator[Shop]:
    opened = Shop(store, new_runner)
    yield opened
    opened.close()


def until(is_so: Callable[[], bool], *, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


def test_all_work_is_done_in_order(shop: Shop, ledger: Ledger) -> None:
    shop.open(Line(ledger, [Act.SUCCEED, Act.PRINT, Act.SUCCEED]))
    assert until(lambda: len(ledger.reports) == 3)
    assert ledger.reports == ["completed succeed", "completed print", "completed succeed"]


def test_the_first_queue_goes_first(shop: Shop, ledger: Ledger) -> None:
    datasets, trials = Line(ledger, [Act.PRINT]), Line(ledger, [Act.SUCCEED])
    shop.open(datasets, trials)
    assert until(lambda: len(ledger.reports) == 2)
    assert ledger.reports == ["completed print", "completed succeed"]


def test_a_bad_trial_harms_no_other(shop: Shop, ledger: Ledger) -> None:
    shop.open(Line(ledger, [Act.ABORT, Act.SUCCEED, Act.EXIT, Act.SUCCEED]))
    assert until(lambda: len(ledger.reports) == 4)
    assert ledger.reports == ["failed abort", "completed succeed", "failed exit", "completed succeed"]


def test_slots_work_side_by_side(shop: Shop, ledger: Ledger) -> None:
    shop.open(Line(ledger, [Act.SLEEP, Act.SUCCEED]), n_slots=2, grace_s=0)
    assert until(lambda: ledger.reports == ["completed succeed"])


def test_an_idle_worker_hears_a_wake(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger)
    shop.open(line, poll_interval_s=60)
    assert until(lambda: line.n_claims == 1)
    time.sleep(0.1)
    line.acts = [Act.SUCCEED]
    shop.signals.wake()
    assert until(lambda: ledger.reports == ["completed succeed"], within_s=5)


def test_an_idle_worker_stops_at_once(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger)
    shop.open(line, poll_interval_s=60)
    assert until(lambda: line.n_claims == 1)
    began = time.monotonic()
    shop.close()
    assert time.monotonic() - began < 5


def test_a_stopping_worker_claims_no_more(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger, [Act.MOVE_ON, Act.SUCCEED])
    shop.open(line)
    assert ledger.has_progress.wait(10)
    shop.close()
    assert ledger.reports == ["completed move_on"]
    assert line.acts == [Act.SUCCEED]


def test_a_worker_outlives_an_outage_of_the_database(shop: Shop, ledger: Ledger) -> None:
    shop.open(Line(ledger, [Unavailable("away"), Unavailable("away"), Act.SUCCEED]))
    assert until(lambda: ledger.reports == ["completed succeed"])


def test_a_worker_outlives_a_defect(shop: Shop, ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    shop.open(Line(ledger, [ZeroDivisionError("a defect"), Act.SUCCEED]))
    assert until(lambda: ledger.reports == ["completed succeed"])
    assert "a defect" in caplog.text


def test_a_claim_that_fails_does_not_keep_the_other_queues_waiting(shop: Shop, ledger: Ledger) -> None:
    shop.open(Line(ledger, [DamagedArtifact("an upload is gone")] * 1000), Line(ledger, [Act.SUCCEED]))
    assert until(lambda: ledger.reports == ["completed succeed"])


def test_dead_workers_are_looked_for_now_and_then_and_not_at_every_turn(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger)
    shop.open(line, poll_interval_s=0.01)
    assert until(lambda: line.n_claims > 20)
    assert line.n_reaped == 1


def test_dead_workers_are_looked_for_while_every_slot_is_busy(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger, [Act.SLEEP])
    shop.open(line, grace_s=0, reap_interval_s=0.05)
    assert until(lambda: not line.acts)
    n_reaped = line.n_reaped
    assert until(lambda: line.n_reaped > n_reaped + 3)
    assert ledger.reports == []


@pytest.mark.parametrize("trouble", [Unavailable("away"), ZeroDivisionError("a defect")])
def test_a_look_for_dead_workers_that_fails_keeps_neither_other_queues_nor_later_looks(
    shop: Shop, ledger: Ledger, trouble: Exception
) -> None:
    first, second = Line(ledger), Line(ledger)
    first.reap_trouble = [trouble]
    shop.open(first, second, reap_interval_s=0.05)
    assert until(lambda: first.n_reaped > 1 and second.n_reaped > 0)


def test_every_claim_has_a_name_of_its_own_that_tells_the_worker(shop: Shop, ledger: Ledger) -> None:
    line = Line(ledger, [Act.SUCCEED] * 3)
    shop.open(line, n_slots=2)
    assert until(lambda: len(ledger.reports) == 3)
    assert len(set(line.names)) == len(line.names)
    assert all(name.startswith("worker-1-") for name in line.names)


def test_no_two_workers_share_an_id() -> None:
    assert new_worker_id() != new_worker_id()
