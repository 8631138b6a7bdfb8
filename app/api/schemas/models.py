"""Models and aliases: what a client asks for and what it is told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import AliasName, Body, FailureView, Parameters, ProgressView, ResourceId, View
from app.api.schemas.datasets import DATASET_ID
from app.api.schemas.measurements import MeasurementView, example_measurement
from app.api.schemas.neighbour_tables import EXAMPLE_NEIGHBOURS, NeighboursView
from app.api.schemas.trials import EXAMPLE_PARAMETERS, STUDY_ID, TRIAL_ID, TrainingParametersView
from app.domain.models import (
    Alias,
    AliasMove,
    Coding,
    Fit,
    IndexFacts,
    Lineage,
    Model,
    ModelMetrics,
    ModelState,
    StoredFile,
)
from app.domain.neighbour_tables import NeighbourTable, Tabled
from app.domain.training import DEFAULT_TRAINER, Trainer

MODEL_ID = "mdl_0197f3a5b1e87d41b7720c6b3d1a9f54"


class PromotionBody(Body):
    """What becomes of a study's best trial, or of another."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"alias": "production", "fit": "trial"}]})

    alias: AliasName = "production"
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
    """Which model an alias points to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model_id": MODEL_ID}]})

    model_id: ResourceId


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
    index: IndexView | None
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
            index=IndexView.of(model.index),
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
                {"alias": "production", "model_id": MODEL_ID, "generation": 3, "updated_at": "2026-01-01T12:03:04Z"}
            ]
        },
    )

    alias: str
    model_id: str
    generation: int
    updated_at: datetime

    @classmethod
    def of(cls, alias: Alias) -> "AliasView":
        """The view of an alias."""
        return cls(alias=alias.name, model_id=alias.model_id, generation=alias.generation, updated_at=alias.updated_at)


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
                    "reason": "promotion",
                    "moved_at": "2026-01-01T12:03:04Z",
                }
            ]
        },
    )

    alias: str
    generation: int
    model_id: str
    previous_model_id: str | None
    reason: Literal["promotion", "assignment", "rollback"]
    moved_at: datetime

    @classmethod
    def of(cls, move: AliasMove) -> "AliasMoveView":
        """The view of a move."""
        return cls(
            alias=move.alias,
            generation=move.generation,
            model_id=move.model_id,
            previous_model_id=move.previous_model_id,
            reason=move.reason,
            moved_at=move.moved_at,
        )
