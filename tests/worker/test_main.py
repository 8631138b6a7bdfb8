"""What a worker makes of its settings: slots, and the threads of each; and how it ends before it has begun."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings, load
from worker import main as program
from worker.machine import n_cores, this_machine
from worker.main import allowance, shape_of
from worker.planning import planned
from worker.throughput import Measured, Shape


def settings(folder: Path, **given: int | None) -> Settings:
    return load(env_file=None, data_dir=folder, **given)


@pytest.mark.parametrize("n_slots", [1, 3, 200])
def test_slots_that_are_set_are_taken_as_they_are(tmp_path: Path, n_slots: int) -> None:
    assert shape_of(settings(tmp_path, worker_slots=n_slots)) == Shape(n_slots, max(1, n_cores() // n_slots))
    assert list(tmp_path.iterdir()) == []  # nothing was measured


def test_no_slots_are_as_many_as_cores(tmp_path: Path) -> None:
    assert shape_of(settings(tmp_path, worker_slots=0)) == Shape(n_cores(), 1)


def test_slots_that_are_not_set_are_the_plans(tmp_path: Path) -> None:
    known = planned(
        tmp_path,
        this_machine(),
        measure=lambda shapes: [
            Measured(shape=shape, plays_per_s=9.0 if shape == Shape(1, n_cores()) else 1.0) for shape in shapes
        ],
        load=lambda: 0.0,
    )
    assert shape_of(settings(tmp_path)) == known.chosen == Shape(1, n_cores())


def test_work_whose_threads_no_study_fixes_has_those_of_the_shape(tmp_path: Path) -> None:
    allowed = allowance(settings(tmp_path), Shape(2, 3))
    assert allowed.threads == 3
    assert allowed.duckdb_threads == max(1, n_cores() // 2)
    assert allowance(settings(tmp_path, duckdb_threads=7), Shape(2, 3)).duckdb_threads == 7


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of the test runner are as they were afterwards."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_machine_is_measured_ends_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def measured(_: Settings) -> Shape:
        os.kill(os.getpid(), number)
        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr(program, "settings_of_environment", lambda: settings(tmp_path))
    monkeypatch.setattr(program, "shape_of", measured)
    assert program.main() == 0
