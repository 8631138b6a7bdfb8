"""The same idempotency key gives the same answer: it is stored in the unit of work that did what was asked."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

from app.domain.errors import KeyReused
from app.domain.repositories import UnitOfWork

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Idempotency(Generic[T]):
    """A client's key, a hash of the whole request it came with, and how the answer is rendered."""

    key: str
    request_sha256: str
    render: Callable[[T], dict[str, Any]]

    def with_content(self, sha256: str) -> Self:
        """The same, its hash made to cover a file too that was hashed while it came."""
        both = hashlib.sha256(f"{self.request_sha256} {sha256}".encode()).hexdigest()
        return replace(self, request_sha256=both)


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that was given the first time."""

    answer: dict[str, Any]


def once(unit: UnitOfWork, idempotency: Idempotency[T] | None, create: Callable[[], T]) -> T | Replay:
    """What `create` makes, or the stored answer if the key was used before. The caller commits.

    Raises: KeyReused when the key came with another request.
    """
    if idempotency is None:
        return create()
    used = unit.idempotency.reserve(idempotency.key, request_sha256=idempotency.request_sha256, at=unit.now())
    if used is not None:
        request_sha256, answer = used
        if request_sha256 != idempotency.request_sha256:
            raise KeyReused("The Idempotency-Key was used for a different request.")
        return Replay(answer)
    value = create()
    unit.idempotency.answer(idempotency.key, idempotency.render(value))
    return value
