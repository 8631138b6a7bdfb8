"""Models and aliases: what a client asks for and what it is told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import AliasName, Body, FailureView, Identifier, Parameters, ProgressView, ResourceId, View
from app.api.schemas.datasets import DATASET_ID
from app.api.schemas.gates import EXAMPLE_REPORT, GateReportView, GatesBody, OverrideReason
from app.api.schemas.measurements import MeasurementView, example_measurement
from app.api.schemas.neighbour_tables import EXAMPLE_NEIGHBOURS, NeighboursView
from app.api.schemas.trials import EXAMPLE_PARAMETERS, STUDY_ID, TRIAL_ID, TrainingParametersView
from app.domain.errors import InvalidRequest
from app.domain.models import (
    Alias,
    AliasMove,
    Coding,
    Fit,
    IndexFacts,
    Latency,
    Lineage,
    Model,
    ModelMetrics,
    ModelState,
    MoveReason,
    Promotion,
    Rival,
    StoredFile,
)
from app.domain.neighbour_tables import NeighbourTable, Tabled
from app.domain.training import DEFAULT_TRAINER, Trainer

MODEL_ID = "mdl_0197f3a5b1e87d41b7720c6b3d1a9f54"
OTHER_MODEL_ID = "mdl_0197f3a5c2d07e52a8831d7c4e2b0a65"


class PromotionBody(Body):
    """What becomes of a study's best trial, or of another."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"alias": "production", "fit": "trial", "gates": {"segment_margin": 0.01}}]}
    )

    alias: AliasName = "production"
    segment: Identifier | None = Field(
        default=None, description="The alias's model for this segment alone; by default that of all others."
    )
    gates: GatesBody | None = Field(default=None, description="What it must show; by default as the operator set.")
    override_reason: OverrideReason | None = Field(
        default=None, description="Why the alias moves even where a gate refuses; kept with the move."
    )
    fit: Literal["trial", "full"] = Field(
        default="trial",
        description="Serve the winner's own vectors, or train its hyperparameters on the whole data first.",
    )
    neighbours: Literal["now", "after", "off"] | None = Field(
        default=None,
        description="When each song's neighbours are computed: before the model is ready, which may take hours with "
        "millions of songs; after, while it serves by search; or never. By default `now` for catalogues up to a size "
        "that the operator sets, and `after` beyond.",
    )
    trial_id: ResourceId | None = Field(
        default=None,
        description="A completed trial of the search, such as one of the front; by default the best. The vectors of "
        "others than the best are not kept: they are promoted with `full`.",
    )


class AssignmentBody(Body):
    """Which model an alias points to, and which others some segments have of their own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model_id": MODEL_ID},
                {"default": MODEL_ID, "segments": {"ar": OTHER_MODEL_ID}, "override_reason": "rights withdrawn"},
            ]
        }
    )

    model_id: ResourceId | None = Field(default=None, description="The model; the same as `default`.")
    default: ResourceId | None = Field(default=None, description="The model of every segment without its own.")
    segments: dict[Identifier, ResourceId] = Field(
        default_factory=dict, max_length=200, description="Models by segment; one move changes them all."
    )
    gates: GatesBody | None = Field(default=None, description="What they must show; by default as the operator set.")
    override_reason: OverrideReason | None = Field(
        default=None, description="Why the alias moves even where a gate refuses; kept with the move."
    )

    @property
    def default_id(self) -> str:
        """The model of every segment without its own. Raises: InvalidRequest."""
        given = [each for each in (self.model_id, self.default) if each is not None]
        if len(given) != 1:
            raise InvalidRequest("Give either model_id or default.", pointer="/model_id")
        return given[0]


class LineageView(View):
    """Where a model comes from."""

    dataset_id: str
    dataset_name: str
    fingerprint: str
    study_id: str
    study_name: str
    trainer: Trainer = Field(description="Who trained the vectors.")
    trial_id: str
    trial_number: int

    @classmethod
    def of(cls, lineage: Lineage) -> "LineageView":
        """The view of a lineage."""
        return cls(
            dataset_id=lineage.dataset_id,
            dataset_name=lineage.dataset_name,
            fingerprint=lineage.fingerprint,
            study_id=lineage.study_id,
            study_name=lineage.study_name,
            trainer=lineage.trainer,
            trial_id=lineage.trial_id,
            trial_number=lineage.trial_number,
        )


class ModelMetricsView(View):
    """What the winning trial measured, and the baselines by name on the same test pairs."""

    validation: MeasurementView | None
    test: MeasurementView | None
    baselines: dict[str, MeasurementView | None]

    @classmethod
    def of(cls, metrics: ModelMetrics) -> "ModelMetricsView":
        """The view of metrics."""
        return cls(
            validation=MeasurementView.of(metrics.validation),
            test=MeasurementView.of(metrics.test),
            baselines={name: MeasurementView.of(measured) for name, measured in metrics.baselines.items()},
        )


class FileView(View):
    """One file of a model."""

    name: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, file: StoredFile) -> "FileView":
        """The view of a file."""
        return cls(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)


class IndexView(View):
    """How the model's songs are searched.

    Recalls are against exact search, measured on a sample when the model was built: `recall` of songs' own queries,
    `profile_recall` of users' profiles, `neighbour_recall` of the neighbours stored of each song. `size_bytes` is what
    servers map of an inverted file.
    """

    kind: Literal["flat", "ivf"]
    coding: Coding
    n_songs: int
    dim: int
    n_neighbours: int
    recall: float
    profile_recall: float | None
    neighbour_recall: float | None
    size_bytes: int

    @classmethod
    def of(cls, index: IndexFacts | None) -> "IndexView | None":
        """The view, None until the model is built."""
        if index is None:
            return None
        return cls(
            kind=index.kind,
            coding=index.coding,
            n_songs=index.n_songs,
            dim=index.dim,
            n_neighbours=index.n_neighbours,
            recall=index.recall,
            profile_recall=index.profile_recall,
            neighbour_recall=index.neighbour_recall,
            size_bytes=index.size_bytes,
        )


class LatencyView(View):
    """How long the model's own searches took when it was built, one at a time on the worker's machine."""

    p50_ms: float
    p99_ms: float
    n_searches: int

    @classmethod
    def of(cls, latency: Latency | None) -> "LatencyView | None":
        """The view, None where they were not timed."""
        if latency is None:
            return None
        return cls(p50_ms=latency.p50_ms, p99_ms=latency.p99_ms, n_searches=latency.n_searches)


class PromotionView(View):
    """What came of moving the alias: moved to a generation, or refused; and every gate with its figures."""

    alias: str
    state: Literal["moved", "refused"]
    generation: int | None
    gates: list[GateReportView]

    @classmethod
    def of(cls, promotion: Promotion | None) -> "PromotionView | None":
        """The view, None until the model is ready."""
        if promotion is None:
            return None
        return cls(
            alias=promotion.alias,
            state=promotion.state,
            generation=promotion.generation,
            gates=[GateReportView.of(report) for report in promotion.reports],
        )


class RivalView(View):
    """What the model that was live measured on this one's test pairs, where it comes of other plays."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    measurement: MeasurementView | None

    @classmethod
    def of(cls, rival: Rival | None) -> "RivalView | None":
        """The view, None where both come of the same plays."""
        return (
            None if rival is None else cls(model_id=rival.model_id, measurement=MeasurementView.of(rival.measurement))
        )


class ModelView(View):
    """A model."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "id": MODEL_ID,
                    "state": "ready",
                    "fit": "trial",
                    "alias": "production",
                    "parameters": EXAMPLE_PARAMETERS,
                    "lineage": {
                        "dataset_id": DATASET_ID,
                        "dataset_name": "spring",
                        "fingerprint": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
                        "study_id": STUDY_ID,
                        "study_name": "article, bayesian",
                        "trainer": DEFAULT_TRAINER,
                        "trial_id": TRIAL_ID,
                        "trial_number": 4,
                    },
                    "metrics": {
                        "validation": example_measurement(0.25),
                        "test": example_measurement(0.24),
                        "baselines": {"gensim_defaults": example_measurement(0.09)},
                    },
                    "segment": None,
                    "latency": {"p50_ms": 0.11, "p99_ms": 0.24, "n_searches": 200},
                    "rival": None,
                    "promotion": {
                        "alias": "production",
                        "state": "moved",
                        "generation": 2,
                        "gates": [EXAMPLE_REPORT],
                    },
                    "index": {
                        "kind": "ivf",
                        "coding": "float32",
                        "n_songs": 8123,
                        "dim": 96,
                        "n_neighbours": 0,
                        "recall": 0.996,
                        "profile_recall": 0.991,
                        "neighbour_recall": None,
                        "size_bytes": 3_250_000,
                    },
                    "neighbours": EXAMPLE_NEIGHBOURS,
                    "files": [
                        {
                            "name": "vectors.npy",
                            "size_bytes": 3119360,
                            "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                        }
                    ],
                    "attempt": 1,
                    "progress": {"phase": "ready", "fraction": 1.0, "epoch": None},
                    "failure": None,
                    "created_at": "2026-01-01T12:03:00Z",
                    "finished_at": "2026-01-01T12:03:04Z",
                }
            ]
        },
    )

    id: str
    state: ModelState
    fit: Fit
    alias: str | None = Field(description="The alias that moves to the model once it is ready.")
    parameters: TrainingParametersView
    lineage: LineageView
    metrics: ModelMetricsView
    segment: str | None = Field(description="The member of the alias's bundle that it becomes; null: the default.")
    index: IndexView | None
    latency: LatencyView | None
    rival: RivalView | None
    promotion: PromotionView | None = Field(description="What came of moving the alias; null until it is ready.")
    neighbours: NeighboursView
    files: list[FileView]
    attempt: int
    progress: ProgressView | None
    failure: FailureView | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of_tabled(cls, tabled: Tabled) -> "ModelView":
        """The view of a model and of its table."""
        return cls.of(tabled.model, tabled.table)

    @classmethod
    def of(cls, model: Model, table: NeighbourTable | None = None) -> "ModelView":
        """The view of a model, and of its table of neighbours where it has one."""
        return cls(
            id=model.id,
            state=model.state,
            fit=model.fit,
            alias=model.alias,
            parameters=TrainingParametersView.of(model.parameters),
            lineage=LineageView.of(model.lineage),
            metrics=ModelMetricsView.of(model.metrics),
            segment=model.segment,
            index=IndexView.of(model.index),
            latency=LatencyView.of(model.latency),
            rival=RivalView.of(model.rival),
            promotion=PromotionView.of(model.promotion),
            neighbours=NeighboursView.of(model, table),
            files=[FileView.of(file) for file in model.files],
            attempt=model.attempt,
            progress=ProgressView.of(model.progress),
            failure=FailureView.of(model.failure),
            created_at=model.created_at,
            finished_at=model.finished_at,
        )


class HistoryParameters(Parameters):
    """Which page of an alias's moves."""

    limit: int = Field(default=50, ge=1, le=200, description="Most moves of the page.")
    cursor: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")] | None = Field(
        default=None, description="`next_cursor` of the page before."
    )


class AliasView(View):
    """Where an alias points. `generation` counts its moves and is its ETag."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "alias": "production",
                    "model_id": MODEL_ID,
                    "segments": {"ar": OTHER_MODEL_ID},
                    "generation": 3,
                    "updated_at": "2026-01-01T12:03:04Z",
                }
            ]
        },
    )

    alias: str
    model_id: str
    segments: dict[str, str] = Field(description="Models that some segments have of their own.")
    generation: int
    updated_at: datetime

    @classmethod
    def of(cls, alias: Alias) -> "AliasView":
        """The view of an alias."""
        return cls(
            alias=alias.name,
            model_id=alias.model_id,
            segments=alias.segments,
            generation=alias.generation,
            updated_at=alias.updated_at,
        )


class AliasMoveView(View):
    """One move of an alias."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "alias": "production",
                    "generation": 3,
                    "model_id": MODEL_ID,
                    "previous_model_id": None,
                    "segments": {},
                    "reason": "promotion",
                    "gates": [EXAMPLE_REPORT],
                    "override_reason": None,
                    "moved_by": None,
                    "experiment_id": None,
                    "moved_at": "2026-01-01T12:03:04Z",
                }
            ]
        },
    )

    alias: str
    generation: int
    model_id: str
    previous_model_id: str | None
    segments: dict[str, str]
    reason: MoveReason
    gates: list[GateReportView] = Field(description="What each changed member showed; a rollback asks for nothing.")
    override_reason: str | None = Field(description="Why it was made although a gate refused.")
    moved_by: str | None = Field(
        description="The id of the API key that asked for it; null where none did: a schedule, or keys are off."
    )
    experiment_id: str | None = Field(description="The experiment that decided it.")
    moved_at: datetime

    @classmethod
    def of(cls, move: AliasMove) -> "AliasMoveView":
        """The view of a move."""
        return cls(
            alias=move.alias,
            generation=move.generation,
            model_id=move.model_id,
            previous_model_id=move.previous_model_id,
            segments=move.segments,
            reason=move.reason,
            gates=[GateReportView.of(report) for report in move.reports],
            override_reason=move.override_reason,
            moved_by=move.moved_by,
            experiment_id=move.experiment_id,
            moved_at=move.moved_at,
        )
