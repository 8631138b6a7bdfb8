"""What a worker may claim, in the order in which it looks: datasets, models, trials, then tables of neighbours.

Each claim becomes `Held`: the same few questions whatever is held, so that one loop runs all four.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from app.domain.lease import Claim, Failure, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.models import Fit, IndexLimits
from app.domain.neighbour_tables import limits_for
from app.domain.tuning.trial import TrialRole, trained_by
from app.services.artifacts import MODELS
from app.services.datasets import DatasetService, DatasetWork
from app.services.leasing import artifact_name
from app.services.models import ModelService, ModelWork
from app.services.neighbour_tables import TableService, TableWork
from app.services.trials import TrialService, TrialWork
from worker.messages import (
    DatasetPrepared,
    DatasetRequest,
    Limits,
    ModelBuilt,
    ModelRequest,
    Request,
    Result,
    Sources,
    TableBuilt,
    TableRequest,
    TrialMeasured,
    TrialRequest,
)
from worker.verified import VerifiedArtifacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one piece of work may use; a study says how many threads and how long its trials may have."""

    threads: int
    memory_bytes: int | None
    timeout_s: float
    duckdb_memory_limit: str
    duckdb_threads: int
    index: IndexLimits = field(default_factory=IndexLimits)

    def limits(self, threads: int) -> Limits:
        """As a child is told."""
        return Limits(threads=threads, memory_bytes=self.memory_bytes)

    def preparing(self) -> Limits:
        """What a child that runs DuckDB may use."""
        return self.limits(self.duckdb_threads)


class Reports(Protocol):
    """What every service takes from a worker that holds something of it."""

    def heartbeat(self, claim: Claim, progress: Progress | None = None) -> HeartbeatAnswer:
        """The worker is alive."""
        ...

    def fail(self, claim: Claim, failure: Failure, *, is_final: bool) -> object:
        """The attempt failed. Raises: LostLease."""
        ...

    def release(self, claim: Claim) -> None:
        """The attempt is handed back. Raises: LostLease."""
        ...


class Held(ABC):
    """Something that the worker holds a lease on."""

    def __init__(self, claim: Claim, reports: Reports, *, timeout_s: float) -> None:
        self.claim = claim
        self.timeout_s = timeout_s
        self._reports = reports

    @abstractmethod
    def request(self, *, staged: Path, scratch: Path) -> Request:
        """What the child is asked. Raises: DamagedArtifact."""

    @abstractmethod
    def complete(self, result: Result, staged: Path) -> None:
        """Report the result. Raises: LostLease, StorageFull."""

    def heartbeat(self, progress: Progress | None) -> HeartbeatAnswer:
        """Report that the work goes on."""
        return self._reports.heartbeat(self.claim, progress)

    def fail(self, failure: Failure, *, is_final: bool) -> None:
        """Report that it failed. Raises: LostLease."""
        self._reports.fail(self.claim, failure, is_final=is_final)

    def release(self) -> None:
        """Hand it back. Raises: LostLease."""
        self._reports.release(self.claim)

    def cancelled(self) -> None:
        """Report that it was stopped as told; only trials and tables are ever told. Raises: LostLease."""
        self.release()

    def measured(self, _measurement: EpochMeasurement, *, decides: bool) -> HeartbeatAnswer:
        """Report an epoch, at once where it decides whether the work goes on; only trials have any."""
        return HeartbeatAnswer.CONTINUE

    def pruned(self) -> None:
        """Report that it was stopped for being pruned; only trials ever are. Raises: LostLease."""
        self.release()


class Queue(Protocol):
    """Something to claim from."""

    def claim(self, worker_id: str) -> Held | None:
        """The next piece of work, now leased; None when there is none."""
        ...

    def reap(self) -> int:
        """Take back what dead workers held."""
        ...


class HeldDataset(Held):
    """A dataset to prepare."""

    def __init__(self, work: DatasetWork, service: DatasetService, allowance: Allowance) -> None:
        super().__init__(work.claim, service, timeout_s=allowance.timeout_s)
        self._work = work
        self._service = service
        self._allowance = allowance

    def request(self, *, staged: Path, scratch: Path) -> DatasetRequest:
        """Compile the dataset."""
        return DatasetRequest(
            limits=self._allowance.preparing(),
            staged=staged,
            dataset=self._work.dataset,
            sources=Sources(
                plays=self._work.plays,
                songs=self._work.songs,
                memory_limit=self._allowance.duckdb_memory_limit,
                erased=self._service.erased(),
            ),
        )

    def complete(self, result: Result, staged: Path) -> None:
        """Report the compiled files."""
        prepared = _expected(result, DatasetPrepared)
        self._service.complete(
            self.claim, staged=staged, statistics=prepared.statistics, fingerprint=prepared.fingerprint
        )


COMPARED_BY_PAIRS = frozenset({TrialRole.SEARCH, TrialRole.BASELINE, TrialRole.CONFIRMATION})
"""Trials of which it is kept what became of each pair."""


class HeldTrial(Held):
    """A trial to run."""

    def __init__(
        self, work: TrialWork, service: TrialService, allowance: Allowance, artifacts: VerifiedArtifacts
    ) -> None:
        timeout_s = work.spec.trial_timeout_s
        super().__init__(work.claim, service, timeout_s=allowance.timeout_s if timeout_s is None else timeout_s)
        self._work = work
        self._service = service
        self._allowance = allowance
        self._artifacts = artifacts
        self._ranks: Path | None = None
        self._epochs: tuple[EpochMeasurement, ...] = ()
        self._n_told = 0

    def request(self, *, staged: Path, scratch: Path) -> TrialRequest:
        """Measure the trial."""
        trial, spec, vectors = self._work.trial, self._work.spec, self._work.vectors
        self._ranks = scratch if trial.role in COMPARED_BY_PAIRS else None
        pruning = spec.pruning if trial.role is TrialRole.SEARCH else None
        n_epochs = 0 if trial.parameters is None else trial.parameters.epochs
        return TrialRequest(
            limits=self._allowance.limits(spec.threads),
            staged=staged,
            corpus=self._artifacts.open("datasets", self._work.dataset_files),
            role=trial.role,
            method=trial.method,
            parameters=trial.parameters,
            trainer=trained_by(self._work.trained_as, spec.trainer),
            objective=spec.objective,
            seed=spec.seed if trial.seed is None else trial.seed,
            sample_fraction=trial.sample_fraction,
            vectors=None if vectors is None else self._artifacts.open("trials", vectors),
            ranks=self._ranks,
            decides_after=() if pruning is None else pruning.decides_after(n_epochs),
        )

    def heartbeat(self, progress: Progress | None) -> HeartbeatAnswer:
        """Report that the work goes on, with the epochs that were not told yet."""
        epochs = self._epochs
        answer = self._service.heartbeat(self.claim, progress, epochs=epochs if len(epochs) > self._n_told else ())
        self._n_told = max(self._n_told, len(epochs))
        return answer

    def measured(self, measurement: EpochMeasurement, *, decides: bool) -> HeartbeatAnswer:
        """Report an epoch: at once where it decides whether the trial goes on, else with the next heartbeat."""
        self._epochs = epochs = (*self._epochs, measurement)
        if not decides:
            return HeartbeatAnswer.CONTINUE
        answer = self._service.measured(self.claim, epochs)
        self._n_told = len(epochs)
        return answer

    def complete(self, result: Result, staged: Path) -> None:
        """Report the outcome."""
        measured = _expected(result, TrialMeasured)
        if measured.was_pruned:
            self._service.pruned(self.claim, measured.outcome)
            return
        self._service.complete(
            self.claim,
            measured.outcome,
            staged=staged if measured.has_vectors else None,
            ranks=self._ranks if measured.outcome.has_ranks else None,
        )

    def cancelled(self) -> None:
        """Report that it was stopped as told."""
        self._service.cancelled(self.claim)

    def pruned(self) -> None:
        """Report that it was stopped for being pruned."""
        self._service.pruned(self.claim, None)


class HeldModel(Held):
    """A model to build."""

    def __init__(
        self,
        work: ModelWork,
        service: ModelService,
        allowance: Allowance,
        *,
        artifacts: VerifiedArtifacts,
        datasets: DatasetService,
    ) -> None:
        super().__init__(work.claim, service, timeout_s=allowance.timeout_s)
        self._work = work
        self._service = service
        self._allowance = allowance
        self._artifacts = artifacts
        self._datasets = datasets

    def request(self, *, staged: Path, scratch: Path) -> ModelRequest:
        """Build the model; a full fit of a sampled dataset compiles the whole of it first."""
        work = self._work
        is_full = work.model.fit is Fit.FULL
        is_sample = work.dataset.spec.preparation.sample_fraction < 1
        return ModelRequest(
            limits=self._allowance.limits(max(self._allowance.threads, work.spec.threads)),
            training_threads=work.spec.threads,
            staged=staged,
            scratch=scratch,
            corpus=self._artifacts.open("datasets", work.dataset_files),
            model=work.model,
            dataset=work.dataset,
            trainer=work.model.lineage.trainer,
            seed=work.spec.seed,
            vectors=None if is_full else self._artifacts.open("trials", work.vectors),
            sources=self._sources() if is_full and is_sample else None,
            scope=work.spec.objective.scope,
            rival=self._rival_files(),
            rival_id=None if work.rival is None else work.rival.id,
            objective=work.spec.objective,
            index=limits_for(work.model.neighbours, self._allowance.index),
        )

    def complete(self, result: Result, staged: Path) -> None:
        """Report the model's files."""
        built = _expected(result, ModelBuilt)
        self._service.complete(self.claim, staged=staged, index=built.index, latency=built.latency, rival=built.rival)

    def _rival_files(self) -> Path | None:
        rival = self._work.rival
        return None if rival is None else self._artifacts.open("models", artifact_name(rival.id, rival.attempt))

    def _sources(self) -> Sources:
        spec = self._work.dataset.spec
        return Sources(
            plays=self._datasets.path(spec.plays),
            songs=None if spec.songs is None else self._datasets.path(spec.songs),
            memory_limit=self._allowance.duckdb_memory_limit,
            erased=self._datasets.erased(),
        )


class HeldTable(Held):
    """A table of neighbours to build. It is handed back, to be begun again, when a model has to wait for it."""

    def __init__(
        self, work: TableWork, service: TableService, allowance: Allowance, artifacts: VerifiedArtifacts
    ) -> None:
        super().__init__(work.claim, service, timeout_s=allowance.timeout_s)
        self._work = work
        self._service = service
        self._allowance = allowance
        self._artifacts = artifacts

    def request(self, *, staged: Path, scratch: Path) -> TableRequest:
        """Build the table."""
        table = self._work.table
        return TableRequest(
            limits=self._allowance.limits(self._allowance.threads),
            staged=staged,
            model_id=table.model_id,
            model_folder=self._artifacts.open(MODELS, self._work.model_files),
            n_neighbours=table.n_neighbours,
            index=self._allowance.index,
        )

    def complete(self, result: Result, staged: Path) -> None:
        """Report the table's files."""
        self._service.complete(self.claim, staged=staged, facts=_expected(result, TableBuilt).facts)


R = TypeVar("R", DatasetPrepared, TrialMeasured, ModelBuilt, TableBuilt)


def _expected(result: Result, kind: type[R]) -> R:
    if not isinstance(result, kind):
        msg = f"The child told {type(result).__name__}, not {kind.__name__}."
        raise TypeError(msg)
    return result


@dataclass(frozen=True, slots=True)
class DatasetQueue:
    """Datasets to prepare."""

    service: DatasetService
    allowance: Allowance

    def claim(self, worker_id: str) -> Held | None:
        """The oldest queued dataset."""
        work = self.service.claim(worker_id)
        return None if work is None else HeldDataset(work, self.service, self.allowance)

    def reap(self) -> int:
        """Take back what dead workers held."""
        return self.service.reap()


@dataclass(frozen=True, slots=True)
class TrialQueue:
    """Trials to run."""

    service: TrialService
    allowance: Allowance
    artifacts: VerifiedArtifacts

    def claim(self, worker_id: str) -> Held | None:
        """A waiting trial, or a new one."""
        work = self.service.claim(worker_id)
        return None if work is None else HeldTrial(work, self.service, self.allowance, self.artifacts)

    def reap(self) -> int:
        """Take back what dead workers held."""
        return self.service.reap()


@dataclass(frozen=True, slots=True)
class ModelQueue:
    """Models to build."""

    service: ModelService
    datasets: DatasetService
    allowance: Allowance
    artifacts: VerifiedArtifacts

    def claim(self, worker_id: str) -> Held | None:
        """The oldest model that waits."""
        work = self.service.claim(worker_id)
        if work is None:
            return None
        return HeldModel(work, self.service, self.allowance, artifacts=self.artifacts, datasets=self.datasets)

    def reap(self) -> int:
        """Take back what dead workers held."""
        return self.service.reap()


@dataclass(frozen=True, slots=True)
class TableQueue:
    """Tables of neighbours to build."""

    service: TableService
    allowance: Allowance
    artifacts: VerifiedArtifacts

    def claim(self, worker_id: str) -> Held | None:
        """The oldest table that waits."""
        work = self.service.claim(worker_id)
        return None if work is None else HeldTable(work, self.service, self.allowance, self.artifacts)

    def reap(self) -> int:
        """Take back what dead workers held."""
        return self.service.reap()
