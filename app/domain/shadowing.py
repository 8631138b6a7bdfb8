"""Shadowing: a challenger answers some of the requests of a live model, off the way of the answer, and is compared.

Notation: a request's live list L and the challenger's C give the overlap |L & C| / max(|L|, |C|), 1 when both are
empty. Seconds are counted in buckets, so that the counts of several servers add up: bucket b ends at 10^(-6 + b / 20)
seconds, and a quantile is the end of its bucket, at most 12 % too high.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np

N_BUCKETS = 160
PER_DECADE = 20
FASTEST = -6

NOTHING: tuple[int, ...] = (0,) * N_BUCKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A challenger of an alias: a model, or what another alias names; `share` of the requests are repeated."""

    id: str
    alias: str
    share: float
    created_at: datetime
    challenger_alias: str | None = None
    challenger_model_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What some requests showed: `n` compared, `n_errors` that the challenger could not answer, `n_dropped` unasked."""

    n: int = 0
    n_errors: int = 0
    n_dropped: int = 0
    overlap: float = 0.0
    """The sum of the overlaps."""
    live: tuple[int, ...] = NOTHING
    challenger: tuple[int, ...] = NOTHING

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            n=self.n + other.n,
            n_errors=self.n_errors + other.n_errors,
            n_dropped=self.n_dropped + other.n_dropped,
            overlap=self.overlap + other.overlap,
            live=tuple(map(sum, zip(self.live, other.live, strict=True))),
            challenger=tuple(map(sum, zip(self.challenger, other.challenger, strict=True))),
        )

    @property
    def mean_overlap(self) -> float | None:
        """Of the requests compared; None before the first."""
        return self.overlap / self.n if self.n else None


def overlap(live: Collection[str], challenger: Collection[str]) -> float:
    """The share of songs that both lists have.

    >>> overlap(["a", "b"], ["b", "c", "d", "e"])
    0.25
    """
    longest = max(len(live), len(challenger))
    return len(set(live) & set(challenger)) / longest if longest else 1.0


def bucket(seconds: float) -> int:
    """The bucket that counts so many seconds."""
    if seconds <= 0.0:
        return 0
    return min(N_BUCKETS - 1, max(0, math.ceil(PER_DECADE * (math.log10(seconds) - FASTEST))))


def quantile_ms(counts: Collection[int], share: float) -> float | None:
    """The milliseconds that a share of the requests took at most; None without any."""
    n_wanted = math.ceil(share * sum(counts))
    if n_wanted == 0:
        return None
    place = int(np.searchsorted(np.cumsum(list(counts)), n_wanted))
    return float(1000.0 * 10.0 ** (FASTEST + place / PER_DECADE))
