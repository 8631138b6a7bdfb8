"""Datasets: plays from a source, frozen with a preparation and a split.

queued ──► preparing ──► ready
   ▲           │  └────► failed (reason)
   └───────────┘ lease lapsed
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from app.domain.lease import Failure, Lease, Progress
from app.domain.listening import Preparation, Split


class DatasetState(StrEnum):
    """See the drawing in the module header."""

    QUEUED = "queued"
    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"


DATASET_MOVES: dict[DatasetState, frozenset[DatasetState]] = {
    DatasetState.QUEUED: frozenset({DatasetState.PREPARING}),
    DatasetState.PREPARING: frozenset({DatasetState.QUEUED, DatasetState.READY, DatasetState.FAILED}),
    DatasetState.READY: frozenset(),
    DatasetState.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file a client sent: `format` is told from its content, `sha256` in hexadecimal."""

    id: str
    format: Literal["parquet", "csv"]
    size_bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReference:
    """Where plays or songs come from: an upload's id or a source that the operator named, never a path."""

    upload_id: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What a client asks for."""

    name: str
    plays: SourceReference
    songs: SourceReference | None = None
    preparation: Preparation = Preparation()
    split: Split = Split()
    segment_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthQuantiles:
    """Songs per session: the smallest, the quartiles, the 95th percentile and the largest."""

    min: int
    p25: float
    p50: float
    p75: float
    p95: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What is in a dataset, or in one segment of it. `users` is None where plays name none."""

    plays: int
    sessions: int
    songs: int
    users: int | None
    validation_pairs: int
    test_pairs: int
    repeat_pairs: int
    session_length: LengthQuantiles | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts overall and by segment, the raw plays, and what each filter dropped (`{filter: {plays, sessions}}`)."""

    raw_plays: int
    overall: Counts
    segments: dict[str, Counts]
    dropped: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One dataset as stored. `fingerprint` names its content; equal content has an equal fingerprint."""

    id: str
    spec: DatasetSpec
    state: DatasetState
    created_at: datetime
    attempt: int = 0
    lease: Lease | None = None
    progress: Progress | None = None
    statistics: Statistics | None = None
    fingerprint: str | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None
