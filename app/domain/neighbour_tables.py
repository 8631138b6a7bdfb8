"""Tables of neighbours that are built once their model is ready, so that no promotion waits for them.

waiting ──► building ──► ready
   ▲           ├──► failed (reason)
   └───────────┘ handed back, or lease lapsed, attempt + 1

Until its table is ready a model answers by search; one that failed, or is not wanted any more, is asked for anew under
another id.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.lease import Failure, Lease, Progress
from app.domain.models import IndexLimits, Model, StoredFile, TableTiming


class TableState(StrEnum):
    """See the drawing in the module header."""

    WAITING = "waiting"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What a table holds: `n_neighbours` of each of `n_songs`.

    `recall`: the share of the 10 nearest by exact search that it has, on a sample; 1.0 where all pairs were compared.
    """

    n_songs: int
    n_neighbours: int
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourTable:
    """One table as stored; a model has one at most. `n_neighbours` of each song are asked for."""

    id: str
    model_id: str
    n_neighbours: int
    state: TableState
    created_at: datetime
    attempt: int = 0
    lease: Lease | None = None
    progress: Progress | None = None
    files: tuple[StoredFile, ...] = ()
    facts: TableFacts | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tabled:
    """A model, and the table that is built or was built for it after it was ready."""

    model: Model
    table: NeighbourTable | None


def limits_for(timing: TableTiming | None, limits: IndexLimits) -> IndexLimits:
    """What a model's index may cost with its neighbours stored when they were asked for; None: by its size.

    >>> limits_for(TableTiming.AFTER, IndexLimits()).stored(n_songs=50)
    0
    """
    if timing is None:
        return limits
    return limits.with_table_up_to(None if timing is TableTiming.NOW else 0)


def lacks_table(model: Model) -> bool:
    """Whether the model is ready without the neighbours that its own files might hold, and has some."""
    return model.index is not None and model.index.n_neighbours == 0 and model.index.n_songs > 1
