"""What services of datasets, trials, models and tables share: leases are taken, extended and lost in the same way."""

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from app.domain.datasets import Dataset
from app.domain.lease import STORAGE_FULL, Claim, Failure, HeartbeatAnswer, Lease, Progress
from app.domain.models import Model
from app.domain.neighbour_tables import NeighbourTable
from app.domain.ports import LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.domain.tuning.trial import Trial

Leased = TypeVar("Leased", Dataset, Trial, Model, NeighbourTable)

CLAIMED = Progress(phase="claimed", fraction=0.0)

LOST = Failure(code="lost", reason="The worker stopped reporting.")


def artifact_name(identity: str, attempt: int) -> str:
    """The name of the files that one attempt leaves: a late attempt never touches those of another."""
    return f"{identity}-{attempt}"


def claimed(value: Leased, *, worker_id: str, now: datetime, lease: timedelta) -> Leased:
    """The value in the hands of a worker, one attempt further."""
    return replace(
        value,
        attempt=value.attempt + 1,
        lease=Lease(worker_id=worker_id, expires_at=now + lease, length_s=lease.total_seconds()),
        progress=CLAIMED,
    )


def claim_on(value: Leased, subject: Literal["dataset", "trial", "model", "table"]) -> Claim:
    """What the worker that just claimed the value shows from now on."""
    if value.lease is None:
        msg = f"{subject} {value.id} is not leased."
        raise ValueError(msg)
    return Claim(subject=subject, id=value.id, attempt=value.attempt, worker_id=value.lease.worker_id)


def counted(attempt: int, failure: Failure) -> int:
    """How many attempts have counted once this one has failed."""
    return attempt - 1 if failure.code == STORAGE_FULL else attempt


class LeasedService(ABC, Generic[Leased]):
    """What workers report of the datasets they prepare and the models and tables they build."""

    def __init__(
        self, units: UnitsOfWork, *, signals: Signals, lease: timedelta, watch: LeaseWatch, max_attempts: int
    ) -> None:
        self._units = units
        self._signals = signals
        self._lease = lease
        self._watch = watch
        self._max_attempts = max_attempts

    @abstractmethod
    def _repository(self, unit: UnitOfWork) -> LeasedRepository[Leased]:
        """Where they are."""

    @abstractmethod
    def _waiting(self, held: Leased) -> Leased:
        """As it was before it was claimed, but for the attempt."""

    @abstractmethod
    def _failed(self, held: Leased, *, now: datetime) -> Leased:
        """Given up."""

    def heartbeat(self, claim: Claim, progress: Progress | None = None) -> HeartbeatAnswer:
        """The worker is alive: extend its lease."""
        with self._units() as unit:
            answer = extended(self._repository(unit), claim, progress=progress, now=unit.now(), lease=self._lease)
            unit.commit()
        return answer

    def fail(self, claim: Claim, failure: Failure, *, is_final: bool) -> Leased:
        """The attempt failed: try again, or give up when trying again is no use. Raises: LostLease."""
        with self._units() as unit:
            held = self._repository(unit).held(claim)
            ended = self._ended_attempt(unit, held, failure, is_final=is_final)
            unit.commit()
        return ended

    def release(self, claim: Claim) -> None:
        """The worker stops and hands it back: the attempt does not count. Raises: LostLease."""
        with self._units() as unit:
            repository = self._repository(unit)
            held = repository.held(claim)
            repository.save(replace(self._waiting(held), attempt=held.attempt - 1, lease=None, progress=None))
            unit.commit()
        self._signals.wake()

    def reap(self) -> int:
        """Take back what dead workers held; how many that were."""
        n_reaped = sum(self._take_back(seen) for seen in self._watch.unextended(self._leased))
        if n_reaped:
            self._signals.wake()
        return n_reaped

    def _leased(self) -> list[Leased]:
        with self._units.reading() as unit:
            return self._repository(unit).leased()

    def _take_back(self, seen: Leased) -> bool:
        with self._units() as unit:
            held = self._repository(unit).unextended(seen)
            if held is None:
                return False
            self._ended_attempt(unit, held, LOST, is_final=False)
            unit.commit()
        return True

    def _ended_attempt(self, unit: UnitOfWork, held: Leased, failure: Failure, *, is_final: bool) -> Leased:
        n_tried = counted(held.attempt, failure)
        if is_final or n_tried >= self._max_attempts:
            ended = replace(self._failed(held, now=unit.now()), lease=None, failure=failure)
        else:
            ended = replace(self._waiting(held), attempt=n_tried, lease=None, progress=None, failure=failure)
        self._repository(unit).save(ended)
        return ended


def extended(
    repository: LeasedRepository[Leased],
    claim: Claim,
    *,
    progress: Progress | None,
    now: datetime,
    lease: timedelta,
) -> HeartbeatAnswer:
    """Extend the lease, if it is still held; from now on it is as long as this."""
    is_held = repository.extend(claim, expires_at=now + lease, length_s=lease.total_seconds(), progress=progress)
    return HeartbeatAnswer.CONTINUE if is_held else HeartbeatAnswer.LOST
