"""What a child is asked to do for what the worker holds."""

from pathlib import Path
from typing import cast

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.lease import Claim
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.trial import Method, Trial, TrialRole, TrialState
from app.services.trials import TrialService, TrialWork
from tests.values import NOON, study_spec
from worker.messages import TrialRequest
from worker.queues import Allowance, HeldTrial
from worker.verified import VerifiedArtifacts

ALLOWANCE = Allowance(threads=4, memory_bytes=None, timeout_s=60, duckdb_memory_limit="1GB", duckdb_threads=1)


def asked(store: FolderArtifactStore, *, role: TrialRole, trainer: Trainer) -> TrialRequest:
    """The request for a trial of a study with this trainer."""
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
        spec=study_spec("dat_1", trainer=trainer),
        dataset_files="dat_1-1",
        vectors=None,
    )
    held = HeldTrial(work, cast("TrialService", None), ALLOWANCE, VerifiedArtifacts(store))
    return held.request(staged=Path(), scratch=Path())


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
