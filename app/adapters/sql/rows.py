"""What all subjects share: insert, read, lock, write back, page, and the lease columns."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.domain.errors import LostLease, NotFound
from app.domain.lease import Claim, Lease, Progress


class Identified(Protocol):
    """A value with an id."""

    @property
    def id(self) -> str:
        """Its identity."""
        ...


T = TypeVar("T", bound=Identified)


class Rows(Generic[T]):
    """One table and the frozen dataclass that a row is: columns and fields share their names."""

    table: ClassVar[sa.Table]
    kind: ClassVar[type[Any]]
    noun: ClassVar[str]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, value: T) -> None:
        """Insert it."""
        self._connection.execute(sa.insert(self.table).values(self.columns(value)))

    def get(self, identity: str) -> T:
        """As stored. Raises: NotFound."""
        return self._one(sa.select(self.table), identity)

    def lock(self, identity: str) -> T:
        """As stored, locked until the unit of work ends. Raises: NotFound."""
        return self._one(sa.select(self.table).with_for_update(), identity)

    def save(self, value: T) -> None:
        """Write every column of a value that this unit of work locked."""
        self._connection.execute(sa.update(self.table).where(self.table.c.id == value.id).values(self.columns(value)))

    def page(self, *, limit: int, cursor: str | None) -> list[T]:
        """Up to `limit` values before `cursor` (an id), newest first."""
        query = sa.select(self.table).order_by(self.table.c.id.desc()).limit(limit)
        return self.many(query if cursor is None else query.where(self.table.c.id < cursor))

    def many(self, query: sa.Select[Any]) -> list[T]:
        """Every row of a query as a value."""
        return [self.value(row) for row in self._connection.execute(query).mappings()]

    def first(self, query: sa.Select[Any]) -> T | None:
        """The first row of a query as a value."""
        row = self._connection.execute(query.limit(1)).mappings().first()
        return None if row is None else self.value(row)

    def _one(self, query: sa.Select[Any], identity: str) -> T:
        found = self.first(query.where(self.table.c.id == identity))
        if found is None:
            raise NotFound(self.noun, identity)
        return found

    def columns(self, value: T) -> dict[str, Any]:
        """The row of a value."""
        return {field.name: getattr(value, field.name) for field in fields(self.kind)}

    def value(self, row: Mapping[Any, Any]) -> T:
        """The value of a row."""
        found: T = self.kind(**{field.name: row[field.name] for field in fields(self.kind)})
        return found


class LeasedRows(Rows[T]):
    """Rows that workers claim: the dataclass's `lease` is `worker_id`, `lease_expires_at` and `lease_s`."""

    def columns(self, value: T) -> dict[str, Any]:
        """The row of a value, its lease flattened."""
        lease: Lease | None = getattr(value, "lease", None)
        return {
            **{field.name: getattr(value, field.name) for field in fields(self.kind) if field.name != "lease"},
            "worker_id": None if lease is None else lease.worker_id,
            "lease_expires_at": None if lease is None else lease.expires_at,
            "lease_s": None if lease is None else lease.length_s,
        }

    def value(self, row: Mapping[Any, Any]) -> T:
        """The value of a row, its lease put together."""
        expires_at = row["lease_expires_at"]
        lease = None
        if expires_at is not None:
            lease = Lease(worker_id=row["worker_id"], expires_at=expires_at, length_s=row["lease_s"])
        names = (field.name for field in fields(self.kind) if field.name != "lease")
        found: T = self.kind(lease=lease, **{name: row[name] for name in names})
        return found

    def held(self, claim: Claim) -> T:
        """The value, locked, if the claim still holds it. Raises: LostLease."""
        found = self.first(sa.select(self.table).where(*self._is_held(claim)).with_for_update())
        if found is None:
            raise LostLease(f"Attempt {claim.attempt} no longer holds {self.noun} {claim.id!r}.")
        return found

    def extend(self, claim: Claim, *, expires_at: datetime, progress: Progress | None) -> bool:
        """Extend the lease and note the progress; False when the claim no longer holds it."""
        values: dict[str, Any] = {"lease_expires_at": expires_at}
        if progress is not None:
            values["progress"] = progress
        updated = self._connection.execute(sa.update(self.table).where(*self._is_held(claim)).values(values))
        return updated.rowcount == 1

    def leased(self) -> list[T]:
        """Those that are in a worker's hands, or were in a dead one's."""
        return self.many(
            sa.select(self.table).where(self.table.c.lease_expires_at.is_not(None)).order_by(self.table.c.id)
        )

    def unextended(self, seen: T) -> T | None:
        """The value, locked, if its lease is still the one that it was seen with; None when it is not."""
        then, columns = self.columns(seen), self.table.c
        is_same = [columns[name] == then[name] for name in ("id", "attempt", "worker_id", "lease_expires_at")]
        return self.first(sa.select(self.table).where(*is_same).with_for_update())

    def _is_held(self, claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
        columns = self.table.c
        return (
            columns.id == claim.id,
            columns.attempt == claim.attempt,
            columns.worker_id == claim.worker_id,
            columns.lease_expires_at.is_not(None),
        )
