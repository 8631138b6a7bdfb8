"""Models: files that serve, the aliases that make one live, and the record of every move.

building ──► ready
   │  ▲ └──► failed (reason)
   └──┘ lease lapsed, attempt + 1
"""

from dataclasses import dataclass, replace
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


class TableTiming(StrEnum):
    """When a model's neighbours are computed: before it is ready, in its own files; after; or never, but searched."""

    NOW = "now"
    AFTER = "after"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of an artifact, as its manifest tells it."""

    name: str
    size_bytes: int
    sha256: str


class Coding(StrEnum):
    """How an inverted file keeps the rows that it looks through: as they are, a byte a dimension, product quantised."""

    FLOAT32 = "float32"
    INT8 = "int8"
    PRODUCT = "product"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexLimits:
    """What a model's index may cost.

    `neighbours_kept` of each song are stored (0: none, every request searches), by comparing all pairs of up to
    `exact_up_to` songs and through the inverted file beyond. They are in the model's own files with up to `table_up_to`
    songs (None: whatever it has); more of them must not keep it from being ready. There is an inverted file with more
    than `flat_up_to` songs: with fewer, a query is compared with all in 0.1 ms. It takes at most `memory_bytes` if any
    coding fits in them.
    """

    neighbours_kept: int = 64
    exact_up_to: int = 200_000
    table_up_to: int | None = None
    flat_up_to: int = 4_096
    memory_bytes: int = 8 * 2**30

    def stored(self, *, n_songs: int) -> int:
        """How many neighbours of each song are in the files of a model of so many songs."""
        is_stored = self.table_up_to is None or n_songs <= self.table_up_to
        return min(self.neighbours_kept, n_songs - 1) if is_stored else 0

    def with_table_up_to(self, n_songs: int | None) -> "IndexLimits":
        """The same for models that store their neighbours with up to so many songs."""
        return replace(self, table_up_to=n_songs)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """How the model's songs are found: every one compared (flat), or through an inverted file (ivf).

    Recalls are shares of the 10 nearest by exact search that were found, measured on a sample when the model was built,
    1.0 where search is exact: `recall` of songs' own queries, `profile_recall` of users' profiles, and
    `neighbour_recall` of the `n_neighbours` stored of each song; None where there are no such queries.
    """

    kind: Literal["flat", "ivf"]
    n_songs: int
    dim: int
    n_neighbours: int
    recall: float
    profile_recall: float | None = None
    neighbour_recall: float | None = None
    coding: Coding = Coding.FLOAT32
    size_bytes: int = 0


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
    """One model as stored. `alias` is the one it moves to once it is ready.

    `neighbours`: when those of its songs are to be computed; None: by their number.
    """

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
    neighbours: TableTiming | None = None
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
