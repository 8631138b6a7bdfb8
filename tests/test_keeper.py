"""A worker beside the server: there while it runs, back when it dies, gone when it stops."""

import os
import sys
import time
from pathlib import Path

import psutil

from app.keeper import WorkerKeeper
from tests.processes import until

LIVES = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LIVES}"
DIES = "import os, pathlib, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); sys.exit(3)"


def keeper(script: str, folder: Path, *, grace_s: float = 10.0) -> WorkerKeeper:
    return WorkerKeeper(grace_s=grace_s, command=[sys.executable, "-c", script, str(folder)], first_pause_s=0.01)


def started(folder: Path) -> list[int]:
    """The workers that ever ran, in no order."""
    return [int(path.name) for path in folder.iterdir()]


def test_the_worker_runs_while_kept_and_stops_when_asked(tmp_path: Path) -> None:
    with keeper(LIVES, tmp_path):
        until(lambda: len(started(tmp_path)) == 1, "workers started: 1")
        (worker,) = started(tmp_path)
        assert psutil.pid_exists(worker)
        assert os.getsid(worker) == os.getsid(0)
        assert os.getpgid(worker) == os.getpgid(0)
    assert not psutil.pid_exists(worker)


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with keeper(LIVES, tmp_path):
        until(lambda: len(started(tmp_path)) == 1, "workers started: 1")
        (first,) = started(tmp_path)
        os.kill(first, 9)
        until(lambda: len(started(tmp_path)) == 2, "workers started: 2")
    assert not any(psutil.pid_exists(worker) for worker in started(tmp_path))


def test_a_worker_that_cannot_run_is_tried_again_later_each_time(tmp_path: Path) -> None:
    with keeper(DIES, tmp_path):
        until(lambda: len(started(tmp_path)) >= 3, "workers started: 3")
        time.sleep(0.3)
    assert len(started(tmp_path)) < 12


def test_a_worker_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    with keeper(DEAF, tmp_path, grace_s=0.2):
        until(lambda: len(started(tmp_path)) == 1, "workers started: 1")
        (worker,) = started(tmp_path)
    assert not psutil.pid_exists(worker)


def test_leaving_at_once_leaves_no_worker(tmp_path: Path) -> None:
    for _ in range(5):
        with keeper(LIVES, tmp_path):
            pass
    children = psutil.Process().children()
    assert not [child for child in children if str(tmp_path) in child.cmdline()]
