"""Datasets: what a client asks for and what it is told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from app.api.schemas.base import (
    LATEST_SEED,
    NO_CONTROL_CHARACTERS,
    Body,
    FailureView,
    Name,
    ProgressView,
    ResourceId,
    View,
)
from app.api.schemas.uploads import UPLOAD_ID
from app.domain.datasets import Counts, Dataset, DatasetSpec, DatasetState, SourceReference, Statistics
from app.domain.listening import Preparation, Repeats, Split

DATASET_ID = "dat_0197f3a1d0c17c28b1e64a52f7930d1e"

Column = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL_CHARACTERS)]
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class UploadReference(Body):
    """A file that was uploaded."""

    upload_id: ResourceId

    def reference(self) -> SourceReference:
        """The domain's value."""
        return SourceReference(upload_id=self.upload_id)


class NamedSource(Body):
    """A file that the operator named."""

    source: SourceName

    def reference(self) -> SourceReference:
        """The domain's value."""
        return SourceReference(source=self.source)


def _kind(value: object) -> str | None:
    """Which of the two a value is; None when it is neither, or both."""
    names = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    if ("upload_id" in names) == ("source" in names):
        return None
    return "upload" if "upload_id" in names else "named"


ReferenceBody = Annotated[
    Annotated[UploadReference, Tag("upload")] | Annotated[NamedSource, Tag("named")],
    Discriminator(
        _kind,
        custom_error_type="no_reference",
        custom_error_message="Input should be an object with either upload_id or source",
    ),
]


class PreparationBody(Body):
    """How plays become sessions."""

    session_gap_minutes: int = Field(
        default=30, ge=1, le=10_080, description="A longer silence begins a new session, where none are given."
    )
    min_length: int = Field(default=3, ge=3, le=1_000, description="Shorter sessions are dropped.")
    max_length: int | None = Field(default=None, ge=3, le=1_000_000, description="Longer sessions are dropped.")
    min_song_plays: int = Field(default=1, ge=1, le=1_000_000, description="Rarer songs are dropped.")
    sample_fraction: float = Field(default=1.0, gt=0, le=1, description="Share of sessions or users that is kept.")
    sample_by: Literal["session", "user"] = "session"
    seed: int = Field(default=0, ge=0, le=LATEST_SEED, description="Which sample is drawn.")

    def preparation(self) -> Preparation:
        """The domain's value."""
        return Preparation(**self.model_dump())


class SplitBody(Body):
    """How the pairs are held out that trials are measured on."""

    query_in_training: bool = Field(default=False, description="Whether training sees the query of each pair.")
    repeats: Literal["drop", "hit", "miss"] = Field(
        default="drop", description="What becomes of a pair whose query is its target."
    )
    test_fraction: float = Field(default=0.3, gt=0, lt=1, description="Share of the pairs kept for the final test.")

    def split(self) -> Split:
        """The domain's value."""
        return Split(
            query_in_training=self.query_in_training,
            repeats=Repeats(self.repeats),
            test_fraction=self.test_fraction,
        )


class DatasetBody(Body):
    """A dataset to prepare."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "spring",
                    "plays": {"upload_id": UPLOAD_ID},
                    "songs": {"source": "songs"},
                    "preparation": {"min_song_plays": 5},
                    "segment_by": "language",
                }
            ]
        }
    )

    name: Name
    plays: ReferenceBody
    songs: ReferenceBody | None = None
    preparation: PreparationBody = PreparationBody()
    split: SplitBody = SplitBody()
    segment_by: Column | None = Field(
        default=None, description="Column of the songs table whose values the measurements are split by."
    )

    def spec(self) -> DatasetSpec:
        """The domain's value. Raises: InvalidRequest."""
        return DatasetSpec(
            name=self.name,
            plays=self.plays.reference(),
            songs=None if self.songs is None else self.songs.reference(),
            preparation=self.preparation.preparation(),
            split=self.split.split(),
            segment_by=self.segment_by,
        )


class ReferenceView(View):
    """A file by upload or by source."""

    upload_id: str | None
    source: str | None

    @classmethod
    def of(cls, reference: SourceReference) -> "ReferenceView":
        """The view of a reference."""
        return cls(upload_id=reference.upload_id, source=reference.source)


class LengthQuantilesView(View):
    """Songs per session."""

    min: int
    p25: float
    p50: float
    p75: float
    p95: float
    max: int


class CountsView(View):
    """What is in a dataset or in one segment of it."""

    plays: int
    sessions: int
    songs: int
    users: int | None = Field(description="Null where the plays name no users.")
    validation_pairs: int
    test_pairs: int
    repeat_pairs: int = Field(description="Pairs whose query is their target.")
    session_length: LengthQuantilesView | None

    @classmethod
    def of(cls, counts: Counts) -> "CountsView":
        """The view of counts."""
        length = counts.session_length
        return cls(
            plays=counts.plays,
            sessions=counts.sessions,
            songs=counts.songs,
            users=counts.users,
            validation_pairs=counts.validation_pairs,
            test_pairs=counts.test_pairs,
            repeat_pairs=counts.repeat_pairs,
            session_length=None
            if length is None
            else LengthQuantilesView(
                min=length.min, p25=length.p25, p50=length.p50, p75=length.p75, p95=length.p95, max=length.max
            ),
        )


class StatisticsView(View):
    """What became of the plays: what is left, and what each filter dropped."""

    raw_plays: int
    overall: CountsView
    segments: dict[str, CountsView]
    dropped: dict[str, dict[str, int]] = Field(examples=[{"too_short": {"plays": 40, "sessions": 22}}])

    @classmethod
    def of(cls, statistics: Statistics) -> "StatisticsView":
        """The view of statistics."""
        return cls(
            raw_plays=statistics.raw_plays,
            overall=CountsView.of(statistics.overall),
            segments={name: CountsView.of(counts) for name, counts in statistics.segments.items()},
            dropped=statistics.dropped,
        )


class DatasetView(View):
    """A dataset. It is ready once it has a fingerprint; equal content has an equal one."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": DATASET_ID,
                    "name": "spring",
                    "state": "preparing",
                    "plays": {"upload_id": UPLOAD_ID, "source": None},
                    "songs": {"upload_id": None, "source": "songs"},
                    "preparation": {
                        "session_gap_minutes": 30,
                        "min_length": 3,
                        "max_length": None,
                        "min_song_plays": 5,
                        "sample_fraction": 1.0,
                        "sample_by": "session",
                        "seed": 0,
                    },
                    "split": {"query_in_training": False, "repeats": "drop", "test_fraction": 0.3},
                    "segment_by": "language",
                    "attempt": 1,
                    "progress": {"phase": "sessions", "fraction": 0.4, "epoch": None},
                    "statistics": None,
                    "fingerprint": None,
                    "failure": None,
                    "created_at": "2026-01-01T12:00:00Z",
                    "finished_at": None,
                }
            ]
        }
    )

    id: str
    name: str
    state: DatasetState
    plays: ReferenceView
    songs: ReferenceView | None
    preparation: PreparationBody
    split: SplitBody
    segment_by: str | None
    attempt: int = Field(description="How often a worker has begun to prepare it.")
    progress: ProgressView | None
    statistics: StatisticsView | None
    fingerprint: str | None
    failure: FailureView | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetView":
        """The view of a dataset."""
        spec = dataset.spec
        preparation = spec.preparation
        return cls(
            id=dataset.id,
            name=spec.name,
            state=dataset.state,
            plays=ReferenceView.of(spec.plays),
            songs=None if spec.songs is None else ReferenceView.of(spec.songs),
            preparation=PreparationBody(
                session_gap_minutes=preparation.session_gap_minutes,
                min_length=preparation.min_length,
                max_length=preparation.max_length,
                min_song_plays=preparation.min_song_plays,
                sample_fraction=preparation.sample_fraction,
                sample_by=preparation.sample_by,
                seed=preparation.seed,
            ),
            split=SplitBody(
                query_in_training=spec.split.query_in_training,
                repeats=spec.split.repeats.value,
                test_fraction=spec.split.test_fraction,
            ),
            segment_by=spec.segment_by,
            attempt=dataset.attempt,
            progress=ProgressView.of(dataset.progress),
            statistics=None if dataset.statistics is None else StatisticsView.of(dataset.statistics),
            fingerprint=dataset.fingerprint,
            failure=FailureView.of(dataset.failure),
            created_at=dataset.created_at,
            finished_at=dataset.finished_at,
        )
