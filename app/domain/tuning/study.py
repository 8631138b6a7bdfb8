"""Studies: one search of one space for one objective on one dataset.

queued ──► running ◄──► completed             back to running: extended
  │ ▲        │ ▲  └◄──► failed (no usable trial, or none that keeps the constraints)
  ▼ │        ▼ │
 paused ◄──────┘      any open state ──► cancelled
"""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from app.domain.errors import InvalidRequest
from app.domain.lease import Failure
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.constraints import MAX_CONSTRAINTS, Constraint
from app.domain.tuning.objectives import Aggregate, ObjectiveName, check_aggregate, check_objectives
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.revisions import Revision
from app.domain.tuning.search_space import IntParameter, SearchSpace
from app.domain.tuning.stopping import Stopped, Stopping
from app.domain.tuning.warm_start import WarmStart


class StudyState(StrEnum):
    """See the drawing in the module header."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


STUDY_MOVES: dict[StudyState, frozenset[StudyState]] = {
    StudyState.QUEUED: frozenset({StudyState.RUNNING, StudyState.PAUSED, StudyState.CANCELLED}),
    StudyState.RUNNING: frozenset({StudyState.PAUSED, StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.PAUSED: frozenset({StudyState.QUEUED, StudyState.RUNNING, StudyState.COMPLETED, StudyState.CANCELLED}),
    StudyState.COMPLETED: frozenset({StudyState.RUNNING}),
    StudyState.FAILED: frozenset({StudyState.RUNNING}),
    StudyState.CANCELLED: frozenset(),
}

OPEN_STATES = frozenset({StudyState.QUEUED, StudyState.RUNNING, StudyState.PAUSED})


MAX_BUDGET = 10_000
"""Trials that one study may have."""

LIMITS: dict[str, tuple[int, int]] = {
    "n_initial": (1, MAX_BUDGET),
    "n_iterations": (0, MAX_BUDGET),
    "seed": (0, 2**31 - 1),
    "parallelism": (1, 256),
    "threads": (1, 256),
    "max_attempts": (1, 20),
    "replicates": (0, 50),
}
"""The smallest and largest value that each number of a study may have, inclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """`hr_weight` * HR@k + (1 - hr_weight) * NDCG@k, maximised on the validation pairs.

    `aggregate` makes one number of the segments', by `weights` if it says so; with a `scope` the study trains and
    measures on the sessions of that segment alone.
    """

    k: int = 10
    hr_weight: float = 0.5
    aggregate: Aggregate = Aggregate.MICRO
    weights: dict[str, float] = field(default_factory=dict)
    scope: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 100:
            raise InvalidRequest(f"k must be between 1 and 100, not {self.k}.", pointer="/objective/k")
        if not 0 <= self.hr_weight <= 1:
            raise InvalidRequest(
                f"hr_weight must be between 0 and 1, not {self.hr_weight}.", pointer="/objective/hr_weight"
            )
        check_aggregate(self.aggregate, weights=self.weights, scope=self.scope)


@dataclass(frozen=True, slots=True)
class SegmentOf:
    """The study and its segment that a study of that segment alone was begun from."""

    study_id: str
    segment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """What a client asks for, with the article's defaults filled in by `search_space.preset`."""

    name: str
    dataset_id: str
    space: SearchSpace
    preset: Literal["article", "extended"] = "article"
    objective: Objective = field(default_factory=Objective)
    algorithm: Literal["bayesian", "random"] = "bayesian"
    acquisition: Literal["ei", "ucb", "poi"] = "ei"
    trainer: Trainer = DEFAULT_TRAINER
    n_initial: int = 5
    n_iterations: int = 19
    seed: int = 0
    parallelism: int = 1
    threads: int = 1
    trial_timeout_s: float | None = None
    max_attempts: int = 3
    baselines: bool = True
    warm_start: WarmStart | None = None
    replicates: int = 0
    objectives: tuple[ObjectiveName, ...] = ()
    """Two, where the study looks for the front between them: the first is the objective and decides which is best."""
    segment_of: SegmentOf | None = None
    stopping: Stopping = field(default_factory=Stopping)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    pruning: Pruning | None = None
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 200 or not self.name.isprintable() or self.name.isspace():
            raise InvalidRequest("name must have between 1 and 200 printable characters.", pointer="/name")
        for field_name, (low, high) in LIMITS.items():
            value = getattr(self, field_name)
            if not low <= value <= high:
                message = f"{field_name} must be between {low} and {high}, not {value}."
                raise InvalidRequest(message, pointer=f"/{field_name}")
        if self.budget > MAX_BUDGET:
            message = f"n_initial and n_iterations may make {MAX_BUDGET} trials together, not {self.budget}."
            raise InvalidRequest(message, pointer="/n_iterations")
        if self.trial_timeout_s is not None and not 0 < self.trial_timeout_s < math.inf:
            message = f"trial_timeout_s must be a number above 0, not {self.trial_timeout_s}."
            raise InvalidRequest(message, pointer="/trial_timeout_s")
        check_objectives(self.objectives, hr_weight=self.objective.hr_weight)
        if self.objectives and self.pruning is not None:
            message = "With two objectives no epoch says which trial is worse: such a study prunes none."
            raise InvalidRequest(message, pointer="/pruning")
        if self.objectives and self.stopping.min_expected_improvement is not None:
            message = "With two objectives no improvement of one is expected: min_expected_improvement cannot stop it."
            raise InvalidRequest(message, pointer="/stopping/min_expected_improvement")
        if self.algorithm == "random" and self.stopping.min_expected_improvement is not None:
            message = "A random search expects nothing of a point: it cannot stop by min_expected_improvement."
            raise InvalidRequest(message, pointer="/stopping/min_expected_improvement")
        if self.replicates and self.trainer is Trainer.EXTERNAL:
            message = "Segue cannot train the winner of an external trainer again: such a study has no replicates."
            raise InvalidRequest(message, pointer="/replicates")
        self._check_pruning()
        self._check_constraints()

    def _check_pruning(self) -> None:
        longest = self.longest_trial
        if self.pruning is not None and longest is not None and self.pruning.min_epochs >= longest:
            message = (
                f"min_epochs must be below the {longest} epochs of a trial, not {self.pruning.min_epochs}: "
                "none could be pruned."
            )
            raise InvalidRequest(message, pointer="/pruning/min_epochs")

    def _check_constraints(self) -> None:
        if len(self.constraints) > MAX_CONSTRAINTS:
            message = f"A study may have {MAX_CONSTRAINTS} constraints, not {len(self.constraints)}."
            raise InvalidRequest(message, pointer="/constraints")
        compared = [constraint for constraint in self.constraints if constraint.baseline is not None]
        if compared and not self.baselines:
            message = f"The constraint {str(compared[0])!r} needs the baselines, which are turned off."
            raise InvalidRequest(message, pointer="/baselines")

    @property
    def longest_trial(self) -> int | None:
        """The most epochs that a trial may run; None where the space does not say."""
        tuned = next((parameter for parameter in self.space.parameters if parameter.name == "epochs"), None)
        if tuned is None:
            fixed = self.space.fixed.get("epochs")
            return None if fixed is None else int(fixed)
        if isinstance(tuned, IntParameter):
            return tuned.high
        return max(int(value) for value in tuned.values or ())

    @property
    def budget(self) -> int:
        """Trials of the search, baselines apart."""
        return self.n_initial + self.n_iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study as stored. `best_trial_id` is the best completed trial of the search that keeps all constraints."""

    id: str
    spec: StudySpec
    state: StudyState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    best_trial_id: str | None = None
    failure: Failure | None = None
    stopped: Stopped | None = None
    """The rule by which it began no further trial, if it was one."""
    revisions: tuple[Revision, ...] = ()
    """Its search spaces, the present one last; none as long as it has had but one."""
    cloned_from: str | None = None
    """The study it was cloned from, which may have been deleted since."""
    version: int = 0
    """How often its owner has changed it."""
    ran_s: float = 0.0
    """Seconds it has run, up to when it last began to run."""
    running_since: datetime | None = None

    @property
    def revision(self) -> int:
        """The number of the present search space."""
        return self.revisions[-1].number if self.revisions else 0

    @property
    def all_revisions(self) -> tuple[Revision, ...]:
        """Every search space it has had, the present one last."""
        return self.revisions or (Revision(number=0, space=self.spec.space, at=self.created_at),)

    def space_at(self, revision: int) -> SearchSpace:
        """The search space of a revision that it has had."""
        return next(one.space for one in self.all_revisions if one.number == revision)

    def run_s(self, now: datetime) -> float:
        """Seconds it has run until now: neither those it waited to begin, nor those it was paused, nor after its end.

        Trials that a pause found under way go on uncounted.
        """
        since = self.running_since
        return self.ran_s + (0.0 if since is None else max(0.0, (now - since).total_seconds()))

    def in_state(self, state: StudyState, *, now: datetime) -> "Study":
        """The study from now on in another state, its time running or standing still."""
        is_running = state is StudyState.RUNNING
        return replace(self, state=state, ran_s=self.run_s(now), running_since=now if is_running else None)
