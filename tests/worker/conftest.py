"""A worker's parts on real children, with services that do as a test says."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.errors import LostLease, SegueError
from app.domain.lease import Claim, Failure, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.training import Trainer
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialRole
from tests.worker.stand_in import Act
from worker.environment import child_environment
from worker.messages import Limits, Result, TrialMeasured, TrialRequest
from worker.queues import Held
from worker.runner import Runner

STAND_IN = (sys.executable, "-m", "worker.child", "tests.worker.stand_in")


class Ledger:
    """A service whose database can be away: what it was told, and how it answers."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self.progress: list[Progress] = []
        self.failures: list[tuple[Failure, bool]] = []
        self.answer = HeartbeatAnswer.CONTINUE
        self.epoch_answer = HeartbeatAnswer.CONTINUE
        self.epochs: list[tuple[int, bool]] = []
        self.has_epoch = threading.Event()
        self.trouble: SegueError | None = None
        self.n_refused = 0
        self.is_lost = False
        self.has_progress = threading.Event()

    def heartbeat(self, claim: Claim, progress: Progress | None = None) -> HeartbeatAnswer:
        assert claim.subject == "trial"
        self._reach()
        if progress is not None:
            self.progress.append(progress)
            self.has_progress.set()
        return self.answer

    def fail(self, claim: Claim, failure: Failure, *, is_final: bool) -> None:
        self.note(f"failed {claim.id}")
        self.failures.append((failure, is_final))

    def release(self, claim: Claim) -> None:
        self.note(f"released {claim.id}")

    def note(self, report: str) -> None:
        self._reach()
        if self.is_lost:
            raise LostLease("The lease is somebody else's.")
        self.reports.append(report)

    def measured(self, epoch: int, *, decides: bool) -> HeartbeatAnswer:
        self.epochs.append((epoch, decides))
        self.has_epoch.set()
        if decides:
            self._reach()
        return self.epoch_answer if decides else HeartbeatAnswer.CONTINUE

    def _reach(self) -> None:
        if self.trouble is not None:
            self.n_refused += 1
            raise self.trouble


class HeldAct(Held):
    """A trial that acts as told."""

    def __init__(self, act: Act, ledger: Ledger, *, timeout_s: float = 20.0, memory_bytes: int | None = None) -> None:
        claim = Claim(subject="trial", id=act.name.lower(), attempt=1, worker_id="worker-1")
        super().__init__(claim, ledger, timeout_s=timeout_s)
        self.ledger = ledger
        self.act = act
        self.memory_bytes = memory_bytes
        self.results: list[TrialMeasured] = []
        self.trouble: Exception | None = None

    def request(self, *, staged: Path, scratch: Path) -> TrialRequest:
        assert scratch.is_dir()
        return trial_request(self.act, staged=staged, memory_bytes=self.memory_bytes)

    def complete(self, result: Result, staged: Path) -> None:
        assert isinstance(result, TrialMeasured)
        assert staged.is_dir()
        self.ledger.note(f"completed {self.claim.id}")
        if self.trouble is not None:
            self.ledger.reports.pop()
            raise self.trouble
        self.results.append(result)

    def cancelled(self) -> None:
        self.ledger.note(f"cancelled {self.claim.id}")

    def measured(self, measurement: EpochMeasurement, *, decides: bool) -> HeartbeatAnswer:
        return self.ledger.measured(measurement.epoch, decides=decides)

    def pruned(self) -> None:
        self.ledger.note(f"pruned {self.claim.id}")


def trial_request(act: Act, *, staged: Path = Path(), memory_bytes: int | None = None) -> TrialRequest:
    return TrialRequest(
        limits=Limits(memory_bytes=memory_bytes),
        staged=staged,
        corpus=Path(),
        role=TrialRole.SEARCH,
        method=Method.WORD2VEC,
        parameters=None,
        trainer=Trainer.GENSIM,
        objective=Objective(),
        seed=act,
    )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def store(tmp_path: Path) -> FolderArtifactStore:
    return FolderArtifactStore(tmp_path / "store")


class Runners:
    """Runners whose work is the stand-in. Starting one takes a moment, so tests share one until it is spent."""

    def __init__(self) -> None:
        self.made: list[Runner] = []

    def new(self) -> Runner:
        self.made.append(Runner(child_environment(os.environ), command=STAND_IN))
        return self.made[-1]

    def shared(self) -> Runner:
        if self.made and self.made[-1].is_usable:
            return self.made[-1]
        return self.new()

    def close(self) -> None:
        for runner in self.made:
            runner.close()


@pytest.fixture(scope="session")
def _runners() -> Iterator[Runners]:
    runners = Runners()
    yield runners
    runners.close()


@pytest.fixture
def runner(_runners: Runners) -> Runner:
    """A runner, whose last child is gone."""
    return _runners.shared()


@pytest.fixture
def new_runner() -> Iterator[Callable[[], Runner]]:
    """Makes runners of the test's own, and ends them."""
    runners = Runners()
    yield runners.new
    runners.close()
