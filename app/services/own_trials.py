"""Own trials: points that a client gives a study, to be tried next or with what they measured elsewhere.

An enqueued point is a trial of the search like any other, in the place of a suggestion: it counts towards the budget,
as in Optuna. An attached one informs the suggester and costs nothing, so it does not count; it never becomes the
study's best, for Segue neither has its vectors nor measured it: enqueue its point to have both.
"""

from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import BudgetSpent, Conflict, InvalidRequest
from app.domain.lease import Progress
from app.domain.ports import Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.training import TrainingParameters
from app.domain.tuning.own_points import own_point
from app.domain.tuning.reporting import Report
from app.domain.tuning.search_space import Value
from app.domain.tuning.study import MAX_BUDGET, OPEN_STATES, Study
from app.domain.tuning.trial import Method, Origin, Trial, TrialOutcome, TrialRole, TrialState
from app.services.idempotency import Idempotency, Replay, once

ATTACHED = Progress(phase="attached", fraction=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTrial:
    """Values by hyperparameter, those that the study fixes left out or not; and what the point measured elsewhere."""

    parameters: dict[str, Value]
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class AddedTrials:
    """The trials made of own points, in the order given, and their study."""

    study: Study
    trials: list[Trial]


class OwnTrialService:
    """See the module header."""

    def __init__(self, units: UnitsOfWork, *, ids: Ids, signals: Signals) -> None:
        self._units = units
        self._ids = ids
        self._signals = signals

    def add(
        self, study_id: str, own: list[OwnTrial], *, idempotency: Idempotency[AddedTrials] | None = None
    ) -> AddedTrials | Replay:
        """All of them or none, in the order given. Earlier enqueued ones are tried before, a warm start's points after.

        Raises: NotFound; InvalidRequest, which points into the list; Conflict when the study has ended; BudgetSpent
        when it has room for fewer.
        """
        with self._units() as unit:
            added = once(unit, idempotency, lambda: self._added(unit, study_id, own))
            unit.commit()
        self._signals.wake()
        return added

    def _added(self, unit: UnitOfWork, study_id: str, own: list[OwnTrial]) -> AddedTrials:
        study = unit.studies.lock(study_id)
        if study.state not in OPEN_STATES:
            raise Conflict(f"Study {study_id!r} is {study.state.value} and takes no further trial.")
        if study.stopped is not None:
            raise Conflict(f"Study {study_id!r} takes no further trial, for it was stopped: {study.stopped.reason}")
        points = [
            own_point(study.spec.space, each.parameters, pointer=f"/trials/{place}/parameters")
            for place, each in enumerate(own)
        ]
        numbers = _Numbers(unit, study)
        numbers.check_room(n_enqueued=sum(each.report is None for each in own))
        now = unit.now()
        added: list[Trial] = []
        for each, parameters in zip(own, points, strict=True):
            if each.report is None:
                trial = self._enqueued(study, parameters, number=numbers.next_of(TrialRole.SEARCH), now=now)
            else:
                outcome = each.report.outcome(study.spec, pointer=f"/trials/{len(added)}")
                number = numbers.next_of(TrialRole.ATTACHED)
                trial = self._attached(study, parameters, outcome, number=number, now=now)
            unit.trials.add(trial)
            added.append(trial)
        return AddedTrials(study, added)

    def _enqueued(self, study: Study, parameters: TrainingParameters, *, number: int, now: datetime) -> Trial:
        return Trial(
            id=self._ids.new("trl"),
            study_id=study.id,
            role=TrialRole.SEARCH,
            number=number,
            name=f"trial-{number}",
            method=Method.WORD2VEC,
            parameters=parameters,
            state=TrialState.WAITING,
            created_at=now,
            revision=study.revision,
            origin=Origin.ENQUEUED,
        )

    def _attached(
        self, study: Study, parameters: TrainingParameters, outcome: TrialOutcome, *, number: int, now: datetime
    ) -> Trial:
        return Trial(
            id=self._ids.new("trl"),
            study_id=study.id,
            role=TrialRole.ATTACHED,
            number=number,
            name=f"attached-{number}",
            method=Method.WORD2VEC,
            parameters=parameters,
            state=TrialState.COMPLETED,
            created_at=now,
            revision=study.revision,
            progress=ATTACHED,
            outcome=outcome,
            finished_at=now,
        )


class _Numbers:
    """The next free number of each role in a locked study."""

    def __init__(self, unit: UnitOfWork, study: Study) -> None:
        self._study = study
        self._next = dict.fromkeys(TrialRole, 0)
        for (role, _), n in unit.trials.counts(study.id).items():
            self._next[role] += n

    def check_room(self, *, n_enqueued: int) -> None:
        """Raises: BudgetSpent."""
        n_left = max(0, self._study.spec.budget - self._next[TrialRole.SEARCH])
        if n_enqueued > n_left:
            raise BudgetSpent(
                f"Study {self._study.id!r} has room for {n_left} further trials of its {self._study.spec.budget}, "
                f"not for {n_enqueued}."
            )

    def next_of(self, role: TrialRole) -> int:
        """A number, never given again. Raises: InvalidRequest."""
        number = self._next[role]
        if number >= MAX_BUDGET:
            raise InvalidRequest(f"A study takes {MAX_BUDGET} attached trials at most.", pointer="/trials")
        self._next[role] += 1
        return number
