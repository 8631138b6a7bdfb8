"""How many plays a machine trains on in a second, with so many processes of so many threads each.

`measure` asks a process of its own (`worker.rehearsal`), which lives for a few seconds. The best of several rounds
counts, for other programs only ever make training slower.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import TypeAdapter

from worker.environment import child_environment

COMMAND = (sys.executable, "-m", "worker.rehearsal")

LIMIT_S = 45.0
"""The longest that measuring takes, imports and all; the first time on a machine the trainer is compiled, too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """So many processes of so many threads each."""

    processes: int
    threads: int

    def __post_init__(self) -> None:
        if self.processes < 1 or self.threads < 1:
            msg = f"{self.processes} processes of {self.threads} threads are none."
            raise ValueError(msg)

    @classmethod
    def read(cls, text: str) -> "Shape":
        """The shape that is written so. Raises: ValueError."""
        processes, threads = text.split("x")
        return cls(int(processes), int(threads))

    def __str__(self) -> str:
        """As `2x1`."""
        return f"{self.processes}x{self.threads}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Plays that all processes of a shape together train on in a second, or the reason why that is not known."""

    shape: Shape
    plays_per_s: float | None = None
    reason: str | None = None


_MEASURED: TypeAdapter[Measured] = TypeAdapter(Measured)


def measured_line(measured: Measured) -> bytes:
    """A measurement as one line."""
    return _MEASURED.dump_json(measured) + b"\n"


def measure(shapes: Sequence[Shape], *, command: Sequence[str] = COMMAND, limit_s: float = LIMIT_S) -> list[Measured]:
    """Each shape's best figure, in the order given."""
    output, why = _answer([*command, *map(str, shapes)], limit_s=limit_s)
    told = _read(output)
    return [_best([each for each in told if each.shape == shape], shape, why=why) for shape in shapes]


def _answer(command: list[str], *, limit_s: float) -> tuple[bytes, str]:
    """What the command wrote, and why that may not be all."""
    asked = subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(os.environ),
        start_new_session=True,
    )
    try:
        output, errors = asked.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(asked)
        return asked.communicate()[0], f"Measuring took more than {limit_s:g} s."
    except BaseException:
        _end(asked)
        asked.wait()
        raise
    if asked.returncode == 0:
        return output, "There was no time left."
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    return output, f"Measuring ended with code {asked.returncode}. {last}".strip()


def _end(asked: subprocess.Popen[bytes]) -> None:
    """End it and the processes it has forked."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(asked.pid, signal.SIGKILL)


def _read(output: bytes) -> list[Measured]:
    told = []
    for line in output.splitlines():
        try:
            told.append(_MEASURED.validate_json(line))
        except ValueError:
            continue  # what a library prints, or half a line
    return told


def _best(rounds: list[Measured], shape: Shape, *, why: str) -> Measured:
    for each in rounds:
        if each.plays_per_s is None:
            return each
    figures = [each.plays_per_s for each in rounds if each.plays_per_s is not None]
    return Measured(shape=shape, plays_per_s=max(figures)) if figures else Measured(shape=shape, reason=why)
