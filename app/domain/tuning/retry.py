"""Retry policy: how often a trial is begun again after each kind of failure, and how long it waits before.

An attempt that fails is of one of four kinds; one that ended because the machine's disk was full is of none, and counts
for nothing. A kind that the policy names has an allowance of its own; the others share the study's `max_attempts`.

    wait before the next attempt = min(max_backoff_s, backoff_s * backoff_factor ^ (failures so far - 1))
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.domain.errors import InvalidRequest
from app.domain.lease import STORAGE_FULL, Failure

MAX_ATTEMPTS = 20
"""Attempts that one trial may have of a kind."""

LONGEST_BACKOFF_S = 86_400.0
"""The longest wait between two attempts that a policy may ask for."""

MAX_FACTOR = 100.0

MAX_ABORT_AFTER = 10_000


class FailureKind(StrEnum):
    """What went wrong with an attempt."""

    FAILED = "failed"
    """It crashed, or ended in an error."""
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    """Its worker stopped reporting."""


def kind_of(failure: Failure) -> FailureKind | None:
    """The kind that a failed attempt counts as; None when it does not count."""
    if failure.code == STORAGE_FULL:
        return None
    codes = {kind.value: kind for kind in FailureKind}
    return codes.get(failure.code, FailureKind.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCounts:
    """How many attempts ended in each kind of failure."""

    failed: int = 0
    timed_out: int = 0
    out_of_memory: int = 0
    lost: int = 0

    def of(self, kind: FailureKind) -> int:
        """Those of one kind."""
        n: int = getattr(self, kind.value)
        return n

    @property
    def total(self) -> int:
        """Those of every kind."""
        return sum(self.of(kind) for kind in FailureKind)

    def with_one(self, kind: FailureKind) -> "FailureCounts":
        """One more of a kind."""
        return replace(self, **{kind.value: self.of(kind) + 1})

    def __add__(self, other: "FailureCounts") -> "FailureCounts":
        return FailureCounts(**{kind.value: self.of(kind) + other.of(kind) for kind in FailureKind})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """See the module header. `on` gives the attempts that may end in a kind of failure before the trial has failed.

    `abort_after`: the study fails at once when so many trials of its search have ended and all in the same failure.
    """

    backoff_s: float = 1.0
    backoff_factor: float = 2.0
    max_backoff_s: float = 60.0
    on: dict[FailureKind, int] = field(default_factory=dict)
    abort_after: int | None = None

    def __post_init__(self) -> None:
        _check("backoff_s", self.backoff_s, 0, LONGEST_BACKOFF_S)
        _check("backoff_factor", self.backoff_factor, 1, MAX_FACTOR)
        _check("max_backoff_s", self.max_backoff_s, 0, LONGEST_BACKOFF_S)
        for kind, n_attempts in self.on.items():
            _check(f"on/{FailureKind(kind).value}", n_attempts, 1, MAX_ATTEMPTS)
        if self.abort_after is not None:
            _check("abort_after", self.abort_after, 1, MAX_ABORT_AFTER)
        object.__setattr__(self, "on", {FailureKind(kind): n for kind, n in self.on.items()})  # the caller's may change

    def allows(self, failures: FailureCounts, kind: FailureKind, *, max_attempts: int) -> bool:
        """Whether a trial with these failures, the last of this kind, is begun again."""
        if kind in self.on:
            return failures.of(kind) < self.on[kind]
        return sum(failures.of(other) for other in FailureKind if other not in self.on) < max_attempts

    def wait_s(self, n_failures: int) -> float:
        """Seconds between failure number `n_failures`, counted from 1, and the next attempt."""
        return min(self.max_backoff_s, self.backoff_s * self.backoff_factor ** (n_failures - 1))


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        shown = name.replace("/", ".")
        raise InvalidRequest(
            f"retry.{shown} must be between {low:g} and {high:g}, not {value}.", pointer=f"/retry/{name}"
        )
