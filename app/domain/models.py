"""Models: files that serve, the aliases that make one live, and the record of every move.

building ──► ready
   │  ▲ └──► failed (reason)
   └──┘ lease lapsed, attempt + 1
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from app.domain.gates import GateLimits, GateReport
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
class Latency:
    """How long the model's own searches took when it was built, one at a time on the worker's machine."""

    p50_ms: float
    p99_ms: float
    n_searches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What another model, of other plays, measured on the test pairs of this one's dataset when this one was built."""

    model_id: str
    measurement: Measurement


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
class Promotion:
    """What came of moving the alias once the model was ready: moved to `generation`, or refused by its gates."""

    alias: str
    state: Literal["moved", "refused"]
    generation: int | None
    reports: tuple[GateReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as stored. `alias` is the one it moves to once it is ready, `segment` the member of a bundle.

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
    segment: str | None = None
    override_reason: str | None = None
    """Why the alias moves even where a gate refuses."""
    asked_by: str | None = None
    """The id of the API key that asked for it."""
    neighbours: TableTiming | None = None
    attempt: int = 0
    lease: Lease | None = None
    progress: Progress | None = None
    files: tuple[StoredFile, ...] = ()
    index: IndexFacts | None = None
    latency: Latency | None = None
    rival: Rival | None = None
    gates: GateLimits | None = None
    """What its promotion asks; None: nothing, it was asked for before there were gates."""
    promotion: Promotion | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The models of one alias: one for each segment that has its own, and the one of all others."""

    default: str
    segments: dict[str, str] = field(default_factory=dict)

    def of(self, segment: str | None) -> str:
        """The model of a segment; the default one where it has none of its own.

        >>> Bundle(default="B", segments={"ar": "A"}).of("en")
        'B'
        """
        return self.default if segment is None else self.segments.get(segment, self.default)

    def with_member(self, segment: str | None, model_id: str) -> "Bundle":
        """The same with another model for a segment, or another default."""
        if segment is None:
            return replace(self, default=model_id)
        return replace(self, segments={**self.segments, segment: model_id})

    def models(self) -> list[str]:
        """Every model once, the default first."""
        return list(dict.fromkeys((self.default, *self.segments.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that traffic follows; `generation` counts its moves from 1. `segments` have models of their own."""

    name: str
    model_id: str
    generation: int
    updated_at: datetime
    segments: dict[str, str] = field(default_factory=dict)

    @property
    def bundle(self) -> Bundle:
        """Its models."""
        return Bundle(default=self.model_id, segments=self.segments)


MoveReason = Literal["promotion", "assignment", "rollback", "experiment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One move of an alias, never changed or removed. `override_reason` is why it was made against its gates."""

    alias: str
    generation: int
    model_id: str
    previous_model_id: str | None
    reason: MoveReason
    moved_at: datetime
    segments: dict[str, str] = field(default_factory=dict)
    reports: tuple[GateReport, ...] = ()
    override_reason: str | None = None
    moved_by: str | None = None
    """The API key that asked for it, where there was one."""
    experiment_id: str | None = None
    """The experiment whose decision it is."""


def bundle_before(moves: list[AliasMove]) -> Bundle | None:
    """The models that a rollback goes back to, given every move by generation; None when there are none before.

    Every move but a rollback lays its models on a pile, a rollback takes the top ones off: rolling back twice goes
    back two moves rather than forth again.
    """
    pile: list[Bundle] = []
    for move in sorted(moves, key=lambda move: move.generation):
        if move.reason == "rollback":
            pile.pop()
        else:
            pile.append(Bundle(default=move.model_id, segments=move.segments))
    return pile[-2] if len(pile) > 1 else None
