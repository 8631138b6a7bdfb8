"""A worker: slots that each claim, run and report one piece of work at a time until the worker is asked to stop.

Slots run side by side: while one measures a trial, another trains the next, so neither waits for the other.
"""

import logging
import os
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from app.domain.errors import SegueError, Unavailable
from app.domain.ports import ArtifactStore, Signals
from worker.attempt import Attempt
from worker.lease import FIRST_RETRY_S, LONGEST_RETRY_S, Pulse
from worker.queues import Held, Queue
from worker.runner import Runner
from worker.stopping import Stopping

LONGEST_BETWEEN_REAPS_S = 5.0

FULL_DISK_PAUSE_S = 5.0
"""How long a slot waits for space after a piece of work ended for lack of it."""

LAST_LOOK_S = 2.0
"""How long a worker that stops waits for the look for dead ones: one that hangs in the database is left to itself."""

TURN_S = 0.2
"""How soon the end of the last slot is noticed."""

_log = logging.getLogger(__name__)


def new_worker_id() -> str:
    """Host, process number and something random: no two workers ever share one."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


class Reapable(Protocol):
    """What can be left behind by dead workers."""

    def reap(self) -> int:
        """Take it back; how many pieces of work that were."""
        ...


class Reaper:
    """Takes back, now and then, what dead workers held. `run` is a thread's whole life, busy slots or not.

    The first look only shows who holds what: see `app.adapters.lease_watch`.
    """

    def __init__(
        self, queues: Sequence[Reapable], *, lease_s: float, stopping: Stopping, interval_s: float | None = None
    ) -> None:
        self._queues = queues
        self._stopping = stopping
        self._interval_s = interval_s or min(lease_s / 2, LONGEST_BETWEEN_REAPS_S)

    def run(self) -> None:
        """Look until the worker is asked to stop."""
        while not self._stopping.is_asked:
            for source in self._queues:
                self._reap(source)
            self._stopping.wait(self._interval_s)

    def _reap(self, source: Reapable) -> None:
        try:
            n_reaped = source.reap()
        except SegueError as error:
            _log.warning("Looking for dead workers failed; trying again in %.1f s: %s", self._interval_s, error)
        except Exception:
            _log.exception("Looking for dead workers failed; trying again in %.1f s.", self._interval_s)
        else:
            if n_reaped:
                _log.warning("Took back %d piece(s) of work from workers that stopped reporting.", n_reaped)


class Slot:
    """One piece of work at a time, with a runner of its own. `run` is a thread's whole life."""

    def __init__(
        self,
        worker_id: str,
        *,
        queues: Sequence[Queue],
        store: ArtifactStore,
        signals: Signals,
        stopping: Stopping,
        new_runner: Callable[[], Runner],
        lease_s: float,
        poll_interval_s: float,
        heartbeat_interval_s: float | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._queues = queues
        self._store = store
        self._signals = signals
        self._stopping = stopping
        self._new_runner = new_runner
        self._lease_s = lease_s
        self._heartbeat_interval_s = heartbeat_interval_s
        self._poll_interval_s = poll_interval_s
        self._runner: Runner | None = None

    def run(self) -> None:
        """Work until the worker is asked to stop. Whatever fails, the slot goes on, less and less often."""
        pause_s = FIRST_RETRY_S
        try:
            while not self._stopping.is_asked:
                try:
                    has_worked = self._turn()
                except Unavailable as error:
                    _log.warning("The database is away; trying again in %.1f s: %s", pause_s, error)
                except Exception:
                    _log.exception("A slot failed; going on in %.1f s.", pause_s)
                else:
                    pause_s = FIRST_RETRY_S
                    if not has_worked and not self._stopping.is_asked:
                        self._signals.wait(self._poll_interval_s)
                    continue
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
        finally:
            if self._runner is not None:
                self._runner.close()

    def _turn(self) -> bool:
        """Claim one piece of work and see it through; whether there was one."""
        if self._runner is None:
            self._runner = self._new_runner()
        claimed_at_s = time.monotonic()
        held = self._claim()
        runner = self._warm_runner()  # after the claim: meanwhile the last child leaves
        if held is None:
            return False
        pulse = Pulse(
            held.heartbeat,
            lease_s=self._lease_s,
            claimed_at_s=claimed_at_s,
            interval_s=self._heartbeat_interval_s,
        )
        attempt = Attempt(held, pulse, store=self._store, runner=runner, stopping=self._stopping)
        if not attempt.carry_out():
            self._stopping.wait(FULL_DISK_PAUSE_S)
        return True

    def _claim(self) -> Held | None:
        """Under a name that no other claim has: a late word about one never counts for another."""
        name = f"{self._worker_id}-{secrets.token_hex(4)}"
        for source in self._queues:
            try:
                held = source.claim(name)
            except Unavailable:
                raise
            except SegueError as error:
                _log.warning("A claim failed: %s", error)
                continue
            if held is not None:
                return held
        return None

    def _warm_runner(self) -> Runner:
        if self._runner is not None and not self._runner.is_usable:
            self._runner.close()
            self._runner = None
        if self._runner is None:
            self._runner = self._new_runner()
        return self._runner


class Worker:
    """The slots and the reapers, and their threads: what takes long has a reaper of its own.

    `asked` receives a signal's number each time the worker is asked to stop.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        reapers: Sequence[Reaper],
        signals: Signals,
        stopping: Stopping,
        asked: "queue.SimpleQueue[int]",
    ) -> None:
        self._slots = slots
        self._reapers = list(reapers)
        self._signals = signals
        self._stopping = stopping
        self._asked = asked

    def run(self) -> None:
        """Work until asked to stop, then until the running work has ended or was handed back."""
        threads = [threading.Thread(target=slot.run, name=f"slot-{number}") for number, slot in enumerate(self._slots)]
        reaping = [threading.Thread(target=reaper.run, name="reaper", daemon=True) for reaper in self._reapers]
        for thread in (*threads, *reaping):
            thread.start()
        while any(thread.is_alive() for thread in threads):
            with suppress(queue.Empty):
                number = self._asked.get(timeout=TURN_S)
                _log.info("Asked to stop by %s.", signal.Signals(number).name)
                self._stopping.ask()
                self._signals.wake()
        for thread in reaping:
            thread.join(LAST_LOOK_S)
