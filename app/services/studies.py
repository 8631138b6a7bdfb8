"""Studies as their owners see them: asked for, watched, paused, cancelled."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.domain.datasets import Counts, DatasetState
from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.lease import Failure
from app.domain.ports import Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.training import Trainer
from app.domain.tuning.constraints import Constraint, Standing, bound_of, standing
from app.domain.tuning.objectives import check_segments
from app.domain.tuning.pruning import Savings, savings
from app.domain.tuning.retry import FailureCounts
from app.domain.tuning.stopping import SearchSoFar, Stopped, due, noise_floor
from app.domain.tuning.study import OPEN_STATES, STUDY_MOVES, Study, StudySpec, StudyState
from app.domain.tuning.trial import (
    ENDED_STATES,
    TRIAL_MOVES,
    Baseline,
    Trial,
    TrialRole,
    TrialState,
    baselines,
)
from app.domain.tuning.warm_start import Source
from app.services.confirming import further_trials, n_further, unconfirmed
from app.services.contest import beyond_reach, without_feasible
from app.services.idempotency import Idempotency, Replay, once
from app.services.paging import Page, page_of
from app.services.warm_starting import inherit, inherit_as


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintView:
    """A constraint over a whole study: its bound once known, and how many completed trials keep it, of how many."""

    constraint: Constraint
    bound: float | None
    n_kept: int
    n_known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """A trial with its study, and how it stands to each constraint of that."""

    trial: Trial
    study: Study
    standings: list[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """A study with what its owner wants to know at a glance. `eta_s` is None until a trial has ended."""

    study: Study
    counts: dict[TrialState, int]
    n_ended: int
    n_trials: int
    best: Trial | None
    baselines: list[Trial]
    confirmation: Trial | None
    eta_s: float | None
    running: list[Trial]
    failures: FailureCounts
    run_s: float
    savings: Savings
    constraints: list[ConstraintView]
    n_attached: int
    unconfirmed: str | None
    sources: list[Source]

    @property
    def fraction(self) -> float:
        """The share of all work done, running trials counted by their progress."""
        under_way = sum(trial.progress.fraction for trial in self.running if trial.progress is not None)
        return min(1.0, (self.n_ended + under_way) / self.n_trials)


class StudyService:
    """Studies and their trials."""

    def __init__(self, units: UnitsOfWork, *, ids: Ids, signals: Signals) -> None:
        self._units = units
        self._ids = ids
        self._signals = signals

    def create(self, spec: StudySpec, *, idempotency: Idempotency[Study] | None = None) -> Study | Replay:
        """Ask for a study. Raises: InvalidRequest when there is no such dataset, Conflict when it is not ready."""
        with self._units() as unit:
            study = once(unit, idempotency, lambda: self.added(unit, spec))
            unit.commit()
        self._signals.wake()
        return study

    def added(self, unit: UnitOfWork, spec: StudySpec, *, cloned_from: str | None = None) -> Study:
        """A new study and its baselines, added in a unit of work of the caller's.

        Raises: InvalidRequest when there is no such dataset or segment, Conflict when the dataset is not ready.
        """
        self._check_dataset(unit, spec.dataset_id)
        objective = spec.objective
        check_segments(
            objective.aggregate, weights=objective.weights, scope=objective.scope, segments=segments_of(unit, spec)
        )
        study = Study(
            id=self._ids.new("std"),
            spec=spec,
            state=StudyState.QUEUED,
            created_at=unit.now(),
            cloned_from=cloned_from,
        )
        unit.studies.add(study)
        if cloned_from is None:
            inherit(unit, study, ids=self._ids)
        else:
            inherit_as(unit, study, unit.studies.get(cloned_from), ids=self._ids)
        if spec.baselines:
            for number, baseline in enumerate(baselines(epochs=_baseline_epochs(spec))):
                unit.trials.add(self._baseline_trial(study, number=number, baseline=baseline))
        return study

    def _check_dataset(self, unit: UnitOfWork, dataset_id: str) -> None:
        try:
            dataset = unit.datasets.get(dataset_id)
        except NotFound as error:
            raise InvalidRequest(str(error), pointer="/dataset_id") from error
        if dataset.state is not DatasetState.READY:
            raise Conflict(f"Dataset {dataset_id!r} is {dataset.state.value}: a study needs one that is ready.")

    def _baseline_trial(self, study: Study, *, number: int, baseline: Baseline) -> Trial:
        return Trial(
            id=self._ids.new("trl"),
            study_id=study.id,
            role=TrialRole.BASELINE,
            number=number,
            name=baseline.name,
            method=baseline.method,
            parameters=baseline.parameters,
            state=TrialState.WAITING,
            created_at=study.created_at,
        )

    def get(self, study_id: str) -> StudyView:
        """A study at a glance. Raises: NotFound."""
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            trials = unit.trials.of_study(study_id)
            sources = unit.inherited.sources(study_id)
            now = unit.now()
        return replace(_view(study, trials, now=now), sources=sources)

    def list(self, *, limit: int, cursor: str | None = None) -> Page[Study]:
        """Studies, newest first."""
        with self._units.reading() as unit:
            rows = unit.studies.page(limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda study: study.id)

    def trials(
        self, study_id: str, *, limit: int, cursor: str | None = None, role: TrialRole | None = None
    ) -> Page[Trial]:
        """A study's trials in the order they were made. Raises: NotFound."""
        with self._units.reading() as unit:
            unit.studies.get(study_id)
            rows = unit.trials.page_of_study(study_id, role=role, limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda trial: trial.id)

    def study(self, study_id: str) -> Study:
        """A study alone. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.studies.get(study_id)

    def trial(self, trial_id: str) -> Trial:
        """A trial. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.trials.get(trial_id)

    def trial_facts(self, trial_id: str) -> TrialFacts:
        """A trial beside the constraints of its study. Raises: NotFound."""
        with self._units.reading() as unit:
            trial = unit.trials.get(trial_id)
            study = unit.studies.get(trial.study_id)
            is_point = trial.role in {TrialRole.SEARCH, TrialRole.ATTACHED}
            constraints = study.spec.constraints if is_point else ()
            others = unit.trials.of_study(trial.study_id, role=TrialRole.BASELINE) if constraints else []
        known = {other.name: other for other in others}
        standings = [standing(constraint, trial, known) for constraint in constraints]
        return TrialFacts(trial=trial, study=study, standings=standings)

    def pause(self, study_id: str) -> Study:
        """Begin no further trial; those under way go on. Raises: NotFound, Conflict."""
        with self._units() as unit:
            study = moved(unit.studies.lock(study_id), StudyState.PAUSED, now=unit.now())
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study

    def resume(self, study_id: str) -> Study:
        """Go on after a pause. Raises: NotFound, Conflict."""
        with self._units() as unit:
            study = unit.studies.lock(study_id)
            if study.state is not StudyState.PAUSED:
                raise Conflict(f"Study {study_id!r} is {study.state.value}, not paused.")
            state = StudyState.QUEUED if study.started_at is None else StudyState.RUNNING
            now = unit.now()
            study = settled(unit, moved(study, state, now=now), now=now, ids=self._ids)
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study

    def cancel(self, study_id: str) -> Study:
        """End the study now; running trials are told at their next heartbeat.

        One whose winner is confirmed already, and that runs for replicates or a transfer alone, is completed without
        them. Raises: NotFound, Conflict.
        """
        with self._units() as unit:
            now = unit.now()
            study = unit.studies.lock(study_id)
            state = StudyState.COMPLETED if _lacks_nothing(unit, study) else StudyState.CANCELLED
            study = replace(moved(study, state, now=now), finished_at=now)
            cancel_waiting(unit, study_id, now=now)
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study


def segments_of(unit: UnitOfWork, spec: StudySpec) -> dict[str, Counts]:
    """The segments of the study's dataset by name; none where it has none."""
    statistics = unit.datasets.get(spec.dataset_id).statistics
    return {} if statistics is None else statistics.segments


def _baseline_epochs(spec: StudySpec) -> int:
    epochs = spec.space.fixed.get("epochs")
    return int(epochs) if isinstance(epochs, int) else 3


def moved(study: Study, state: StudyState, *, now: datetime) -> Study:
    """The study in another state. Raises: Conflict when its lifecycle has no such move."""
    if state not in STUDY_MOVES[study.state]:
        raise Conflict(f"Study {study.id!r} is {study.state.value} and cannot become {state.value}.")
    return study.in_state(state, now=now)


def ended(trial: Trial, state: TrialState, *, now: datetime, **changes: Any) -> Trial:  # noqa: ANN401 - its fields
    """The trial in an end state, out of every worker's hands. Raises: Conflict."""
    if state not in TRIAL_MOVES[trial.state]:
        raise Conflict(f"Trial {trial.id!r} is {trial.state.value} and cannot become {state.value}.")
    return replace(trial, state=state, lease=None, finished_at=now, **changes)


def settled(unit: UnitOfWork, study: Study, *, now: datetime, ids: Ids) -> Study:
    """The locked study after one of its trials has ended: confirmed, completed or failed when its time has come.

    Asks its stopping rules. Adds the confirmation of a new winner once the search is over. A paused study settles when
    it is resumed.
    """
    if study.state is not StudyState.RUNNING:
        return study
    if not _is_confirming(unit, study):
        study = stopped_if_due(unit, study, now=now)
    hopeless = beyond_reach(unit, study) or _hopeless(unit, study)
    if hopeless is not None:
        cancel_waiting(unit, study.id, now=now)
        return _failed(study, hopeless, now=now)
    counts = unit.trials.counts(study.id)
    n_search = sum(n for (role, _), n in counts.items() if role is TrialRole.SEARCH)
    n_open = sum(n for (_, state), n in counts.items() if state not in ENDED_STATES)
    if (n_search < study.spec.budget and study.stopped is None) or n_open > 0:
        return study
    if study.best_trial_id is None:
        failure = without_feasible(unit, study) or _unusable(_reasons(unit, study.id))
        return _failed(study, failure, now=now)
    further = further_trials(study, unit.trials.of_study(study.id), ids=ids, now=now)
    for trial in further:
        unit.trials.add(trial)
    if further:
        return study
    return replace(moved(study, StudyState.COMPLETED, now=now), finished_at=now)


def _is_confirming(unit: UnitOfWork, study: Study) -> bool:
    """Whether the search is over and its winner is being looked at: no rule can end it any more."""
    counts = unit.trials.counts(study.id)
    search = {state: n for (role, state), n in counts.items() if role is TrialRole.SEARCH}
    if sum(search.values()) < study.spec.budget or not search.keys() <= ENDED_STATES:
        return False
    return confirmation_in(unit.trials.of_study(study.id, role=TrialRole.CONFIRMATION), study.best_trial_id) is not None


def _lacks_nothing(unit: UnitOfWork, study: Study) -> bool:
    """Whether an open study's search is over and its winner measured on the test pairs: what runs is beside that."""
    counts = unit.trials.counts(study.id)
    search = {state: n for (role, state), n in counts.items() if role is TrialRole.SEARCH}
    is_over = search.keys() <= ENDED_STATES and (sum(search.values()) >= study.spec.budget or study.stopped is not None)
    if study.state not in OPEN_STATES or not is_over:
        return False
    confirmation = confirmation_in(unit.trials.of_study(study.id, role=TrialRole.CONFIRMATION), study.best_trial_id)
    return confirmation is not None and confirmation.state is TrialState.COMPLETED


def stopped_if_due(
    unit: UnitOfWork, study: Study, *, now: datetime, expected_improvement: float | None = None
) -> Study:
    """The locked study, stopped if one of its rules says so: its trials that were never begun are cancelled then."""
    if study.stopped is not None or not study.spec.stopping.has_rules:
        return study
    found = due(study.spec.stopping, so_far(unit, study, now=now, expected_improvement=expected_improvement))
    if found is None:
        return study
    rule, reason = found
    cancel_unbegun(unit, study, now=now)
    return replace(study, stopped=Stopped(rule=rule, reason=reason, at=now))


def so_far(unit: UnitOfWork, study: Study, *, now: datetime, expected_improvement: float | None = None) -> SearchSoFar:
    """What the study's stopping rules look at."""
    search = unit.trials.of_study(study.id, role=TrialRole.SEARCH)
    best = next((trial for trial in search if trial.id == study.best_trial_id), None)
    validation = None if best is None or best.outcome is None else best.outcome.validation
    estimate = None if validation is None else validation.judged.objective
    return SearchSoFar(
        n_begun=sum(_is_begun(trial) for trial in search),
        run_s=study.run_s(now),
        values=[
            trial.objective if trial.state is TrialState.COMPLETED else None
            for trial in sorted(search, key=lambda trial: (trial.finished_at or now, trial.number))
            if trial.state in ENDED_STATES - {TrialState.FAILED, TrialState.CANCELLED}
        ],
        best=None if best is None else best.objective,
        noise_floor=None if estimate is None else noise_floor(estimate),
        expected_improvement=expected_improvement,
    )


def cancel_unbegun(unit: UnitOfWork, study: Study, *, now: datetime) -> None:
    """Cancel the locked study's trials of the search that no worker has begun; one that waits to be retried was."""
    for trial in unit.trials.of_study(study.id, role=TrialRole.SEARCH):
        if trial.state is TrialState.WAITING and not _is_begun(trial):
            unit.trials.save(ended(trial, TrialState.CANCELLED, now=now))


def cancel_waiting(unit: UnitOfWork, study_id: str, *, now: datetime) -> None:
    """Cancel all trials of the locked study that wait for a worker."""
    while (trial := unit.trials.next_waiting(study_id)) is not None:
        unit.trials.save(ended(trial, TrialState.CANCELLED, now=now))


def _is_begun(trial: Trial) -> bool:
    return trial.attempt > 0 and trial.state is not TrialState.CANCELLED


def _unusable(reason: str) -> Failure:
    return Failure(code="no_usable_trial", reason=f"No trial could be trained and measured: {reason}")


def _failed(study: Study, failure: Failure, *, now: datetime) -> Study:
    return replace(moved(study, StudyState.FAILED, now=now), finished_at=now, failure=failure)


def _hopeless(unit: UnitOfWork, study: Study) -> Failure | None:
    """Why the study is given up before its budget is used up; None when it is not."""
    limit = study.spec.retry.abort_after
    if limit is None or study.best_trial_id is not None:
        return None
    over = [trial for trial in unit.trials.of_study(study.id, role=TrialRole.SEARCH) if trial.state in ENDED_STATES]
    codes = {None if trial.failure is None else trial.failure.code for trial in over}
    if len(over) < limit or len(codes) > 1 or None in codes:
        return None
    return _unusable(f"the first {len(over)} all ended in the same way, {_told(over)}.")


def _reasons(unit: UnitOfWork, study_id: str) -> str:
    search = unit.trials.of_study(study_id, role=TrialRole.SEARCH)
    states = Counter(trial.state.value for trial in search)
    told = [", ".join(f"{n} {state}" for state, n in sorted(states.items()))]
    if any(trial.failure is not None for trial in search):
        told.append(_told(search))
    return f"{'; '.join(told)}."


def _told(trials: list[Trial]) -> str:
    """How many trials ended in each failure, the most frequent first, and the last one's reason."""
    failures = [trial.failure for trial in trials if trial.failure is not None]
    codes = Counter(failure.code for failure in failures)
    shown = ", ".join(f"{n} {code}" for code, n in codes.most_common())
    return f"{shown} (the last: {failures[-1].reason.rstrip('.')})"


def confirmation_in(trials: Iterable[Trial], best_trial_id: str | None) -> Trial | None:
    """The confirmation of the winner: a study that was extended may have those of earlier ones."""
    return next(
        (trial for trial in trials if trial.role is TrialRole.CONFIRMATION and trial.source_trial_id == best_trial_id),
        None,
    )


def _view(study: Study, trials: list[Trial], *, now: datetime) -> StudyView:
    search = [trial for trial in trials if trial.role is TrialRole.SEARCH]
    confirmation = confirmation_in(trials, study.best_trial_id)
    own = [trial for trial in trials if trial.role is not TrialRole.ATTACHED]
    planned = _n_search(study, search) + len(own) - len(search) + n_further(study, trials)
    n_ended = sum(trial.state in ENDED_STATES for trial in own)
    counts = {state: sum(trial.state is state for trial in search) for state in TrialState}
    view = StudyView(
        study=study,
        counts=counts,
        n_ended=n_ended,
        n_trials=planned,
        best=next((trial for trial in search if trial.id == study.best_trial_id), None),
        baselines=[trial for trial in trials if trial.role is TrialRole.BASELINE],
        confirmation=confirmation,
        eta_s=None,
        running=[trial for trial in trials if trial.state is TrialState.RUNNING],
        failures=sum((trial.failures for trial in trials), FailureCounts()),
        run_s=study.run_s(now),
        savings=savings(
            [
                (trial.parameters.epochs, trial.outcome.epochs[-1])
                for trial in search
                if trial.state is TrialState.PRUNED and trial.parameters is not None and trial.outcome is not None
            ]
        ),
        constraints=_constraint_views(study, trials),
        n_attached=len(trials) - len(own),
        unconfirmed=unconfirmed(study),
        sources=[],
    )
    return replace(view, eta_s=_eta_s(view, search, now=now))


def _n_search(study: Study, search: list[Trial]) -> int:
    """Trials of the search that there will be: no further ones once a rule has stopped it."""
    return len(search) if study.stopped is not None else max(study.spec.budget, len(search))


def _constraint_views(study: Study, trials: list[Trial]) -> list[ConstraintView]:
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    completed = [trial for trial in trials if trial.role is TrialRole.SEARCH and trial.state is TrialState.COMPLETED]
    views = []
    for constraint in study.spec.constraints:
        kept = [standing(constraint, trial, known).is_kept for trial in completed]
        views.append(
            ConstraintView(
                constraint=constraint,
                bound=bound_of(constraint, known),
                n_kept=kept.count(True),
                n_known=len(kept) - kept.count(None),
            )
        )
    return views


def _eta_s(view: StudyView, search: list[Trial], *, now: datetime) -> float | None:
    """Mean seconds of the search's ended trials times what is left, over the parallelism; less what is under way."""
    if view.study.state is not StudyState.RUNNING:
        return None
    spent = [
        (trial.finished_at - trial.started_at).total_seconds()
        for trial in search
        if trial.state in {TrialState.COMPLETED, TrialState.PRUNED}
        and trial.started_at is not None
        and trial.finished_at is not None
    ]
    if not spent:
        return None
    mean_s = sum(spent) / len(spent)
    n_left = _n_search(view.study, search) - sum(trial.state in ENDED_STATES for trial in search)
    under_way_s = sum(
        min(mean_s, (now - trial.started_at).total_seconds()) for trial in view.running if trial.started_at is not None
    )
    is_external = view.study.spec.trainer is Trainer.EXTERNAL
    n_at_once = max(1, len(view.running)) if is_external else view.study.spec.parallelism
    return max(0.0, n_left * mean_s - under_way_s) / n_at_once
