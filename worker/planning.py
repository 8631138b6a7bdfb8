"""How many pieces of work a worker does at once, and on how many threads each: measured, once for a machine.

Tried are one process of many threads, one thread in each of many processes, and what lies between, on all cores and on
half of them, for where two cores are threads of one. The most plays a second win. Within 5 % more processes do, of one
thread each if possible: such trials are repeatable.

A study says itself how many threads its trials have, one unless told otherwise, and how many of them run side by side;
the plan's threads are for work of which no study says it. The plan is kept in the data folder, and holds until the
machine, a version or the trainer is another. While other programs are busy nothing is measured, unless it is asked for:
on two cores, of which one was taken, one process looked as good as two.

    python -m worker.planning [--fresh]
"""

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from worker.machine import Machine, this_machine
from worker.starting import settings_of_environment
from worker.throughput import Measured, Shape, measure

TIE = 0.05
"""Differences up to this share of the best are taken for chance."""

BUSY = 0.2
"""The share of the machine that other programs may use while it is measured."""

N_LOOKS = 6
LOOK_S = 0.3
"""How often, and how long each time, is looked whether they do: a server that starts beside the worker is soon done."""

Measure = Callable[[Sequence[Shape]], list[Measured]]
Load = Callable[[], float]
"""The share of the machine that other programs use."""

_log = logging.getLogger(__name__)


class NotMeasured(Exception):
    """There is no figure to choose by; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was measured on a machine, and the shape chosen by it."""

    machine: Machine
    measured: tuple[Measured, ...]
    chosen: Shape

    def __post_init__(self) -> None:
        if self.chosen.processes * self.chosen.threads > self.machine.cores:
            msg = f"{self.chosen} is more than {self.machine.cores} cores."
            raise ValueError(msg)


_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def candidates(cores: int) -> list[Shape]:
    """The shapes to measure, those first that are likely the best.

    >>> [str(shape) for shape in candidates(4)]
    ['4x1', '2x2', '1x4', '2x1', '1x2']
    """
    shapes = []
    for used in (cores, cores // 2):
        powers = {1 << exponent for exponent in range(used.bit_length()) if 1 << exponent <= used}
        shapes += [Shape(processes, used // processes) for processes in sorted(powers | {used} - {0}, reverse=True)]
    return list(dict.fromkeys(shapes))


def choose(measured: Sequence[Measured]) -> Shape:
    """The shape with the most plays a second. Raises: NotMeasured."""
    figures = {each.shape: each.plays_per_s for each in measured if each.plays_per_s is not None}
    if not figures:
        raise NotMeasured(next((each.reason for each in measured if each.reason), "Nothing was measured."))
    least = (1 - TIE) * max(figures.values())
    near = [shape for shape, plays_per_s in figures.items() if plays_per_s >= least]
    return max(near, key=lambda shape: (shape.threads == 1, shape.processes, figures[shape]))


def load() -> float:
    """The share in use as soon as it is low enough, or what it was last."""
    for _ in range(N_LOOKS):
        used = float(psutil.cpu_percent(interval=LOOK_S)) / 100
        if used <= BUSY:
            break
    return used


def planned(
    folder: Path,
    machine: Machine,
    *,
    measure: Measure = measure,
    load: Load = load,
    is_fresh: bool = False,
) -> Plan:
    """The folder's plan for this machine, measured first where there is none or a fresh one is asked for.

    A fresh one is measured however busy the machine is. Raises: NotMeasured.
    """
    if machine.cores == 1:
        return Plan(machine=machine, measured=(), chosen=Shape(1, 1))
    with _alone(folder):  # a second worker waits, and finds the plan
        kept = None if is_fresh else _kept(folder, machine)
        if kept is not None:
            return kept
        if not is_fresh and (used := load()) > BUSY:
            raise NotMeasured(f"Other programs use {used:.0%} of the machine.")
        try:
            measured = tuple(measure(candidates(machine.cores)))
        except OSError as error:
            raise NotMeasured(f"No process could be started: {error.strerror}.") from error
        plan = Plan(machine=machine, measured=measured, chosen=choose(measured))
        _keep(folder, plan)
        return plan


def shape_for(folder: Path, machine: Machine, *, measure: Measure = measure, load: Load = load) -> Shape:
    """The plan's shape, or one process a core where nothing can be measured."""
    try:
        plan = planned(folder, machine, measure=measure, load=load)
    except NotMeasured as error:
        _log.warning("One process a core, for nothing was measured: %s", error)
        return Shape(machine.cores, 1)
    figures = ", ".join(f"{each.shape} {_figure(each)}" for each in plan.measured) or "one core, nothing to measure"
    _log.info("Plan: %s (processes x threads), by plays a second: %s", plan.chosen, figures)
    return plan.chosen


def _figure(measured: Measured) -> str:
    return "left out" if measured.plays_per_s is None else f"{measured.plays_per_s:,.0f}"


# The file


def path_in(folder: Path) -> Path:
    """Where the plan is kept."""
    return folder / "plan.json"


def _kept(folder: Path, machine: Machine) -> Plan | None:
    """The stored plan; None where there is none, it is damaged, or it was measured elsewhere."""
    try:
        plan = _PLAN.validate_json(path_in(folder).read_bytes())
    except (OSError, ValueError):
        return None
    return plan if plan.machine == machine else None


def _keep(folder: Path, plan: Plan) -> None:
    path = path_in(folder)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written.write_bytes(_PLAN.dump_json(plan, indent=2) + b"\n")
        written.replace(path)
    except OSError as error:
        _log.warning("The plan could not be kept and will be measured again: %s: %s", error.strerror, folder)
        with suppress(OSError):
            written.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, where it can be had: two that measure at once would measure each other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "plan.lock").open("ab")
    except OSError:
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# The command


def told(plan: Plan, *, slots: int | None) -> str:
    """The plan as a table; `slots` is what the settings have workers take instead."""
    machine = plan.machine
    lines = [
        f"{machine.cpu or 'A processor without a name'}, {machine.cores} core(s), Python {machine.python}, "
        f"Numba {machine.numba or '-'}, Segue {machine.segue or '-'}, trainer {machine.trainer}",
        f"{'processes':>9}  {'threads':>7}  {'plays/s':>12}",
    ]
    for each in plan.measured:
        note = "  chosen" if each.shape == plan.chosen else f"  {each.reason}" if each.reason else ""
        lines.append(f"{each.shape.processes:>9}  {each.shape.threads:>7}  {_figure(each):>12}{note}")
    if not plan.measured:
        lines.append(f"{1:>9}  {1:>7}  {'-':>12}  chosen: one core leaves no choice")
    if slots is not None:
        lines.append(f"SEGUE_WORKER_SLOTS is {slots}: workers take that instead.")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Show the plan for this machine, measured first if need be; gives the exit code."""
    parser = argparse.ArgumentParser(prog="segue plan")
    parser.add_argument("--fresh", action="store_true", help="Measure again, however busy the machine is.")
    given = parser.parse_args()
    settings = settings_of_environment()
    try:
        plan = planned(settings.data_dir, this_machine(), is_fresh=given.fresh)
    except NotMeasured as error:
        sys.stderr.write(f"Nothing was measured: {error}\n")
        return 1
    sys.stdout.write(told(plan, slots=settings.worker_slots))
    return 0


if __name__ == "__main__":
    sys.exit(main())
