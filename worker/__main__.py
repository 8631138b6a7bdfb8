"""`python -m worker`: claim work and do it, until SIGTERM or SIGINT."""

import importlib
import logging
import os
import queue
import signal
import sys
import threading

from app import config, log
from app.bootstrap import Container, build
from worker.environment import child_environment
from worker.loop import Reaper, Slot, Worker, new_worker_id
from worker.queues import Allowance, DatasetQueue, ModelQueue, Queue, TrialQueue
from worker.runner import Runner
from worker.stopping import Stopping
from worker.verified import VerifiedArtifacts

_log = logging.getLogger("worker")


def n_cores() -> int:
    """Cores that this worker may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def allowance(settings: config.Settings, *, n_slots: int) -> Allowance:
    """What one piece of work may use when all slots are busy."""
    cores = n_cores()
    return Allowance(
        threads=max(1, cores // n_slots),
        memory_bytes=settings.child_memory_bytes,
        timeout_s=settings.trial_timeout_s,
        duckdb_memory_limit=settings.duckdb_memory_limit,
        duckdb_threads=settings.duckdb_threads or max(1, cores // n_slots),
    )


def assemble(container: Container, *, worker_id: str, asked: "queue.SimpleQueue[int]") -> Worker:
    """A worker on the container's services; it stops when `asked` receives a signal's number."""
    settings = container.settings
    stopping = Stopping(grace_s=settings.grace_s)
    n_slots = settings.worker_slots or n_cores()
    allowed = allowance(settings, n_slots=n_slots)
    artifacts = VerifiedArtifacts(container.store)
    queues: list[Queue] = [
        DatasetQueue(container.datasets, allowed),
        ModelQueue(container.models, container.datasets, allowed, artifacts),
        TrialQueue(container.trials, allowed, artifacts),
    ]
    reaper = Reaper(queues, lease_s=settings.lease_s)
    environment = child_environment(os.environ)
    slots = [
        Slot(
            worker_id,
            queues=queues,
            reaper=reaper,
            store=container.store,
            signals=container.signals,
            stopping=stopping,
            new_runner=lambda: Runner(environment),
            lease_s=settings.lease_s,
            poll_interval_s=settings.poll_interval_s,
        )
        for _ in range(n_slots)
    ]
    return Worker(slots, signals=container.signals, stopping=stopping, asked=asked)


def main() -> int:
    """Run until asked to stop; gives the exit code."""
    try:
        settings = config.load()
    except config.InvalidSettings as error:
        sys.stderr.write(f"{error}\n")
        return 2
    log.configure(level=settings.log_level, log_format=settings.log_format)
    container = build(settings)
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.put(received))  # the one call that a handler may make safely
    worker_id = new_worker_id()
    n_swept = container.store.sweep()
    if n_swept:
        _log.info("Removed %d folder(s) that dead workers left.", n_swept)
    _log.info("Worker %s is ready.", worker_id)
    threading.Thread(target=_load_suggesters, name="suggesters", daemon=True).start()
    try:
        assemble(container, worker_id=worker_id, asked=asked).run()
    finally:
        container.stop()
    _log.info("Worker %s has stopped.", worker_id)
    return 0


def _load_suggesters() -> None:
    """Have scikit-learn imported, which takes seconds, before the first study asks for a suggestion."""
    importlib.import_module("app.adapters.bayes_opt")


if __name__ == "__main__":
    sys.exit(main())
