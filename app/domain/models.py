"""Models: files that serve, the aliases that make one live, and the record of every move.

building ──► ready
   │  ▲ └──► failed (reason)
   └──┘ lease lapsed, attempt + 1
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from app.domain.lease import Failure, Lease, Progress
from app.domain.measurement import Measurement
from app.domain.training import Trainer, TrainingParameters


class ModelState(StrEnum):
    """See the drawing in the module header. A building model without a lease waits for a worker."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


MODEL_MOVES: dict[ModelState, frozenset[ModelState]] = {
    ModelState.BUILDING: frozenset({ModelState.READY, ModelState.FAILED}),
    ModelState.READY: frozenset(),
    ModelState.FAILED: frozenset(),
}


class Fit(StrEnum):
    """Whose vectors serve: the winning trial's own, or a new training on the whole data."""

    TRIAL = "trial"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of an artifact, as its manifest tells it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """How the model's neighbours are found; `recall` is against exact search (1.0 when it is exact)."""

    kind: Literal["flat", "ivf"]
    n_songs: int
    dim: int
    n_neighbours: int
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a model comes from: one unbroken line back to the plays."""

    dataset_id: str
    dataset_name: str
    fingerprint: str
    study_id: str
    study_name: str
    trainer: Trainer
    trial_id: str
    trial_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetrics:
    """What the winning trial measured, and the baselines by name on the same test pairs."""

    validation: Measurement | None
    test: Measurement | None
    baselines: dict[str, Measurement | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as stored. `alias` is the one it moves to once it is ready."""

    id: str
    study_id: str
    trial_id: str
    dataset_id: str
    fit: Fit
    parameters: TrainingParameters
    state: ModelState
    created_at: datetime
    lineage: Lineage
    metrics: ModelMetrics
    alias: str | None = None
    attempt: int = 0
    lease: Lease | None = None
    progress: Progress | None = None
    files: tuple[StoredFile, ...] = ()
    index: IndexFacts | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that traffic follows; `generation` counts its moves from 1."""

    name: str
    model_id: str
    generation: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One move of an alias, never changed or removed."""

    alias: str
    generation: int
    model_id: str
    previous_model_id: str | None
    reason: Literal["promotion", "assignment", "rollback"]
    moved_at: datetime


def model_before(moves: list[AliasMove]) -> str | None:
    """The model that a rollback goes back to, given every move by generation; None when there is none before.

    A promotion or an assignment lays its model on a pile, a rollback takes the top one off: rolling back twice goes
    back two models rather than forth again.
    """
    pile: list[str] = []
    for move in sorted(moves, key=lambda move: move.generation):
        if move.reason == "rollback":
            pile.pop()
        else:
            pile.append(move.model_id)
    return pile[-2] if len(pile) > 1 else None
