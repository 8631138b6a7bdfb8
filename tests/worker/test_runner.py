"""A runner's children are told apart from it: they end in every way there is, and the next one works."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.worker.conftest import STAND_IN, trial_request
from tests.worker.stand_in import Act
from worker.environment import child_environment
from worker.messages import Advanced, Ended, Failed, Message, Started, TrialMeasured
from worker.runner import Runner, RunnerGone

MIB = 1 << 20


def heard(runner: Runner, act: Act, *, memory_bytes: int | None = None) -> list[Message | RunnerGone]:
    """Everything a child says until it is gone."""
    runner.begin(trial_request(act, memory_bytes=memory_bytes))
    messages: list[Message | RunnerGone] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = runner.listen(0.05)
        if message is not None:
            messages.append(message)
        if isinstance(message, Ended | RunnerGone):
            return messages
    raise TimeoutError(messages)


def until(is_so: Callable[[], bool], *, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def start(runner: Runner, act: Act) -> psutil.Process:
    """A child that is in the middle of its work."""
    runner.begin(trial_request(act))
    while not isinstance(runner.listen(10), Advanced):
        pass
    assert runner.child_pid is not None
    return psutil.Process(runner.child_pid)


def test_a_child_tells_its_progress_its_result_and_its_end(runner: Runner) -> None:
    kinds = [type(message) for message in heard(runner, Act.SUCCEED)]
    assert kinds == [Started, Advanced, TrialMeasured, Ended]


def test_each_request_has_a_child_of_its_own_in_a_process_group_of_its_own(runner: Runner) -> None:
    pids = []
    for _ in range(2):
        child = start(runner, Act.SLEEP)
        assert os.getpgid(child.pid) == child.pid
        assert os.getsid(child.pid) == os.getsid(runner.pid) != os.getsid(0)
        pids.append(child.pid)
        runner.kill_child()
        assert runner.is_usable
    assert pids[0] != pids[1]


@pytest.mark.parametrize(
    ("act", "exit_code"),
    [(Act.ABORT, -signal.SIGABRT), (Act.SEGFAULT, -signal.SIGSEGV), (Act.EXIT, 7)],
)
def test_a_crash_ends_the_child_and_nothing_else(runner: Runner, act: Act, exit_code: int) -> None:
    assert heard(runner, act)[-1] == Ended(exit_code=exit_code)
    assert runner.is_usable
    assert isinstance(heard(runner, Act.SUCCEED)[-2], TrialMeasured)


def test_the_last_words_of_a_crash_are_kept(runner: Runner) -> None:
    heard(runner, Act.ABORT)
    assert "assertion failed" in runner.last_seen(-6, memory_limit_bytes=None).output
    heard(runner, Act.SEGFAULT)
    assert "assertion failed" not in runner.last_seen(-11, memory_limit_bytes=None).output


def test_a_child_cannot_take_more_memory_than_it_may(runner: Runner) -> None:
    failed = heard(runner, Act.EAT_MEMORY, memory_bytes=64 * MIB)[-2]
    assert isinstance(failed, Failed)
    assert failed.failure.code == "out_of_memory"
    assert isinstance(heard(runner, Act.SUCCEED)[-2], TrialMeasured)


def test_a_killed_child_leaves_the_runner_ready(runner: Runner) -> None:
    child = start(runner, Act.SLEEP)
    child.kill()
    assert runner.listen(5) == Ended(exit_code=-signal.SIGKILL)
    assert isinstance(heard(runner, Act.SUCCEED)[-2], TrialMeasured)


def test_what_libraries_print_is_no_message(runner: Runner) -> None:
    results = [message for message in heard(runner, Act.PRINT) if isinstance(message, TrialMeasured)]
    assert [result.outcome.vectors_sha256 for result in results] == ["done"]


def test_a_child_sees_no_credentials(new_runner: Callable[[], Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGUE_DATABASE_URL", "postgresql://somebody:secret@host/db")
    monkeypatch.setenv("PGPASSWORD", "secret")
    (measured,) = (each for each in heard(new_runner(), Act.TELL_ENVIRONMENT) if isinstance(each, TrialMeasured))
    names = str(measured.outcome.vectors_sha256).split()
    assert "PATH" in names
    assert not [name for name in names if name.startswith(("SEGUE", "PG"))]


def test_a_runner_that_is_killed_takes_its_child_along(runner: Runner) -> None:
    child = start(runner, Act.SLEEP)
    psutil.Process(runner.pid).kill()
    assert runner.listen(5) == RunnerGone(-signal.SIGKILL)
    assert until(lambda: not child.is_running())
    assert not runner.is_usable


def test_a_closed_runner_is_gone_with_its_child(runner: Runner) -> None:
    child = start(runner, Act.SLEEP)
    runner.close()
    assert until(lambda: not child.is_running())
    assert not psutil.pid_exists(runner.pid)


def test_a_child_that_has_not_started_can_be_killed(new_runner: Callable[[], Runner]) -> None:
    runner = new_runner()
    runner.begin(trial_request(Act.SLEEP))
    runner.kill_child()
    assert not runner.is_usable


def test_a_runner_that_cannot_start_is_told_of_with_its_reason() -> None:
    runner = Runner(child_environment(os.environ), command=[sys.executable, "-c", "raise SystemExit('gone')"])
    assert heard(runner, Act.SUCCEED) == [RunnerGone(1)]
    assert "gone" in runner.last_seen(1, memory_limit_bytes=None).output
    runner.close()


PARENT = """
import os, sys, time
from pathlib import Path
from tests.worker.conftest import STAND_IN, trial_request
from tests.worker.stand_in import Act
from worker.environment import child_environment
from worker.messages import Advanced
from worker.runner import Runner

runner = Runner(child_environment(os.environ), command=STAND_IN)
runner.begin(trial_request(Act.SLEEP))
while not isinstance(runner.listen(10), Advanced):
    pass
Path(sys.argv[1]).write_text(f"{runner.pid} {runner.child_pid}")
time.sleep(60)
"""


def test_when_the_worker_is_killed_its_runner_and_child_are_gone_within_two_seconds(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    root = Path(__file__).parents[2]
    worker = subprocess.Popen([sys.executable, "-c", PARENT, str(told)], cwd=root)
    try:
        assert until(lambda: told.exists() and len(told.read_text(encoding="ascii").split()) == 2, within_s=20)
        family = [psutil.Process(int(pid)) for pid in told.read_text(encoding="ascii").split()]
        assert all(each.is_running() for each in family)
    finally:
        worker.kill()
        worker.wait()
    assert until(lambda: not any(is_alive(each) for each in family), within_s=2)


def is_alive(process: psutil.Process) -> bool:
    """Zombies that nobody has collected yet are dead."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_what_a_request_needs_and_lacks_is_told_by_its_child(runner: Runner) -> None:
    failed = heard(runner, Act.LACK_IMPORT)[-2]
    assert isinstance(failed, Failed)
    assert runner.is_usable


WARM = """
import psutil, sys
from tests.worker.conftest import trial_request
from tests.worker.stand_in import Act
from worker import work

work.warm()
n_threads = [psutil.Process().num_threads()]
work.warm_for(trial_request(Act.SUCCEED))
n_threads.append(psutil.Process().num_threads())
print(*n_threads, "gensim" in sys.modules)
"""


def test_the_runner_has_one_thread_so_that_it_may_fork_and_imports_gensim_for_who_trains_by_it() -> None:
    # Measured with the real work: a library that starts threads when imported or compiled would make forking unsafe.
    counted = subprocess.run(
        [sys.executable, "-c", WARM],
        capture_output=True,
        text=True,
        check=True,
        env=child_environment(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert counted.stdout.split() == ["1", "1", "True"]


def test_the_stand_in_is_what_these_tests_run() -> None:
    assert STAND_IN[-1] == "tests.worker.stand_in"
