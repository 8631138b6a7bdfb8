"""What the services of datasets, trials and models share: leases are taken, extended and lost in the same way."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from app.domain.datasets import Dataset
from app.domain.lease import Claim, HeartbeatAnswer, Lease, Progress
from app.domain.models import Model
from app.domain.repositories import LeasedRepository
from app.domain.tuning.trial import Trial

Leased = TypeVar("Leased", Dataset, Trial, Model)

CLAIMED = Progress(phase="claimed", fraction=0.0)


def artifact_name(identity: str, attempt: int) -> str:
    """The name of the files that one attempt leaves: a late attempt never touches those of another."""
    return f"{identity}-{attempt}"


def claimed(value: Leased, *, worker_id: str, now: datetime, lease: timedelta) -> Leased:
    """The value in the hands of a worker, one attempt further."""
    return replace(
        value,
        attempt=value.attempt + 1,
        lease=Lease(worker_id=worker_id, expires_at=now + lease),
        progress=CLAIMED,
    )


def claim_on(value: Leased, subject: Literal["dataset", "trial", "model"]) -> Claim:
    """What the worker that just claimed the value shows from now on."""
    if value.lease is None:
        msg = f"{subject} {value.id} is not leased."
        raise ValueError(msg)
    return Claim(subject=subject, id=value.id, attempt=value.attempt, worker_id=value.lease.worker_id)


def extended(
    repository: LeasedRepository[Leased], claim: Claim, *, progress: Progress | None, expires_at: datetime
) -> HeartbeatAnswer:
    """Extend the lease, if it is still held."""
    is_held = repository.extend(claim, expires_at=expires_at, progress=progress)
    return HeartbeatAnswer.CONTINUE if is_held else HeartbeatAnswer.LOST
