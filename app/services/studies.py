"""Studies as their owners see them: asked for, watched, paused, cancelled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.domain.datasets import DatasetState
from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.lease import Failure
from app.domain.ports import Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.tuning.search_space import SearchSpace
from app.domain.tuning.study import STUDY_MOVES, Study, StudySpec, StudyState
from app.domain.tuning.trial import (
    ENDED_STATES,
    TRIAL_MOVES,
    Baseline,
    Method,
    Trial,
    TrialRole,
    TrialState,
    baselines,
)
from app.services.idempotency import Idempotency, Replay, once
from app.services.paging import Page, page_of


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

            def create() -> Study:
                self._check_dataset(unit, spec.dataset_id)
                study = Study(id=self._ids.new("std"), spec=spec, state=StudyState.QUEUED, created_at=unit.now())
                unit.studies.add(study)
                if spec.baselines:
                    for number, baseline in enumerate(baselines(epochs=_baseline_epochs(spec))):
                        unit.trials.add(self._baseline_trial(study, number=number, baseline=baseline))
                return study

            study = once(unit, idempotency, create)
            unit.commit()
        self._signals.wake()
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
            now = unit.now()
        return _view(study, trials, now=now)

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

    def space(self, study_id: str) -> SearchSpace:
        """What a study searches. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.studies.get(study_id).spec.space

    def trial(self, trial_id: str) -> Trial:
        """A trial. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.trials.get(trial_id)

    def pause(self, study_id: str) -> Study:
        """Begin no further trial; those under way go on. Raises: NotFound, Conflict."""
        return self._move(study_id, StudyState.PAUSED)

    def resume(self, study_id: str) -> Study:
        """Go on after a pause. Raises: NotFound, Conflict."""
        with self._units() as unit:
            study = unit.studies.lock(study_id)
            if study.state is not StudyState.PAUSED:
                raise Conflict(f"Study {study_id!r} is {study.state.value}, not paused.")
            state = StudyState.QUEUED if study.started_at is None else StudyState.RUNNING
            study = settled(unit, moved(study, state), now=unit.now(), ids=self._ids)
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study

    def cancel(self, study_id: str) -> Study:
        """End the study now; running trials are told at their next heartbeat. Raises: NotFound, Conflict."""
        return self._move(study_id, StudyState.CANCELLED)

    def _move(self, study_id: str, state: StudyState) -> Study:
        with self._units() as unit:
            study = moved(unit.studies.lock(study_id), state)
            if state is StudyState.CANCELLED:
                study = replace(study, finished_at=unit.now())
                while (trial := unit.trials.next_waiting(study_id)) is not None:
                    unit.trials.save(ended(trial, TrialState.CANCELLED, now=unit.now()))
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study


def _baseline_epochs(spec: StudySpec) -> int:
    epochs = spec.space.fixed.get("epochs")
    return int(epochs) if isinstance(epochs, int) else 3


def moved(study: Study, state: StudyState) -> Study:
    """The study in another state. Raises: Conflict when its lifecycle has no such move."""
    if state not in STUDY_MOVES[study.state]:
        raise Conflict(f"Study {study.id!r} is {study.state.value} and cannot become {state.value}.")
    return replace(study, state=state)


def ended(trial: Trial, state: TrialState, *, now: datetime, **changes: Any) -> Trial:  # noqa: ANN401 - its fields
    """The trial in an end state, out of every worker's hands. Raises: Conflict."""
    if state not in TRIAL_MOVES[trial.state]:
        raise Conflict(f"Trial {trial.id!r} is {trial.state.value} and cannot become {state.value}.")
    return replace(trial, state=state, lease=None, finished_at=now, **changes)


def settled(unit: UnitOfWork, study: Study, *, now: datetime, ids: Ids) -> Study:
    """The locked study after one of its trials has ended: confirmed, completed or failed when its time has come.

    Adds the confirmation once the search is over. A paused study settles when it is resumed.
    """
    if study.state is not StudyState.RUNNING:
        return study
    counts = unit.trials.counts(study.id)
    n_search = sum(n for (role, _), n in counts.items() if role is TrialRole.SEARCH)
    n_open = sum(n for (_, state), n in counts.items() if state not in ENDED_STATES)
    if n_search < study.spec.budget or n_open > 0:
        return study
    if study.best_trial_id is None:
        reason = "No trial could be trained and measured: " + _reasons(counts)
        return replace(
            moved(study, StudyState.FAILED), finished_at=now, failure=Failure(code="no_usable_trial", reason=reason)
        )
    if not any(role is TrialRole.CONFIRMATION for role, _ in counts):
        best = unit.trials.get(study.best_trial_id)
        unit.trials.add(_confirmation_of(best, identity=ids.new("trl"), now=now))
        return study
    return replace(moved(study, StudyState.COMPLETED), finished_at=now)


def _reasons(counts: Mapping[tuple[TrialRole, TrialState], int]) -> str:
    told = [f"{n} {state.value}" for (role, state), n in sorted(counts.items()) if role is TrialRole.SEARCH]
    return ", ".join(told) + "."


def _confirmation_of(best: Trial, *, identity: str, now: datetime) -> Trial:
    return Trial(
        id=identity,
        study_id=best.study_id,
        role=TrialRole.CONFIRMATION,
        number=0,
        name="winner_on_test",
        method=Method.WORD2VEC,
        parameters=best.parameters,
        state=TrialState.WAITING,
        created_at=now,
        source_trial_id=best.id,
    )


def _view(study: Study, trials: list[Trial], *, now: datetime) -> StudyView:
    search = [trial for trial in trials if trial.role is TrialRole.SEARCH]
    planned = study.spec.budget + sum(trial.role is TrialRole.BASELINE for trial in trials) + 1
    n_ended = sum(trial.state in ENDED_STATES for trial in trials)
    counts = {state: sum(trial.state is state for trial in search) for state in TrialState}
    view = StudyView(
        study=study,
        counts=counts,
        n_ended=n_ended,
        n_trials=planned,
        best=next((trial for trial in search if trial.id == study.best_trial_id), None),
        baselines=[trial for trial in trials if trial.role is TrialRole.BASELINE],
        confirmation=next((trial for trial in trials if trial.role is TrialRole.CONFIRMATION), None),
        eta_s=None,
        running=[trial for trial in trials if trial.state is TrialState.RUNNING],
    )
    return replace(view, eta_s=_eta_s(view, search, now=now))


def _eta_s(view: StudyView, search: list[Trial], *, now: datetime) -> float | None:
    """Mean seconds of the search's ended trials times what is left, over the parallelism; less what is under way."""
    if view.study.state is not StudyState.RUNNING:
        return None
    spent = [
        (trial.finished_at - trial.started_at).total_seconds()
        for trial in search
        if trial.state is TrialState.COMPLETED and trial.started_at is not None and trial.finished_at is not None
    ]
    if not spent:
        return None
    mean_s = sum(spent) / len(spent)
    n_left = view.study.spec.budget - sum(trial.state in ENDED_STATES for trial in search)
    under_way_s = sum(
        min(mean_s, (now - trial.started_at).total_seconds()) for trial in view.running if trial.started_at is not None
    )
    return max(0.0, n_left * mean_s - under_way_s) / view.study.spec.parallelism
