"""Plans: chosen by figures, kept while the machine is the same, and never in the way of a worker's start."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.training import Trainer
from worker.machine import Machine, this_machine
from worker.planning import NotMeasured, Plan, candidates, choose, load, path_in, planned, shape_for, told
from worker.throughput import Measured, Shape

MACHINE = Machine(cpu="a cpu", cores=4, python="3.11.9", numba="0.62", segue="0.1.0", trainer=Trainer.GENSIM)


class Meter:
    """Measures as it is told, and remembers how often."""

    def __init__(self, **figures: float) -> None:
        self.figures = figures or {"x2x2": 300.0}
        self.n_asked = 0

    def __call__(self, shapes: Sequence[Shape]) -> list[Measured]:
        self.n_asked += 1
        return [Measured(shape=shape, plays_per_s=self.figures.get(f"x{shape}", 100.0)) for shape in shapes]


def plan(folder: Path, meter: Meter, *, machine: Machine = MACHINE, busy: float = 0.0, is_fresh: bool = False) -> Plan:
    return planned(folder, machine, measure=meter, load=lambda: busy, is_fresh=is_fresh)


def nothing(shapes: Sequence[Shape]) -> list[Measured]:
    return [Measured(shape=shape, reason="It died.") for shape in shapes]


def idle() -> float:
    return 0.0


# Which shapes


@pytest.mark.parametrize("cores", [2, 3, 4, 6, 8, 64, 96])
def test_candidates_are_all_cores_or_half_of_them_each_once(cores: int) -> None:
    shapes = candidates(cores)
    assert shapes[0] == Shape(cores, 1)
    assert Shape(1, cores) in shapes
    assert len(set(shapes)) == len(shapes) <= 2 * (cores.bit_length() + 1)
    assert all(cores // 4 < shape.processes * shape.threads <= cores for shape in shapes)


def test_two_cores_are_measured_in_every_way_there_is() -> None:
    assert candidates(2) == [Shape(2, 1), Shape(1, 2), Shape(1, 1)]


# The choice


def chosen(**figures: float | None) -> str:
    return str(choose([Measured(shape=Shape.read(name[1:]), plays_per_s=figure) for name, figure in figures.items()]))


def test_the_most_plays_win() -> None:
    assert chosen(x4x1=100, x2x2=200, x1x4=150) == "2x2"


def test_within_five_percent_more_processes_of_one_thread_win() -> None:
    assert chosen(x4x1=96, x2x2=100, x1x4=99) == "4x1"
    assert chosen(x4x1=94, x2x2=100, x1x4=99) == "2x2"
    assert chosen(x4x1=97, x2x1=100, x1x4=98) == "4x1"


def test_shapes_that_were_left_out_are_not_chosen() -> None:
    assert chosen(x4x1=None, x2x2=10) == "2x2"


def test_without_a_figure_there_is_no_choice_and_the_reason_is_told() -> None:
    with pytest.raises(NotMeasured, match="It died"):
        choose(nothing([Shape(1, 1)]))
    with pytest.raises(NotMeasured):
        choose([])


# Kept


def test_a_plan_is_measured_once(tmp_path: Path) -> None:
    meter = Meter()
    first, second = plan(tmp_path / "data", meter), plan(tmp_path / "data", meter)
    assert first == second
    assert first.chosen == Shape(2, 2)
    assert meter.n_asked == 1


def test_a_fresh_plan_is_measured_again_and_kept(tmp_path: Path) -> None:
    plan(tmp_path, Meter())
    assert plan(tmp_path, Meter(x1x4=900.0), is_fresh=True).chosen == Shape(1, 4)
    assert plan(tmp_path, Meter()).chosen == Shape(1, 4)


@pytest.mark.parametrize(
    "other",
    [
        replace(MACHINE, cpu=None),
        replace(MACHINE, cores=8),
        replace(MACHINE, python="3.12.0"),
        replace(MACHINE, numba=None),
        replace(MACHINE, segue="0.2.0"),
        replace(MACHINE, trainer=Trainer.SEGUE),
    ],
)
def test_another_machine_version_or_trainer_is_measured_anew(tmp_path: Path, other: Machine) -> None:
    plan(tmp_path, Meter(), machine=other)
    meter = Meter()
    assert plan(tmp_path, meter).machine == MACHINE
    assert meter.n_asked == 1


def foreign(folder: Path, **changes: object) -> bytes:
    """A plan that somebody has changed."""
    plan(folder, Meter())
    return json.dumps(json.loads(path_in(folder).read_bytes()) | changes).encode()


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"chosen": {"processes": 2}}'])
def test_a_torn_or_foreign_file_is_measured_anew(tmp_path: Path, stored: bytes) -> None:
    path_in(tmp_path).write_bytes(stored)
    meter = Meter()
    plan(tmp_path, meter)
    plan(tmp_path, meter)
    assert meter.n_asked == 1


@pytest.mark.parametrize(("processes", "threads"), [(0, 1), (-2, 1), (5, 1), (3, 2)])
def test_a_file_that_names_what_cannot_be_is_measured_anew(tmp_path: Path, processes: int, threads: int) -> None:
    path_in(tmp_path).write_bytes(foreign(tmp_path, chosen={"processes": processes, "threads": threads}))
    assert plan(tmp_path, Meter()).chosen == Shape(2, 2)


def test_beside_busy_programs_nothing_is_measured_unless_it_is_asked_for(tmp_path: Path) -> None:
    meter = Meter()
    with pytest.raises(NotMeasured, match="50%"):
        plan(tmp_path, meter, busy=0.5)
    assert meter.n_asked == 0
    assert plan(tmp_path, meter, busy=0.5, is_fresh=True).chosen == Shape(2, 2)
    assert plan(tmp_path, meter, busy=0.5).chosen == Shape(2, 2)
    assert meter.n_asked == 1


@pytest.mark.parametrize("name", ["plan.json", "."])
def test_a_plan_that_cannot_be_kept_is_used_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = tmp_path / "data"
    if name == ".":
        folder.write_text("a file where the folder should be")
    else:
        (folder / name).mkdir(parents=True)
    assert plan(folder, Meter()).chosen == Shape(2, 2)
    assert "could not be kept" in caplog.text
    assert not [path for path in tmp_path.rglob("plan.json.*")]


def test_one_core_is_not_measured(tmp_path: Path) -> None:
    meter = Meter()
    assert plan(tmp_path, meter, machine=replace(MACHINE, cores=1)).chosen == Shape(1, 1)
    assert meter.n_asked == 0


# What a worker takes


def test_a_worker_logs_the_plan_and_its_figures_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plan(tmp_path, Meter())
    assert shape_for(tmp_path, MACHINE, measure=nothing, load=idle) == Shape(2, 2)
    (line,) = caplog.messages
    assert "2x2" in line
    assert "4x1 100" in line


def test_where_nothing_can_be_measured_a_worker_takes_a_process_a_core_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert shape_for(tmp_path, MACHINE, measure=nothing, load=idle) == Shape(4, 1)
    assert "It died." in caplog.text
    assert not path_in(tmp_path).exists()


def test_a_system_without_room_for_a_process_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Sequence[Shape]) -> list[Measured]:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    assert shape_for(tmp_path, MACHINE, measure=refuse, load=idle) == Shape(4, 1)
    assert "Resource temporarily unavailable" in caplog.text


# What an operator is told


def test_the_table_marks_the_choice_and_tells_why_a_shape_was_left_out() -> None:
    measured = (Measured(shape=Shape(4, 1), plays_per_s=123456.7), Measured(shape=Shape(2, 2), reason="It died."))
    shown = told(Plan(machine=MACHINE, measured=measured, chosen=Shape(4, 1)), slots=3).splitlines()
    assert "a cpu, 4 core(s)" in shown[0]
    assert shown[2].split() == ["4", "1", "123,457", "chosen"]
    assert shown[3].split() == ["2", "2", "left", "out", "It", "died."]
    assert "SEGUE_WORKER_SLOTS is 3" in shown[4]


def test_the_table_of_one_core_says_that_there_is_no_choice() -> None:
    one = Plan(machine=replace(MACHINE, cores=1), measured=(), chosen=Shape(1, 1))
    assert "no choice" in told(one, slots=None)


def test_the_load_of_the_machine_is_a_share() -> None:
    assert 0 <= load() <= 1


def test_this_machine_is_the_same_twice() -> None:
    assert this_machine() == this_machine()
    assert this_machine().cores >= 1
