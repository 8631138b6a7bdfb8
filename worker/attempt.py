"""One piece of work from claim to report.

The child does the work; this side keeps the lease, watches the clock and tells the service how it ended:

    the child told a result        complete          the lease may be lost by then: the result is discarded
    it told a failure, crashed, or
    took too long                  fail
    the study was cancelled        cancelled
    it was pruned                  complete, as the child ends by itself; pruned, where it did not hear of it
    the worker stops, or could not
    renew its lease in time        release           the attempt does not count, if nobody took it over
    the lease was lost             nothing
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum, auto
from pathlib import Path

from app.domain.errors import LostLease, SegueError, StorageFull, Unavailable
from app.domain.lease import STORAGE_FULL, HeartbeatAnswer
from app.domain.ports import ArtifactStore
from worker.failures import failed, failure_of, failure_of_exit, timed_out
from worker.lease import FIRST_RETRY_S, LONGEST_RETRY_S, Pulse
from worker.messages import (
    Advanced,
    Answer,
    DatasetPrepared,
    Ended,
    EpochMeasured,
    Failed,
    ModelBuilt,
    Request,
    Result,
    Started,
    TableBuilt,
    TrialMeasured,
)
from worker.queues import Held
from worker.runner import Runner, RunnerGone
from worker.stopping import Stopping

TICK_S = 0.2
"""How soon a deadline, a cancellation or a stop is noticed."""

LONGEST_WARMING_S = 120.0
"""What a runner that was just started may take for its imports; a child's own time begins when it has started."""

LONGEST_ENDING_S = 5.0
"""What a child that was told of its pruning may take to end by itself."""

TOUCH_EVERY_S = 600.0
"""How often a staged folder is marked as in use, so that it is not swept."""

_log = logging.getLogger(__name__)


class Interrupted(Enum):
    """Why the work was given up without a failure of its own."""

    CANCELLED = auto()
    PRUNED = auto()
    LOST = auto()
    HANDED_BACK = auto()


Ending = Result | Failed | Interrupted


class Attempt:
    """One attempt at what the worker holds."""

    def __init__(self, held: Held, pulse: Pulse, *, store: ArtifactStore, runner: Runner, stopping: Stopping) -> None:
        self._held = held
        self._pulse = pulse
        self._store = store
        self._runner = runner
        self._stopping = stopping
        self._is_disk_full = False
        self._answer = HeartbeatAnswer.CONTINUE
        self._ends_by_itself_until_s = 0.0
        self._name = f"{held.claim.subject} {held.claim.id} (attempt {held.claim.attempt})"

    def carry_out(self) -> bool:
        """Do the work and report it; False when it ended for lack of space, and the next would too."""
        _log.info("Started %s.", self._name)
        began_s = time.monotonic()
        self._pulse.start()
        try:
            with ExitStack() as folders:
                try:
                    staged = folders.enter_context(self._store.stage())
                    scratch = folders.enter_context(self._store.stage())
                    ending = self._work(self._held.request(staged=staged, scratch=scratch), (staged, scratch))
                except Exception as error:  # told to the service, which stores it as the failure's reason
                    _log.warning("The worker cannot go on with %s.", self._name, exc_info=True)
                    staged = Path()
                    ending = failure_of(error)
                self._report(ending, staged)
        finally:
            self._pulse.stop()
        _log.info("Ended %s after %.1f s: %s.", self._name, time.monotonic() - began_s, _told(ending))
        return not self._is_disk_full

    def _work(self, request: Request, folders: tuple[Path, ...]) -> Ending:
        """Run the child until it ends or has to."""
        self._runner.begin(request)
        deadline_s = time.monotonic() + LONGEST_WARMING_S + self._held.timeout_s
        touched_s = time.monotonic()
        while True:
            message = self._runner.listen(TICK_S)
            match message:
                case Started():
                    deadline_s = time.monotonic() + self._held.timeout_s
                case Advanced():
                    self._pulse.note(message.progress)
                case EpochMeasured():
                    self._show(message)
                case DatasetPrepared() | TrialMeasured() | ModelBuilt() | TableBuilt() | Failed():
                    return message
                case Ended() | RunnerGone():
                    return failure_of_exit(
                        self._runner.last_seen(message.exit_code, memory_limit_bytes=request.limits.memory_bytes)
                    )
            interruption = self._interruption(deadline_s)
            if interruption is not None:
                self._runner.kill_child()
                return interruption
            if time.monotonic() > touched_s + TOUCH_EVERY_S:
                touched_s = time.monotonic()
                for folder in folders:
                    os.utime(folder)

    def _show(self, message: EpochMeasured) -> None:
        """Report an epoch and answer the child that waits: it goes on while the service cannot be asked."""
        try:
            answer = self._held.measured(message.measurement, decides=message.decides)
        except (Unavailable, StorageFull) as error:
            _log.warning("An epoch of %s is told later, and it goes on: %s", self._name, error)
            answer = HeartbeatAnswer.CONTINUE
        if answer in {HeartbeatAnswer.CANCEL, HeartbeatAnswer.LOST}:
            self._answer = answer
        elif message.decides:
            if answer is HeartbeatAnswer.PRUNE:
                self._ends_by_itself_until_s = time.monotonic() + LONGEST_ENDING_S
            self._runner.answer(Answer(epoch=message.measurement.epoch, answer=answer))

    def _interruption(self, deadline_s: float) -> Failed | Interrupted | None:
        answers = {self._answer, self._pulse.answer}
        if HeartbeatAnswer.LOST in answers:
            return Interrupted.LOST
        if HeartbeatAnswer.CANCEL in answers:
            return Interrupted.CANCELLED
        if HeartbeatAnswer.PRUNE in answers and time.monotonic() >= self._ends_by_itself_until_s:
            return Interrupted.PRUNED
        if time.monotonic() >= deadline_s:
            return timed_out(self._held.timeout_s)
        if self._pulse.has_lapsed:
            _log.warning("Gave up %s: its lease could not be renewed in time.", self._name)
            return Interrupted.HANDED_BACK
        return Interrupted.HANDED_BACK if self._stopping.is_grace_over else None

    def _report(self, ending: Ending, staged: Path) -> None:
        match ending:
            case Interrupted.LOST:
                return
            case Interrupted.CANCELLED:
                self._deliver(self._held.cancelled)
            case Interrupted.PRUNED:
                self._deliver(self._held.pruned)
            case Interrupted.HANDED_BACK:
                self._deliver(self._held.release)
            case Failed():
                self._fail(ending)
            case _:
                self._complete(ending, staged)

    def _complete(self, result: Result, staged: Path) -> None:
        try:
            self._deliver(lambda: self._held.complete(result, staged), passing_on=StorageFull)
        except Exception as error:  # a result that cannot be stored is a failure of this attempt, told with its reason
            _log.exception("The result of %s cannot be stored.", self._name)
            failure = failure_of(error) if isinstance(error, SegueError) else failed("error", "See the worker's log.")
            self._fail(Failed(failure=failure.failure))

    def _fail(self, ending: Failed) -> None:
        self._is_disk_full = ending.failure.code == STORAGE_FULL
        self._deliver(lambda: self._held.fail(ending.failure, is_final=ending.is_final))

    def _deliver(self, report: Callable[[], None], *, passing_on: type[SegueError] | None = None) -> None:
        """Report until it is heard: while the database is away, the result is kept and offered again."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                report()
            except LostLease as error:
                _log.warning("Discarded %s: %s", self._name, error)
            except (Unavailable, StorageFull) as error:
                if passing_on is not None and isinstance(error, passing_on):
                    raise
                if self._stopping.is_grace_over:
                    _log.warning("Left %s to its lease: the worker stops and the report fails: %s", self._name, error)
                    return
                _log.warning("The report on %s failed and is tried again: %s", self._name, error)
                self._stopping.pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
                continue
            return


def _told(ending: Ending) -> str:
    match ending:
        case Failed():
            return f"{ending.failure.code} ({ending.failure.reason})"
        case Interrupted():
            return ending.name.lower().replace("_", " ")
        case _:
            return "done"
