"""Leases: a worker's timed claim on a dataset to prepare, a trial to run, a model or a table to build.

A claim raises `attempt` by one and every later report must name that attempt: a worker whose lease lapsed, and whose
work was claimed again, can no longer write.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who holds the resource and until when.

    `length_s`: how long it is from each extension on; None where a version before this one wrote it.
    """

    worker_id: str
    expires_at: datetime
    length_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker must show to report on what it holds."""

    subject: Literal["dataset", "trial", "model", "table"]
    id: str
    attempt: int
    worker_id: str


STORAGE_FULL = "storage_full"
"""The code of a failure that is the machine's: the attempt does not count, and goes on when there is space."""


class HeartbeatAnswer(StrEnum):
    """What a worker is told when it reports that it is alive."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    PRUNE = "prune"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work is: `fraction` in [0, 1] of the named phase's whole resource, and a short phase name."""

    phase: str
    fraction: float
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something failed: a stable `code` and a sentence.

    Codes: `infeasible`, `invalid_source`, `out_of_memory`, `timed_out`, `crashed`, `lost`, `storage_full`,
    `damaged_artifact`, `no_usable_trial`, `no_feasible_trial`, `error`.
    """

    code: str
    reason: str
