"""The worker's end of a runner: give it a request, hear what its child says, kill the child, see how it ended."""

import logging
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from worker.failures import LastSeen
from worker.memory import n_killed_by_system, private_bytes
from worker.messages import Answer, Ended, Message, Ready, Request, Started, read_message, request_line

COMMAND = (sys.executable, "-m", "worker.child")

OUTPUT_BYTES = 4_096
"""How much of the end of what a child writes to standard error is kept."""

LINE_LIMIT_BYTES = 64 << 20
PATIENCE_S = 5.0
"""How long a child that told its result, or a runner that was told to go, may take to leave."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerGone:
    """The runner itself ended; with it, the child."""

    exit_code: int


class Runner:
    """One runner and at most one child at a time. Used by one thread."""

    def __init__(self, environment: Mapping[str, str], *, command: Sequence[str] = COMMAND) -> None:
        self._popen = subprocess.Popen(  # noqa: S603  # our own program
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self._inbox: queue.SimpleQueue[Message | RunnerGone] = queue.SimpleQueue()
        self._output = bytearray()
        self._output_lock = threading.Lock()
        self._child_pid: int | None = None
        self._is_busy = False
        self._memory_bytes = 0
        self._imports_bytes = 0
        self._n_killed_before = 0
        os.set_blocking(_pipe(self._popen.stderr).fileno(), False)
        self._readers = [
            threading.Thread(target=self._hear, name="child-messages", daemon=True),
            threading.Thread(target=self._overhear, name="child-output", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The runner's own."""
        return self._popen.pid

    @property
    def child_pid(self) -> int | None:
        """The present child's, once it has started."""
        return self._child_pid

    @property
    def is_usable(self) -> bool:
        """Whether it can take a request: alive, and the last child gone."""
        return self._popen.poll() is None and self._is_settled()

    def begin(self, request: Request) -> None:
        """Start a child on the request. What goes wrong from now on is heard from `listen`.

        Raises: RuntimeError while the last child is still there.
        """
        if not self._is_settled():
            msg = "The last child has not left."
            raise RuntimeError(msg)
        self._is_busy = True
        self._memory_bytes = 0
        self._n_killed_before = n_killed_by_system()
        self._take_output()
        with self._output_lock:
            self._output.clear()
        with suppress(BrokenPipeError):
            _pipe(self._popen.stdin).write(request_line(request))
            _pipe(self._popen.stdin).flush()

    def answer(self, answer: Answer) -> None:
        """Tell the child whether to go on. One that is gone, or no longer waits, does not mind."""
        if self._child_pid is not None:
            with suppress(BrokenPipeError):
                _pipe(self._popen.stdin).write(request_line(answer))
                _pipe(self._popen.stdin).flush()

    def listen(self, timeout_s: float) -> Message | RunnerGone | None:
        """The next message; None when there is none within the time."""
        self._note_memory()
        try:
            message = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        match message:
            case Started():
                self._child_pid = message.pid
                self._imports_bytes = private_bytes(self.pid)
            case Ended() | RunnerGone():
                self._child_pid = None
                self._is_busy = False
        return message

    def kill_child(self) -> None:
        """End the child at once, and the runner too if the child has not started yet."""
        if self._child_pid is None:
            if self._is_busy:
                self.close()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child_pid, signal.SIGKILL)

    def last_seen(self, exit_code: int, *, memory_limit_bytes: int | None) -> LastSeen:
        """What is known of a child that ended without a word."""
        for reader in self._readers if self._popen.poll() is not None else ():
            reader.join(PATIENCE_S)
        self._take_output()
        with self._output_lock:
            output = self._output.decode("utf-8", errors="replace")
        return LastSeen(
            exit_code=exit_code,
            output=output,
            memory_bytes=self._memory_bytes,
            memory_limit_bytes=memory_limit_bytes,
            was_killed_by_system=exit_code == -signal.SIGKILL and n_killed_by_system() > self._n_killed_before,
        )

    def close(self) -> None:
        """End the runner and its child."""
        if self._child_pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child_pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            _pipe(self._popen.stdin).close()
        if self._is_busy:
            self._popen.kill()
        try:
            self._popen.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for pipe in (self._popen.stdout, self._popen.stderr):
            _pipe(pipe).close()

    def _is_settled(self) -> bool:
        """Wait a little for a child that has told its result to leave."""
        deadline = time.monotonic() + PATIENCE_S
        while self._is_busy and time.monotonic() < deadline:
            self.listen(deadline - time.monotonic())
        return not self._is_busy

    def _hear(self) -> None:
        stdout = _pipe(self._popen.stdout)
        while line := stdout.readline(LINE_LIMIT_BYTES):
            if not line.strip():
                continue
            try:
                message = read_message(line)
            except ValueError:
                _log.warning("A child said something that is not a message (%d bytes).", len(line))
                continue
            if not isinstance(message, Ready):
                self._inbox.put(message)
        self._inbox.put(RunnerGone(self._popen.wait()))

    def _overhear(self) -> None:
        stderr = _pipe(self._popen.stderr)
        while self._take_output():
            select.select([stderr], [], [])

    def _take_output(self) -> bool:
        """Keep the end of all that can be read now; False once there will never be more."""
        stderr = _pipe(self._popen.stderr)
        with self._output_lock:
            if stderr.closed:
                return False
            with suppress(BlockingIOError):
                while piece := os.read(stderr.fileno(), OUTPUT_BYTES):
                    self._output += piece
                    del self._output[:-OUTPUT_BYTES]
                return False
        return True

    def _note_memory(self) -> None:
        if self._child_pid is not None:
            self._memory_bytes = max(self._memory_bytes, private_bytes(self._child_pid) - self._imports_bytes)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        msg = "The runner was started without pipes."
        raise ValueError(msg)
    return pipe
