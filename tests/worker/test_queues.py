"""What a child is asked to do for what the worker holds."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.datasets import Dataset, DatasetState
from app.domain.errors import DamagedArtifact, Unavailable
from app.domain.lease import Claim, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.models import IndexLimits
from app.domain.neighbour_tables import NeighbourTable, TableFacts, TableState
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState
from app.services.datasets import DatasetService, DatasetWork
from app.services.neighbour_tables import TableService, TableWork
from app.services.trials import TrialService, TrialWork
from tests.values import NOON, dataset_spec, epoch_measured, study_spec
from worker.messages import Sources, TableBuilt, TrialMeasured, TrialRequest, read_request, request_line
from worker.queues import Allowance, HeldDataset, HeldTable, HeldTrial
from worker.verified import VerifiedArtifacts

ALLOWANCE = Allowance(threads=4, memory_bytes=None, timeout_s=60, duckdb_memory_limit="1GB", duckdb_threads=1)


def asked(
    store: FolderArtifactStore, *, role: TrialRole, trainer: Trainer = Trainer.SEGUE, pruning: Pruning | None = None
) -> TrialRequest:
    """The request for a trial of a study with this trainer and rule."""
    return held_trial(store, role=role, trainer=trainer, pruning=pruning).request(staged=Path(), scratch=Path())


def held_trial(
    store: FolderArtifactStore,
    *,
    role: TrialRole = TrialRole.SEARCH,
    trainer: Trainer = Trainer.SEGUE,
    pruning: Pruning | None = None,
    service: "TrialService | Heard | None" = None,
) -> HeldTrial:
    trial = Trial(
        id="trl_1",
        study_id="std_1",
        role=role,
        number=0,
        name="trial-0",
        method=Method.WORD2VEC,
        parameters=TrainingParameters(),
        state=TrialState.RUNNING,
        created_at=NOON,
    )
    work = TrialWork(
        claim=Claim(subject="trial", id=trial.id, attempt=1, worker_id="w"),
        trial=trial,
        spec=study_spec("dat_1", trainer=trainer, pruning=pruning),
        dataset_files="dat_1-1",
        vectors=None,
        trained_as=role,
    )
    return HeldTrial(work, cast("TrialService", service), ALLOWANCE, VerifiedArtifacts(store))


class Heard:
    """A service that remembers the epochs it was told."""

    def __init__(self) -> None:
        self.beats: list[list[int]] = []
        self.asked: list[list[int]] = []
        self.pruned_ones: list[TrialOutcome | None] = []
        self.trouble: Unavailable | None = None

    def heartbeat(
        self, _claim: Claim, _progress: Progress | None = None, *, epochs: tuple[EpochMeasurement, ...] = ()
    ) -> HeartbeatAnswer:
        self.beats.append([told.epoch for told in epochs])
        return HeartbeatAnswer.CONTINUE

    def measured(self, _claim: Claim, epochs: tuple[EpochMeasurement, ...]) -> HeartbeatAnswer:
        if self.trouble is not None:
            raise self.trouble
        self.asked.append([told.epoch for told in epochs])
        return HeartbeatAnswer.PRUNE

    def pruned(self, _claim: Claim, outcome: TrialOutcome | None) -> None:
        self.pruned_ones.append(outcome)


@pytest.fixture(autouse=True)
def _dataset(store: FolderArtifactStore) -> None:
    with store.stage() as staged:
        (staged / "plays.npy").write_bytes(b"plays")
        store.publish(staged, "datasets", "dat_1-1")


@pytest.mark.parametrize("trainer", Trainer)
def test_a_trial_is_trained_by_its_studys_trainer_and_a_baseline_by_gensim(
    store: FolderArtifactStore, trainer: Trainer
) -> None:
    assert asked(store, role=TrialRole.SEARCH, trainer=trainer).trainer is trainer
    assert asked(store, role=TrialRole.BASELINE, trainer=trainer).trainer is Trainer.GENSIM


def test_a_trial_has_the_threads_of_its_study_however_many_are_free(store: FolderArtifactStore) -> None:
    assert asked(store, role=TrialRole.SEARCH, trainer=Trainer.GENSIM).limits.threads == 1


def test_a_trial_of_the_search_decides_as_its_study_says_and_a_baseline_never_does(store: FolderArtifactStore) -> None:
    rule = Pruning(rule="median")
    assert asked(store, role=TrialRole.SEARCH, pruning=rule).decides_after == (1, 2)
    assert asked(store, role=TrialRole.BASELINE, pruning=rule).decides_after == ()
    assert asked(store, role=TrialRole.SEARCH).decides_after == ()


def test_epochs_are_told_once_with_the_next_heartbeat_or_at_once_where_they_decide(store: FolderArtifactStore) -> None:
    service = Heard()
    held = held_trial(store, service=service)
    assert held.measured(epoch_measured(1, 0.1), decides=False) is HeartbeatAnswer.CONTINUE
    held.heartbeat(None)
    held.heartbeat(None)
    assert held.measured(epoch_measured(2, 0.2), decides=True) is HeartbeatAnswer.PRUNE
    held.heartbeat(None)
    assert service.beats == [[1], [], []]
    assert service.asked == [[1, 2]]


def test_an_epoch_that_could_not_be_told_is_told_with_the_next_heartbeat(store: FolderArtifactStore) -> None:
    service = Heard()
    service.trouble = Unavailable("away")
    held = held_trial(store, service=service)
    with pytest.raises(Unavailable):
        held.measured(epoch_measured(1, 0.1), decides=True)
    held.heartbeat(None)
    assert service.beats == [[1]]


def test_a_trial_that_ended_early_is_reported_as_pruned(store: FolderArtifactStore) -> None:
    service = Heard()
    held = held_trial(store, service=service)
    told = TrialOutcome(validation=None, epochs=(epoch_measured(1, 0.1),))
    held.complete(TrialMeasured(outcome=told, has_vectors=False, was_pruned=True), Path())
    held.pruned()
    assert service.pruned_ones == [told, None]


class Told:
    """A service of tables that remembers what was completed."""

    def __init__(self) -> None:
        self.completed: list[tuple[Claim, Path, TableFacts]] = []

    def complete(self, claim: Claim, *, staged: Path, facts: TableFacts) -> None:
        self.completed.append((claim, staged, facts))


def test_a_table_is_built_of_its_models_verified_files_and_reported(store: FolderArtifactStore, tmp_path: Path) -> None:
    with store.stage() as staged:
        (staged / "vectors.npy").write_bytes(b"vectors")
        store.publish(staged, "models", "mdl_1-2")
    table = NeighbourTable(
        id="nbt_1", model_id="mdl_1", n_neighbours=8, state=TableState.BUILDING, created_at=NOON, attempt=1
    )
    claim = Claim(subject="table", id=table.id, attempt=1, worker_id="w")
    service = Told()
    work = TableWork(claim=claim, table=table, model_files="mdl_1-2")
    held = HeldTable(work, cast("TableService", service), ALLOWANCE, VerifiedArtifacts(store))

    request = held.request(staged=tmp_path, scratch=tmp_path)
    assert (request.model_id, request.n_neighbours, request.index) == ("mdl_1", 8, IndexLimits())
    assert (request.model_folder / "vectors.npy").read_bytes() == b"vectors"
    assert request.limits.threads == ALLOWANCE.threads
    facts = TableFacts(n_songs=9, n_neighbours=8, recall=1.0)
    held.complete(TableBuilt(facts=facts), tmp_path)
    assert service.completed == [(claim, tmp_path, facts)]
    (request.model_folder / "vectors.npy").write_bytes(b"vectorz")
    with pytest.raises(DamagedArtifact):
        held.request(staged=tmp_path, scratch=tmp_path)


def test_a_dataset_is_prepared_without_who_was_erased_by_then() -> None:
    dataset = Dataset(id="dat_1", spec=dataset_spec(), state=DatasetState.PREPARING, created_at=NOON)
    work = DatasetWork(
        claim=Claim(subject="dataset", id=dataset.id, attempt=1, worker_id="w"),
        dataset=dataset,
        plays=Path("plays.csv"),
        songs=None,
    )
    service = cast("DatasetService", SimpleNamespace(erased=lambda: {"u": 5}))

    request = HeldDataset(work, service, ALLOWANCE).request(staged=Path(), scratch=Path())

    assert request.sources == Sources(plays=Path("plays.csv"), songs=None, memory_limit="1GB", erased={"u": 5})
    assert read_request(request_line(request)) == request
