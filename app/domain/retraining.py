"""Retraining: a model's parameters trained again on new plays, measured beside the model, and promoted if it may be.

    gathering ──► preparing ──► measuring ──► building ──► ended (what came of the promotion)
        └─────────────┴─────────────┴────────────┴───────► failed (reason)

gathering  the dataset's source is read anew; plays sent since go with it where its rows have users and times
preparing  a dataset of the same preparation and split
measuring  a study of one trial: the parameters trained without the dataset's held-out songs, measured on its test pairs
building   a full fit of that trial on the new dataset. While it is built, the live model's vectors are measured on the
           same test pairs. It was trained on plays that may hold some of them: that can only favour it
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.gates import GateLimits
from app.domain.lease import Failure


class RetrainingState(StrEnum):
    """See the drawing in the module header."""

    GATHERING = "gathering"
    PREPARING = "preparing"
    MEASURING = "measuring"
    BUILDING = "building"
    ENDED = "ended"
    FAILED = "failed"


RETRAINING_MOVES: dict[RetrainingState, frozenset[RetrainingState]] = {
    RetrainingState.GATHERING: frozenset({RetrainingState.PREPARING, RetrainingState.FAILED}),
    RetrainingState.PREPARING: frozenset({RetrainingState.MEASURING, RetrainingState.FAILED}),
    RetrainingState.MEASURING: frozenset({RetrainingState.BUILDING, RetrainingState.FAILED}),
    RetrainingState.BUILDING: frozenset({RetrainingState.ENDED, RetrainingState.FAILED}),
    RetrainingState.ENDED: frozenset(),
    RetrainingState.FAILED: frozenset(),
}

UNDER_WAY = frozenset(state for state, moves in RETRAINING_MOVES.items() if moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingSpec:
    """What is asked for: `dataset_id` names a dataset to train on instead of the source read anew.

    `gates` and `override_reason` are those of the promotion; without `promotes` no alias moves.
    `asked_by` is the id of the API key, None where the schedule asked.
    """

    dataset_id: str | None = None
    gates: GateLimits = field(default_factory=GateLimits)
    promotes: bool = True
    override_reason: str | None = None
    asked_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One retraining as stored; `tick_at` is the instant of the schedule that asked for it, None for a request's."""

    id: str
    spec: RetrainingSpec
    source_model_id: str
    state: RetrainingState
    created_at: datetime
    alias: str | None = None
    tick_at: datetime | None = None
    n_sent_plays: int | None = None
    dataset_id: str | None = None
    study_id: str | None = None
    model_id: str | None = None
    failure: Failure | None = None
    finished_at: datetime | None = None
