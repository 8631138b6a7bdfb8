"""The other side of a worker: a runner that is warm, and one child process for each piece of work.

The runner (`python -m worker.child`) does once what takes long, importing and compiling, and then waits for requests on
its standard input. For each it forks: the child has all that already, runs one piece of work under its limits, tells
its result and exits. A child that exhausts memory or crashes takes nothing with it, and as each does one piece of work
there is nothing to renew after so many; a runner that dies is replaced by its slot. A worker that dies closes the
runner's input, and the runner ends its child and itself.

    worker ── request ──► runner ── fork ──► child ◄── answers, on the runner's standard input
       ▲                    │ ready, ended     │ started, advanced, epochs measured, result or failed
       └────────────────────┴──────────────────┘ one pipe

While its child is at work the runner does not read, so what comes in is the child's. An answer that the child did not
wait for is left to the runner, which passes over it.

Forking is safe here because the runner has one thread: what is imported and compiled starts none (`worker.environment`
sees to it, a test counts), and no array is touched.
"""

import ctypes
import importlib
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol, cast

from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.loading import loading
from worker.failures import failure_of
from worker.memory import private_bytes
from worker.messages import (
    Advanced,
    Ended,
    EpochMeasured,
    Message,
    Ready,
    Request,
    Result,
    Show,
    Started,
    Tell,
    message_line,
    read_answer,
    read_request,
)


class Work(Protocol):
    """A module that does the work, as `worker.work` is one."""

    def warm(self) -> None:
        """Have ready what every child inherits."""
        ...

    def warm_for(self, request: Request) -> None:
        """Have ready what this request needs beside, for its child and all later ones."""
        ...

    def perform(self, request: Request, tell: Tell, show: Show) -> Result:
        """Do what the request asks for."""
        ...


WORK = "worker.work"
"""The module that does the work, unless the command line names another."""

TELL_EVERY_S = 0.25

LONGEST_WAIT_S = 60.0
"""How long a child waits to be told whether to go on; then it does."""

_PR_SET_PDEATHSIG = 1


class Outlet:
    """The pipes to the worker and, for answers, from it.

    Progress is told at most every TELL_EVERY_S seconds, a new phase at once.
    """

    def __init__(self, descriptor: int, *, answers: int) -> None:
        self._descriptor = descriptor
        self._answers = answers
        self._lock = threading.Lock()
        self._phase = ""
        self._next_tell = 0.0

    def send(self, message: Message) -> None:
        """Write one line; begins a new one, should a killed child have left half of one."""
        line = message_line(message)
        with self._lock:
            self._write(b"\n" + line if isinstance(message, Ended) else line)

    def tell(self, progress: Progress) -> None:
        """Tell how far the work is."""
        now = time.monotonic()
        if progress.phase != self._phase or now >= self._next_tell:
            self._phase = progress.phase
            self._next_tell = now + TELL_EVERY_S
            self.send(Advanced(progress=progress))

    def show(self, measurement: EpochMeasurement, *, decides: bool) -> HeartbeatAnswer:
        """Show an epoch; wait for the answer where it decides."""
        self.send(EpochMeasured(measurement=measurement, decides=decides))
        return self._answer(measurement.epoch) if decides else HeartbeatAnswer.CONTINUE

    def _answer(self, epoch: int) -> HeartbeatAnswer:
        """What the worker says of this epoch. Lines are short and written whole, so none is read in part."""
        deadline_s = time.monotonic() + LONGEST_WAIT_S
        while (remaining_s := deadline_s - time.monotonic()) > 0:
            readable, _, _ = select.select([self._answers], [], [], remaining_s)
            lines = os.read(self._answers, select.PIPE_BUF) if readable else b""
            if not lines:
                break  # the time is over, or the worker is gone
            for line in lines.splitlines():
                answer = read_answer(line)
                if answer is not None and answer.epoch == epoch:
                    return answer.answer
        return HeartbeatAnswer.CONTINUE

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]


def main() -> None:
    """Wait for requests until the worker is gone."""
    outlet = _outlet()
    with loading():
        work = cast("Work", importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else WORK))
        work.warm()
    ended_in, ended_out = os.pipe()
    os.set_blocking(ended_out, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended_out, warn_on_full_buffer=False)
    outlet.send(Ready())
    while line := sys.stdin.buffer.readline():
        if read_answer(line) is not None:
            continue
        with suppress(Exception):  # the child will meet the same and tell it
            work.warm_for(read_request(line))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _become_child()
            outlet.send(Started(pid=os.getpid()))
            _run(line, work, outlet)
            sys.stderr.flush()
            os._exit(0)  # what the result names is on disk; taking all imports apart again would cost 0.3 s
        outlet.send(Ended(exit_code=_attend(pid, ended_in)))


def _outlet() -> Outlet:
    """Standard output as the pipe to the worker; what libraries print goes to standard error."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Outlet(descriptor, answers=sys.stdin.fileno())


def _attend(pid: int, ended_in: int) -> int:
    """Wait for the child's end, its exit code; if the worker goes first, end the child and the runner."""
    waiting = select.poll()
    waiting.register(ended_in, select.POLLIN)
    waiting.register(sys.stdin.fileno(), 0)  # only that the other end hung up
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        for descriptor, _ in waiting.poll():
            if descriptor == ended_in:
                os.read(ended_in, 512)
            else:
                _leave_with(pid)


def _leave_with(pid: int) -> NoReturn:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _become_child() -> None:
    """A process group of its own, dead when the runner is, and the first to go when the machine lacks memory."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    if sys.platform == "linux":
        runner = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != runner:
            os._exit(1)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def _run(line: bytes, work: Work, outlet: Outlet) -> None:
    """Do what the request asks, and tell the result or why there is none."""
    try:
        request = read_request(line)
        if request.limits.memory_bytes is not None:
            _limit_memory(request.limits.memory_bytes)
        outlet.send(work.perform(request, outlet.tell, outlet.show))
    except Exception as error:  # told to the worker, which stores it as the failure's reason
        traceback.print_exc()
        outlet.send(failure_of(error))


def _limit_memory(memory_bytes: int) -> None:
    """Private writable memory beside that of the imports (RLIMIT_DATA); mapped files, as the corpus is, don't count."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = private_bytes(os.getpid()) + memory_bytes
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
