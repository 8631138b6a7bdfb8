"""Snapshots: what one pass over the plays found, kept, so that nobody who reads an experiment waits for the next.

    a UTC day ends ──► a worker makes the pass ──► kept ──► answered all day, made again as plays come late
    somebody asks first ──► made while they wait ─┘

A pass is fresh for twenty times what it took: so at most a twentieth of the time goes into passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.experiments.health import RevisionCount
from app.domain.experiments.outcomes import Outcomes

FRESH_TIMES = 20

QUICK_S = 1.0
"""Who asks waits so long at most for plays that came late; what takes longer is left to the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Up to when a pass reads, when it was begun, and how long it took."""

    until: datetime
    made_at: datetime
    took_s: float

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is too early for another."""
        return now - self.made_at < timedelta(seconds=FRESH_TIMES * self.took_s)

    def answers(self, until: datetime, now: datetime) -> bool:
        """Whether somebody who asks for results up to an instant is answered by it."""
        return self.until == until and (self.is_fresh(now) or self.took_s > QUICK_S)

    def is_due(self, until: datetime, now: datetime) -> bool:
        """Whether a worker should make another, up to an instant."""
        return self.until != until or not (self.is_fresh(now) or self.took_s <= QUICK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a pass found of an experiment. `cut`: as for `OutcomeRepository.of_experiment`."""

    experiment_id: str
    cut: str | None
    timing: Timing
    outcomes: Outcomes
    revisions: Sequence[RevisionCount]
