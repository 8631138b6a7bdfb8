"""One piece of work ends in one report, whatever becomes of the child, the database and the worker."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.errors import DamagedArtifact, StorageFull, Unavailable
from app.domain.lease import HeartbeatAnswer
from app.domain.ports import ArtifactStore
from tests.processes import until
from tests.worker.conftest import HeldAct, Ledger
from tests.worker.stand_in import Act
from worker.attempt import Attempt
from worker.lease import Pulse
from worker.messages import Answer, TrialRequest
from worker.runner import Runner
from worker.stopping import Stopping

MIB = 1 << 20


class Bench:
    """What an attempt needs."""

    def __init__(self, store: ArtifactStore, runner: Runner, ledger: Ledger) -> None:
        self.store = store
        self.runner = runner
        self.ledger = ledger
        self.stopping = Stopping(grace_s=0.2)
        self.has_space = True

    def carry_out(self, held: HeldAct, *, lease_s: float = 10.0) -> float:
        """Seconds it took."""
        began = time.monotonic()
        pulse = Pulse(held.heartbeat, lease_s=lease_s, claimed_at_s=began, tell_every_s=0.05)
        attempt = Attempt(held, pulse, store=self.store, runner=self.runner, stopping=self.stopping)
        self.has_space = attempt.carry_out()
        return time.monotonic() - began

    @contextmanager
    def in_the_middle(self, held: HeldAct, *, lease_s: float = 10.0) -> Iterator[None]:
        """While the block runs, the child is at work; then the attempt ends."""
        thread = threading.Thread(target=self.carry_out, args=(held,), kwargs={"lease_s": lease_s})
        thread.start()
        try:
            assert self.ledger.has_progress.wait(10)
            yield
        finally:
            thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def bench(store: FolderArtifactStore, runner: Runner, ledger: Ledger) -> Bench:
    return Bench(store, runner, ledger)


def test_a_result_is_reported_once(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.SUCCEED, ledger)
    bench.carry_out(held)
    assert ledger.reports == ["completed succeed"]
    assert held.results[0].outcome.vectors_sha256 == "done"


def test_progress_reaches_the_service_while_the_work_goes_on(bench: Bench, ledger: Ledger) -> None:
    bench.carry_out(HeldAct(Act.MOVE_ON, ledger))
    fractions = [progress.fraction for progress in ledger.progress]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (Act.ABORT, "crashed"),
        (Act.SEGFAULT, "crashed"),
        (Act.EXIT, "crashed"),
        (Act.DIE_OF_MEMORY, "out_of_memory"),
        (Act.FILL_DISK, "storage_full"),
        (Act.RAISE, "error"),
        (Act.DIVERGE, "infeasible"),
    ],
)
def test_a_failure_is_reported_with_its_code_and_the_next_work_succeeds(
    bench: Bench, ledger: Ledger, act: Act, code: str
) -> None:
    bench.carry_out(HeldAct(act, ledger))
    ((failure, is_final),) = ledger.failures
    assert (failure.code, is_final) == (code, code == "infeasible")
    assert bench.has_space is (code != "storage_full")
    assert "/srv" not in failure.reason
    bench.carry_out(HeldAct(Act.SUCCEED, ledger))
    assert ledger.reports[-1] == "completed succeed"


def test_exhausted_memory_is_named(bench: Bench, ledger: Ledger) -> None:
    bench.carry_out(HeldAct(Act.EAT_MEMORY, ledger, memory_bytes=64 * MIB))
    assert [failure.code for failure, _ in ledger.failures] == ["out_of_memory"]


def test_overrun_time_is_named_and_the_child_is_gone(bench: Bench, ledger: Ledger) -> None:
    seconds = bench.carry_out(HeldAct(Act.SLEEP, ledger, timeout_s=0.3))
    assert [failure.code for failure, _ in ledger.failures] == ["timed_out"]
    assert seconds < 10
    assert bench.runner.is_usable


def test_a_child_killed_from_outside_is_a_crash(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger)):
        psutil.Process(bench.runner.child_pid).kill()
    assert [(failure.code, is_final) for failure, is_final in ledger.failures] == [("crashed", False)]
    assert "SIGKILL" in ledger.failures[0][0].reason


def test_a_cancelled_study_ends_its_trial(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger), lease_s=0.6):
        ledger.answer = HeartbeatAnswer.CANCEL
    assert ledger.reports == ["cancelled sleep"]


def test_epochs_are_reported_and_the_child_goes_on_when_told(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.SHOW_EPOCHS, ledger)
    bench.carry_out(held)
    assert ledger.epochs == [(1, False), (2, True), (3, False)]
    assert ledger.reports == ["completed show_epochs"]
    assert not held.results[0].was_pruned


def test_a_child_that_is_told_to_end_tells_what_it_measured(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.SHOW_EPOCHS, ledger)
    ledger.epoch_answer = HeartbeatAnswer.PRUNE
    bench.carry_out(held)
    assert ledger.epochs == [(1, False), (2, True)]
    assert ledger.reports == ["completed show_epochs"]
    assert held.results[0].was_pruned
    assert held.results[0].outcome.vectors_sha256 == "ended after 2"


def test_a_child_goes_on_while_nobody_can_be_asked(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.SHOW_EPOCHS, ledger)
    ledger.trouble = Unavailable("away")
    ledger.epoch_answer = HeartbeatAnswer.PRUNE
    thread = threading.Thread(target=bench.carry_out, args=(held,))
    thread.start()
    until(lambda: len(ledger.epochs) == 3, "the last epoch is measured")
    ledger.trouble = None
    thread.join(20)
    assert ledger.reports == ["completed show_epochs"]


def test_a_child_that_was_not_told_to_end_is_stopped_as_pruned(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger), lease_s=0.6):
        ledger.answer = HeartbeatAnswer.PRUNE
    assert ledger.reports == ["pruned sleep"]


def test_a_child_that_does_not_end_though_told_is_stopped_as_pruned(bench: Bench, ledger: Ledger) -> None:
    ledger.epoch_answer = HeartbeatAnswer.PRUNE
    with bench.in_the_middle(HeldAct(Act.SHOW_IN_VAIN, ledger)):
        assert ledger.has_epoch.wait(10)
        ledger.answer = HeartbeatAnswer.PRUNE
    assert ledger.reports == ["pruned show_in_vain"]
    assert bench.runner.is_usable


@pytest.mark.parametrize(
    ("answer", "reports"),
    [(HeartbeatAnswer.CANCEL, ["cancelled show_in_vain"]), (HeartbeatAnswer.LOST, [])],
)
def test_a_cancelled_or_lost_trial_hears_of_it_at_an_epochs_end(
    bench: Bench, ledger: Ledger, answer: HeartbeatAnswer, reports: list[str]
) -> None:
    ledger.epoch_answer = answer
    bench.carry_out(HeldAct(Act.SHOW_IN_VAIN, ledger))
    assert ledger.reports == reports


def test_an_answer_that_came_too_late_harms_no_later_work(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger, timeout_s=1.0)):
        bench.runner.answer(Answer(epoch=2, answer=HeartbeatAnswer.PRUNE))
    held = HeldAct(Act.SHOW_EPOCHS, ledger)
    bench.carry_out(held)
    assert ledger.reports[-1] == "completed show_epochs"
    assert not held.results[0].was_pruned


def test_a_lost_lease_ends_the_work_without_a_report(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger), lease_s=0.6):
        ledger.answer = HeartbeatAnswer.LOST
    assert ledger.reports == []
    assert bench.runner.is_usable


def test_a_late_result_of_a_lost_lease_is_discarded(bench: Bench, ledger: Ledger) -> None:
    ledger.is_lost = True
    bench.carry_out(HeldAct(Act.SUCCEED, ledger))
    assert ledger.reports == []


def test_work_goes_on_while_the_database_is_away(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.MOVE_ON, ledger)
    with bench.in_the_middle(held):
        ledger.trouble = Unavailable("away")
        time.sleep(0.5)
        ledger.trouble = None
    assert ledger.n_refused > 0
    assert ledger.reports == ["completed move_on"]


def test_a_result_is_kept_until_the_database_is_back(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.MOVE_ON, ledger)):
        ledger.trouble = Unavailable("away")
        time.sleep(2.0)
        assert not bench.runner.is_usable or bench.runner.child_pid is None
        ledger.trouble = None
    assert ledger.reports == ["completed move_on"]


def test_work_whose_lease_cannot_be_renewed_ends_before_the_lease_and_is_handed_back(
    bench: Bench, ledger: Ledger
) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger), lease_s=0.8):
        ledger.trouble = Unavailable("away")
        child = psutil.Process(bench.runner.child_pid)
        child.wait(5)
        assert ledger.reports == []
        ledger.trouble = None
    assert ledger.reports == ["released sleep"]


def test_a_stopping_worker_lets_short_work_finish(bench: Bench, ledger: Ledger) -> None:
    bench.stopping = Stopping(grace_s=20)
    with bench.in_the_middle(HeldAct(Act.MOVE_ON, ledger)):
        bench.stopping.ask()
    assert ledger.reports == ["completed move_on"]


def test_a_stopping_worker_hands_long_work_back(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger)):
        bench.stopping.ask()
    assert ledger.reports == ["released sleep"]


def test_a_worker_asked_twice_stops_at_once(bench: Bench, ledger: Ledger) -> None:
    bench.stopping = Stopping(grace_s=60)
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger)):
        bench.stopping.ask()
        bench.stopping.ask()
    assert ledger.reports == ["released sleep"]


def test_a_stopping_worker_does_not_wait_for_the_database_beyond_its_grace(bench: Bench, ledger: Ledger) -> None:
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger)):
        ledger.trouble = Unavailable("away")
        bench.stopping.ask()
    assert ledger.reports == []


def test_a_full_disk_when_publishing_fails_the_attempt(bench: Bench, ledger: Ledger) -> None:
    held = HeldAct(Act.SUCCEED, ledger)
    held.trouble = StorageFull("No space is left.")
    bench.carry_out(held)
    assert [(failure.code, is_final) for failure, is_final in ledger.failures] == [("storage_full", False)]


def test_a_result_that_cannot_be_stored_fails_the_attempt(
    bench: Bench, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    held = HeldAct(Act.SUCCEED, ledger)
    held.trouble = ValueError("no staged folder")
    with caplog.at_level(logging.ERROR):
        bench.carry_out(held)
    assert [failure.code for failure, _ in ledger.failures] == ["error"]
    assert "no staged folder" in caplog.text


class HeldDamaged(HeldAct):
    """A trial whose dataset is damaged."""

    def request(self, *, staged: Path, scratch: Path) -> TrialRequest:
        raise DamagedArtifact("datasets/dat_1: plays.npy was altered.")


def test_damaged_files_fail_the_attempt_before_a_child_sees_them(bench: Bench, ledger: Ledger) -> None:
    bench.carry_out(HeldDamaged(Act.SUCCEED, ledger))
    assert [failure.code for failure, _ in ledger.failures] == ["damaged_artifact"]


@pytest.mark.parametrize("act", [Act.SUCCEED, Act.ABORT, Act.RAISE])
def test_nothing_staged_is_left(bench: Bench, ledger: Ledger, tmp_path: Path, act: Act) -> None:
    bench.carry_out(HeldAct(act, ledger))
    assert list((tmp_path / "store" / "staging").iterdir()) == []


def test_a_dead_runner_fails_the_attempt(new_runner: Callable[[], Runner], store: FolderArtifactStore) -> None:
    ledger = Ledger()
    bench = Bench(store, new_runner(), ledger)
    with bench.in_the_middle(HeldAct(Act.SLEEP, ledger)):
        psutil.Process(bench.runner.pid).kill()
    assert [failure.code for failure, _ in ledger.failures] == ["crashed"]
