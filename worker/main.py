"""A worker: claims work and does it, until SIGTERM or SIGINT."""

import logging
import os
import queue
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType

from app.bootstrap import Container
from app.config import Settings
from app.domain.models import IndexLimits
from app.domain.plays import Play
from worker.chores import Chore
from worker.environment import child_environment
from worker.loop import Reaper, Slot, Worker, new_worker_id
from worker.machine import n_cores, this_machine
from worker.planning import shape_for
from worker.queues import Allowance, DatasetQueue, ModelQueue, Queue, TableQueue, TrialQueue
from worker.runner import Runner
from worker.starting import settings_of_environment
from worker.stopping import Stopping
from worker.sweeping import Sweeper
from worker.throughput import Shape
from worker.verified import VerifiedArtifacts

_log = logging.getLogger("worker")


def shape_of(settings: Settings) -> Shape:
    """Slots, and the threads of each: as set, or as measured on this machine."""
    if settings.worker_slots is None:
        return shape_for(settings.data_dir, this_machine())
    cores = n_cores()
    n_slots = settings.worker_slots or cores
    return Shape(n_slots, max(1, cores // n_slots))


def allowance(settings: Settings, shape: Shape) -> Allowance:
    """What one piece of work may use when all slots are busy."""
    return Allowance(
        threads=shape.threads,
        memory_bytes=settings.child_memory_bytes,
        timeout_s=settings.trial_timeout_s,
        duckdb_memory_limit=settings.duckdb_memory_limit,
        duckdb_threads=settings.duckdb_threads or max(1, n_cores() // shape.processes),
        index=IndexLimits(
            neighbours_kept=settings.neighbours_kept,
            exact_up_to=settings.neighbours_exact_up_to,
            table_up_to=settings.neighbours_after,
            memory_bytes=int(settings.index_memory),
        ),
    )


def assemble(container: Container, *, shape: Shape, worker_id: str, asked: "queue.SimpleQueue[int]") -> Worker:
    """A worker on the container's services; it stops when `asked` receives a signal's number."""
    settings = container.settings
    stopping = Stopping(grace_s=settings.grace_s)
    allowed = allowance(settings, shape)
    artifacts = VerifiedArtifacts(container.store)
    queues: list[Queue] = [
        DatasetQueue(container.datasets, allowed),
        ModelQueue(container.models, container.datasets, allowed, artifacts),
        TrialQueue(container.trials, allowed, artifacts),
        TableQueue(container.tables, allowed, artifacts),
    ]
    reaper = Reaper(
        [
            *queues,
            Sweeper(container.life.sweep),
            Sweeper(container.tables.sweep, removed="%d table(s) of neighbours that no row keeps"),
        ],
        lease_s=settings.lease_s,
        stopping=stopping,
        interval_s=settings.reap_interval_s,
    )
    environment = child_environment(os.environ)
    slots = [
        Slot(
            worker_id,
            queues=queues,
            store=container.store,
            signals=container.signals,
            stopping=stopping,
            new_runner=lambda: Runner(environment),
            lease_s=settings.lease_s,
            poll_interval_s=settings.poll_interval_s,
            heartbeat_interval_s=settings.heartbeat_interval_s,
        )
        for _ in range(shape.processes)
    ]
    chores = [
        Reaper([Chore(do)], lease_s=settings.lease_s, stopping=stopping, interval_s=settings.reap_interval_s)
        for do in (container.retrainings.advance, container.snapshots.refresh)
    ]
    return Worker(slots, reapers=[reaper, *chores], signals=container.signals, stopping=stopping, asked=asked)


class _StoppedEarly(BaseException):
    """A signal to stop came before any work was claimed."""


def main() -> int:
    """Run until asked to stop; gives the exit code."""
    settings = settings_of_environment()
    container = Container(settings, gather=partial(_gathered, memory_limit=settings.duckdb_memory_limit))
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    try:
        _handle_stops(_stop_at_once)  # measuring the machine takes a while
        shape = shape_of(settings)
        _handle_stops(lambda received, _: asked.put(received))  # the one call that a handler may make safely
    except _StoppedEarly:
        _log.info("Asked to stop before there was work.")
        return 0
    worker_id = new_worker_id()
    n_swept = container.store.sweep()
    if n_swept:
        _log.info("Removed %d folder(s) that dead workers left.", n_swept)
    _log.info("Worker %s is ready.", worker_id)
    try:
        assemble(container, shape=shape, worker_id=worker_id, asked=asked).run()
    finally:
        container.stop()
    _log.info("Worker %s has stopped.", worker_id)
    return 0


def _handle_stops(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _stop_at_once(_received: int, _frame: FrameType | None) -> None:
    raise _StoppedEarly


def _gathered(
    source: Path, sent: Iterator[list[Play]], out: Path, erased: Mapping[str, int], *, memory_limit: str
) -> int | None:
    from app.adapters.gathering import gathered  # noqa: PLC0415 - DuckDB is loaded by who retrains alone

    return gathered(source, sent, out, erased=erased, memory_limit=memory_limit)
