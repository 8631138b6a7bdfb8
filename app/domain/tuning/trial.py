"""Trials: one point of the search space, trained and measured; and the baselines it stands beside.

    waiting ──► running ──► completed
       ▲           │  ├───► pruned        did badly after some of its epochs: see `pruning`
       │           │  ├───► failed        may work if tried again, but the attempts are used up
       └───────────┘  ├───► infeasible    this point never will
     lease lapsed, or └───► cancelled     (from waiting too)
     a failed attempt
     (`retry` says how often, and how long it waits)

Six roles share these rows, for a row is what a worker claims:
`search`        a point of the space, numbered from 0 in the order suggested or given; of a study with an external
                trainer, clients ask for these and no worker claims them
`baseline`      a method that the tuned model is shown beside, measured on validation and test pairs
`confirmation`  the winner's vectors, measured on the test pairs once the search has ended
`attached`      a point that was trained and measured elsewhere; completed from the start, it informs the suggester
`replicate`     the winner or a trained baseline, trained again under another seed, measured on both sets of pairs
`transfer`      a point trained again on a sample of the sessions, measured on the validation pairs
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from app.domain.lease import Failure, Lease, Progress
from app.domain.measurement import EpochMeasurement, Measurement
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.pruning import Pruned
from app.domain.tuning.retry import FailureCounts


class TrialState(StrEnum):
    """See the drawing in the module header."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    CANCELLED = "cancelled"


TRIAL_MOVES: dict[TrialState, frozenset[TrialState]] = {
    TrialState.WAITING: frozenset({TrialState.RUNNING, TrialState.CANCELLED}),
    TrialState.RUNNING: frozenset(
        {
            TrialState.WAITING,
            TrialState.COMPLETED,
            TrialState.PRUNED,
            TrialState.FAILED,
            TrialState.INFEASIBLE,
            TrialState.CANCELLED,
        }
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.PRUNED: frozenset(),
    TrialState.FAILED: frozenset(),
    TrialState.INFEASIBLE: frozenset(),
    TrialState.CANCELLED: frozenset(),
}

ENDED_STATES = frozenset(state for state, moves in TRIAL_MOVES.items() if not moves)


class TrialRole(StrEnum):
    """Why the row exists; see the module header."""

    SEARCH = "search"
    BASELINE = "baseline"
    CONFIRMATION = "confirmation"
    ATTACHED = "attached"
    REPLICATE = "replicate"
    TRANSFER = "transfer"


class Origin(StrEnum):
    """Who gave a trial's point, where Segue did not choose it."""

    ENQUEUED = "enqueued"
    """A client."""
    WARM_START = "warm_start"
    """An earlier study, whose good points are tried first."""


class Method(StrEnum):
    """How neighbours are found: by embeddings, or by one of the plain baselines."""

    WORD2VEC = "word2vec"
    MOST_POPULAR = "most_popular"
    NEXT_SONG = "next_song"
    CO_OCCURRENCE = "co_occurrence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline by name: a method and, for Word2Vec, its hyperparameters."""

    name: str
    method: Method
    parameters: TrainingParameters | None = None


def baselines(*, epochs: int) -> tuple[Baseline, ...]:
    """What every study is shown beside: gensim's defaults at equal epochs (as they are, CBOW, and as skip-gram)."""
    return (
        Baseline(name="gensim_defaults", method=Method.WORD2VEC, parameters=TrainingParameters(epochs=epochs)),
        Baseline(
            name="gensim_defaults_skip_gram",
            method=Method.WORD2VEC,
            parameters=TrainingParameters(epochs=epochs, sg=1),
        ),
        Baseline(name="most_popular", method=Method.MOST_POPULAR),
        Baseline(name="next_song", method=Method.NEXT_SONG),
        Baseline(name="co_occurrence", method=Method.CO_OCCURRENCE),
    )


def trained_by(role: TrialRole, trainer: Trainer) -> Trainer:
    """Who trains a trial of a study with this trainer: baselines are gensim's, for it is the reference."""
    match role:
        case TrialRole.BASELINE:
            return Trainer.GENSIM
        case TrialRole.ATTACHED:
            return Trainer.EXTERNAL
        case _:
            return trainer


def is_asked_for(role: TrialRole, trainer: Trainer) -> bool:
    """Whether clients ask for such trials of a study with this trainer; then no worker claims them."""
    return role is TrialRole.SEARCH and trainer is Trainer.EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """What a completed trial reports. `times_s` are seconds by phase; `vectors_sha256` names the vectors.

    `threads` and `cpu` (its kind) say what computed them; None where that is not known.
    Of a running or pruned trial it holds the epochs measured so far, and why it is pruned once that is decided.
    `model_bytes` are those of the vectors that a model of it serves from, if it has any.
    """

    validation: Measurement | None
    test: Measurement | None = None
    epochs: tuple[EpochMeasurement, ...] = ()
    times_s: dict[str, float] = field(default_factory=dict)
    vectors_sha256: str | None = None
    threads: int | None = None
    cpu: str | None = None
    has_ranks: bool = False
    """What became of each pair is kept (see `pairing`)."""
    model_bytes: int | None = None
    pruned: Pruned | None = None

    def with_epochs(self, epochs: tuple[EpochMeasurement, ...]) -> "TrialOutcome":
        """With these epochs unless it knows of more: reports may come late, and twice."""
        return replace(self, epochs=epochs) if len(epochs) >= len(self.epochs) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial as stored. `has_vectors`: its embeddings are kept, as the study's best are."""

    id: str
    study_id: str
    role: TrialRole
    number: int
    name: str
    method: Method
    parameters: TrainingParameters | None
    state: TrialState
    created_at: datetime
    source_trial_id: str | None = None
    """The trial whose vectors a confirmation measures, or which a replicate or a transfer trains again."""
    origin: Origin | None = None
    lease_token_sha256: str | None = None
    """Of the token that the client holds which asked for the trial last; a worker holds none."""
    seed: int | None = None
    """The seed it is trained with; None: the study's."""
    sample_fraction: float | None = None
    """The share of the sessions that training sees; None: all."""
    attempt: int = 0
    lease: Lease | None = None
    progress: Progress | None = None
    outcome: TrialOutcome | None = None
    failure: Failure | None = None
    has_vectors: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: int = 0
    """The revision of the study's search space that it was suggested under."""
    failures: FailureCounts = field(default_factory=FailureCounts)
    """How its attempts have failed so far."""
    not_before: datetime | None = None
    """When it may be begun again, while it waits after a failure."""

    @property
    def objective(self) -> float | None:
        """The value maximised, on the validation pairs; None until measured."""
        if self.outcome is None or self.outcome.validation is None:
            return None
        estimate = self.outcome.validation.judged.objective
        return None if estimate is None else estimate.value
