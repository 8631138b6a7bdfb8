"""What a worker and its children say to each other: one JSON line a message, requests down, everything else up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, TypeAdapter

from app.domain.datasets import Dataset, Statistics
from app.domain.lease import Failure, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.models import IndexFacts, IndexLimits, Latency, Model, Rival
from app.domain.neighbour_tables import TableFacts
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.study import Objective
from app.domain.tuning.trial import Method, TrialOutcome, TrialRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use: cores, and bytes of memory beside that of the imports (None: all there is)."""

    threads: int = 1
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The files that a dataset is made from, and what DuckDB may use (such as `2GB`).

    `erased`: users whose plays are left out, up to an instant in epoch milliseconds.
    """

    plays: Path
    songs: Path | None
    memory_limit: str
    erased: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRequest:
    """Compile a dataset into the folder `staged`."""

    limits: Limits
    staged: Path
    dataset: Dataset
    sources: Sources
    subject: Literal["dataset"] = "dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Measure one trial. `vectors` holds those that a confirmation measures; others are trained.

    `sample_fraction` is the share of the sessions that training sees; None: all. After the epochs `decides_after` the
    child asks whether to go on. What became of each pair is left in the folder `ranks`, if there is one.
    """

    limits: Limits
    staged: Path
    corpus: Path
    role: TrialRole
    method: Method
    parameters: TrainingParameters | None
    trainer: Trainer
    objective: Objective
    seed: int
    vectors: Path | None = None
    sample_fraction: float | None = None
    ranks: Path | None = None
    decides_after: tuple[int, ...] = ()
    subject: Literal["trial"] = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Build a model's files. `sources` are given when the whole dataset must be compiled again for a full fit.

    `scope` names the segment that training sees alone. `rival` holds the files of the model that is live and comes of
    other plays: it is measured on this dataset's test pairs.
    Training is only repeatable with the study's own number of threads; searching neighbours may use more.
    """

    limits: Limits
    training_threads: int
    staged: Path
    scratch: Path
    corpus: Path
    model: Model
    dataset: Dataset
    trainer: Trainer
    seed: int
    vectors: Path | None
    sources: Sources | None
    scope: str | None = None
    rival: Path | None = None
    rival_id: str | None = None
    objective: Objective = field(default_factory=Objective)
    index: IndexLimits = field(default_factory=IndexLimits)
    subject: Literal["model"] = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """Find `n_neighbours` of each song of the model whose files are in `model_folder`."""

    limits: Limits
    staged: Path
    model_id: str
    model_folder: Path
    n_neighbours: int
    index: IndexLimits
    subject: Literal["table"] = "table"


Tell = Callable[[Progress], None]
"""How work tells how far it is."""


class Show(Protocol):
    """How work shows an epoch it has measured; where it `decides`, it waits for the answer, a while."""

    def __call__(self, measurement: EpochMeasurement, /, *, decides: bool) -> HeartbeatAnswer:
        """Whether to go on, or to end for being pruned."""
        ...


Request = DatasetRequest | TrialRequest | ModelRequest | TableRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the child asked that decides after this epoch; the only thing said to a child that is at work."""

    epoch: int
    answer: HeartbeatAnswer
    subject: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The runner has done its imports and waits for requests."""

    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """There is a child for the request; `pid` names it and its process group."""

    pid: int
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The child is gone: its exit code, or minus the number of the signal that ended it."""

    exit_code: int
    kind: Literal["ended"] = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """How far the work is."""

    progress: Progress
    kind: Literal["advanced"] = "advanced"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMeasured:
    """An epoch of a trial was measured. `decides`: the child waits for an answer."""

    measurement: EpochMeasurement
    decides: bool
    kind: Literal["epoch_measured"] = "epoch_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPrepared:
    """The compiled files are in the staged folder."""

    statistics: Statistics
    fingerprint: str
    kind: Literal["dataset_prepared"] = "dataset_prepared"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMeasured:
    """The outcome; the vectors, if any are kept, are in the staged folder. `was_pruned`: it ended early, as told."""

    outcome: TrialOutcome
    has_vectors: bool
    was_pruned: bool = False
    kind: Literal["trial_measured"] = "trial_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBuilt:
    """The model's files are in the staged folder; how long its searches took, and what its rival measured."""

    index: IndexFacts
    latency: Latency
    rival: Rival | None = None
    kind: Literal["model_built"] = "model_built"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBuilt:
    """The table's files are in the staged folder."""

    facts: TableFacts
    kind: Literal["table_built"] = "table_built"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The work failed. `is_final`: trying again is of no use."""

    failure: Failure
    is_final: bool = False
    kind: Literal["failed"] = "failed"


Result = DatasetPrepared | TrialMeasured | ModelBuilt | TableBuilt
Message = Ready | Started | Advanced | EpochMeasured | Result | Failed | Ended

_REQUEST: TypeAdapter[Request | Answer] = TypeAdapter(Annotated[Request | Answer, Field(discriminator="subject")])
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def request_line(request: Request | Answer) -> bytes:
    """The request, or answer, as one line."""
    return _REQUEST.dump_json(request) + b"\n"


def read_request(line: bytes) -> Request:
    """The request of a line. Raises: ValueError."""
    read = _REQUEST.validate_json(line)
    if isinstance(read, Answer):
        msg = "The line is an answer, not a request."
        raise ValueError(msg)  # as for any other line that is no request
    return read


def read_answer(line: bytes) -> Answer | None:
    """The answer of a line; None when it is something else."""
    try:
        read = _REQUEST.validate_json(line)
    except ValueError:
        return None
    return read if isinstance(read, Answer) else None


def message_line(message: Message) -> bytes:
    """The message as one line."""
    return _MESSAGE.dump_json(message) + b"\n"


def read_message(line: bytes) -> Message:
    """The message of a line. Raises: ValueError."""
    return _MESSAGE.validate_json(line)
