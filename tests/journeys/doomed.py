"""`python -m tests.journeys.doomed worker` or `… app.cli serve …`: Segue's own programs with a fate.

They die of SIGKILL at a named point, or live by a clock that jumps. Production code has no hooks for it: what a death
comes before or after is wrapped here, from the outside. The points:

    commit    a unit of work that writes is committed         (worker, server)
    claim     a trial is looked for; `after`: and was found   (worker)
    spawn     a runner is asked to fork                       (worker)
    publish   files take their final name                     (worker)
    report    a trial's result is reported                    (worker)
    fork      the runner forks                                (runner: `below`)
    child     a piece of work is done                         (child: `below`)
"""

import functools
import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.loading import loading

with loading():
    from app.adapters.artifacts import FolderArtifactStore
    from app.adapters.sql.unit_of_work import SqlUnitOfWork
    from app.bootstrap import Container
    from app.services.trials import TrialService
    from worker.runner import COMMAND, Runner

VARIABLE = "SEGUE_TEST_FATE"

WORK = "tests.journeys.doomed_work"
"""What the runners of a doomed worker do their work by."""


@dataclass(frozen=True)
class Death:
    """At the `n`-th pass of a point, counted from 1; `point` is `commit.before`, say.

    `by`: another signal than that of death, such as SIGSTOP.
    """

    point: str
    n: int
    by: int = signal.SIGKILL


@dataclass(frozen=True)
class Fate:
    """What becomes of a program. `below` befalls the first runner of a worker, or a child of it.

    `notes`: a file that gets a line of JSON for each death and each result whose report was acknowledged. `clock`: a
    file with the seconds by which the database's clock is off. `worker_id`: the worker's name, rather than a new one.
    """

    own: Death | None = None
    below: Death | None = None
    notes: Path | None = None
    clock: Path | None = None
    worker_id: str | None = None

    def variables(self) -> dict[str, str]:
        """As a program is told."""
        return {VARIABLE: json.dumps(asdict(self), default=str)}

    @classmethod
    def told(cls, text: str) -> "Fate":
        """As a program was told."""
        given = json.loads(text)
        own, below = (None if given[name] is None else Death(**given[name]) for name in ("own", "below"))
        notes, clock = (None if given[name] is None else Path(given[name]) for name in ("notes", "clock"))
        return cls(own=own, below=below, notes=notes, clock=clock, worker_id=given["worker_id"])


class JumpingClock:
    """This machine's clock, off by as many seconds as a file says at the moment."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        """The instant that it shows."""
        return datetime.now(UTC) + timedelta(seconds=float(self._file.read_text(encoding="ascii")))


class Passes:
    """Counts how often each point is passed, and dies there when its time has come."""

    def __init__(self, death: Death | None, notes: Path | None) -> None:
        self._death = death
        self._notes = notes
        self._n = 0
        self._lock = threading.Lock()

    def at(self, point: str) -> None:
        """Pass a point."""
        if self._death is None or point != self._death.point:
            return
        with self._lock:
            self._n += 1
            if self._n == self._death.n:
                die(point, self._notes, by=self._death.by)

    def wrap(self, owner: type, method: str, name: str, *, is_passed: Callable[[Any], bool] = lambda _: True) -> None:
        """Pass points before and after a method, and after it only when it gave what counts."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the method takes and gives
            self.at(f"{name}.before")
            given = original(*arguments, **named)
            if is_passed(given):
                self.at(f"{name}.after")
            return given

        setattr(owner, method, wrapped)


def die(point: str, notes: Path | None, *, by: int = signal.SIGKILL) -> None:
    """Note it and be killed."""
    note(notes, {"died": point, "pid": os.getpid()})
    os.kill(os.getpid(), by)


def note(notes: Path | None, words: Mapping[str, object]) -> None:
    """Add one line in one write: what is noted is there even if the program dies right after."""
    if notes is not None:
        descriptor = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(words).encode() + b"\n")
        os.close(descriptor)


def main() -> None:
    """Run the program that the arguments name, as the environment tells."""
    fate = Fate.told(os.environ[VARIABLE])
    passes = Passes(fate.own, fate.notes)
    passes.wrap(SqlUnitOfWork, "commit", "commit")
    if sys.argv[1] == "worker":
        _run_worker(fate, passes)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _run_worker(fate: Fate, passes: Passes) -> None:
    with loading():
        from worker import main as program

    _note_acknowledged(fate.notes)
    passes.wrap(TrialService, "complete", "report")
    passes.wrap(TrialService, "claim", "claim", is_passed=lambda work: work is not None)
    passes.wrap(FolderArtifactStore, "publish", "publish")
    passes.wrap(Runner, "begin", "spawn")
    below = [fate.below] if fate.below is not None else []

    def new_runner(environment: Mapping[str, str]) -> Runner:
        if not below:
            return Runner(environment)
        death = below.pop()
        return Runner(environment, command=(*COMMAND, WORK, death.point, str(death.n), str(fate.notes)))

    names = vars(program)
    names["Runner"] = new_runner
    if fate.clock is not None:
        names["Container"] = functools.partial(Container, clock=JumpingClock(fate.clock))
    if fate.worker_id is not None:
        names["new_worker_id"] = lambda: fate.worker_id
    sys.exit(program.main())


def _note_acknowledged(notes: Path | None) -> None:
    original = TrialService.complete

    @functools.wraps(original)
    def complete(self: TrialService, claim: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method's
        trial = original(self, claim, *given, **named)
        note(notes, {"reported": trial.id, "attempt": claim.attempt, "objective": trial.objective, "pid": os.getpid()})
        return trial

    setattr(TrialService, "complete", complete)  # noqa: B010 - the type checker knows the method as it is


if __name__ == "__main__":
    main()
