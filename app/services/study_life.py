"""What an owner does to a study beside watching it: extend, change, clone and delete it; and the sweep after that."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from app.domain.errors import Conflict, InvalidRequest, StaleVersion
from app.domain.models import ModelState
from app.domain.ports import ArtifactStore, Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.tuning.revisions import Revision, revised
from app.domain.tuning.search_space import Parameter, Value
from app.domain.tuning.stopping import due
from app.domain.tuning.study import MAX_BUDGET, OPEN_STATES, Study, StudySpec, StudyState
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.artifacts import RANKS, VECTORS, artifacts_of
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import artifact_name
from app.services.studies import StudyService, moved, settled, so_far

MAX_REVISIONS = 100
"""Search spaces that one study may have had."""

ORPHANED_AFTER_S = 3_600.0
"""Vectors that no trial keeps are swept once they are so old: a report writes them moments before its row."""

N_LOOKED_UP = 500
"""Trials looked up in one query."""

N_NAMED = 5
"""Models that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to become of a study: fields of `StudySpec` by name, and what differs in its search space."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Parameter | Value] = field(default_factory=dict)


class StudyLife:
    """See the module header."""

    def __init__(
        self, units: UnitsOfWork, *, studies: StudyService, store: ArtifactStore, ids: Ids, signals: Signals
    ) -> None:
        self._units = units
        self._studies = studies
        self._store = store
        self._ids = ids
        self._signals = signals

    def extend(
        self, study_id: str, *, n_iterations: int, idempotency: Idempotency[Study] | None = None
    ) -> Study | Replay:
        """Have a study that has ended run again, for so many further trials.

        The rule that stopped it and those that would stop it again at once are set aside: whoever extends a study wants
        more of it. The winner is measured on the test pairs if it is another than before. Raises: NotFound,
        InvalidRequest, Conflict.
        """
        with self._units() as unit:
            study = once(unit, idempotency, lambda: self._extended(unit, study_id, n_iterations=n_iterations))
            unit.commit()
        self._signals.wake()
        return study

    def _extended(self, unit: UnitOfWork, study_id: str, *, n_iterations: int) -> Study:
        study = unit.studies.lock(study_id)
        if study.state not in {StudyState.COMPLETED, StudyState.FAILED}:
            hint = "; PATCH its n_iterations instead" if study.state in OPEN_STATES else ""
            raise Conflict(f"Study {study_id!r} is {study.state.value}: only one that has ended is extended{hint}.")
        building = [model.id for model in unit.models.of_study(study_id) if model.state is ModelState.BUILDING]
        if building:
            raise Conflict(
                f"Study {study_id!r} is extended once what is built from its best trial is: {_named(building)}."
            )
        now = unit.now()
        n_search = len(unit.trials.of_study(study_id, role=TrialRole.SEARCH))
        budget = n_search + n_iterations
        if budget > MAX_BUDGET:
            message = f"The study has {n_search} trials of {MAX_BUDGET}: n_iterations may be {MAX_BUDGET - n_search}."
            raise InvalidRequest(message, pointer="/n_iterations")
        n_initial = min(study.spec.n_initial, budget)
        spec = replace(study.spec, n_initial=n_initial, n_iterations=budget - n_initial)
        if study.state is StudyState.FAILED:
            spec = replace(spec, retry=replace(spec.retry, abort_after=None))
        if study.stopped is not None:
            spec = replace(spec, stopping=spec.stopping.without(study.stopped.rule))
        study = replace(
            moved(study, StudyState.RUNNING, now=now),
            spec=spec,
            stopped=None,
            failure=None,
            finished_at=None,
            version=study.version + 1,
        )
        study = _without_rules_that_hold(unit, study, now=now)
        unit.studies.save(study)
        return study

    def change(self, study_id: str, changes: Changes, *, if_match: int | None = None) -> Study:
        """The study with its budgets, limits, name or search space changed.

        Another search space is a new revision, which holds for trials suggested from now on. A study that has ended
        keeps its number of trials (extend it), a cancelled one everything but its name. One that is completed runs
        again for further replicates. Raises: NotFound, InvalidRequest, Conflict, StaleVersion.
        """
        with self._units() as unit:
            study = unit.studies.lock(study_id)
            if if_match is not None and if_match != study.version:
                raise StaleVersion(identity=study_id, expected=if_match, actual=study.version)
            study = self._changed(unit, study, changes)
            unit.studies.save(study)
            unit.commit()
        self._signals.wake()
        return study

    def _changed(self, unit: UnitOfWork, study: Study, changes: Changes) -> Study:
        now = unit.now()
        spec = replace(
            study.spec,
            space=revised(study.spec.space, changes.space) if changes.space else study.spec.space,
            **changes.spec,
        )
        if spec == study.spec:
            return study
        _check_is_allowed(study, spec)
        if study.state in OPEN_STATES:
            _check_budget(spec, n_search=len(unit.trials.of_study(study.id, role=TrialRole.SEARCH)), before=study.spec)
        changed = replace(study, spec=spec, version=study.version + 1)
        if spec.space != study.spec.space:
            changed = replace(changed, revisions=_with_another(study, spec, now=now))
        if study.state is StudyState.COMPLETED and spec.replicates > study.spec.replicates:
            changed = replace(moved(changed, StudyState.RUNNING, now=now), finished_at=None)  # for those alone
        return settled(unit, changed, now=now, ids=self._ids)

    def clone(
        self, study_id: str, *, overrides: Mapping[str, Any], idempotency: Idempotency[Study] | None = None
    ) -> Study | Replay:
        """A new queued study with the same specification but for the fields of `StudySpec` in `overrides`.

        Its search space is the present one. Raises: NotFound, InvalidRequest, Conflict when the dataset is not ready.
        """
        with self._units() as unit:

            def create() -> Study:
                study = unit.studies.get(study_id)
                return self._studies.added(unit, replace(study.spec, **overrides), cloned_from=study.id)

            study = once(unit, idempotency, create)
            unit.commit()
        self._signals.wake()
        return study

    def delete(self, study_id: str) -> None:
        """Remove a study that has ended with its trials, their vectors and their ranks.

        Rows first: a crash leaves files that `sweep` removes. Raises: NotFound, Conflict while it is open, and for good
        once a model was promoted from it, for models tell where they come from.
        """
        with self._units() as unit:
            study = unit.studies.lock(study_id)
            if study.state in OPEN_STATES:
                raise Conflict(f"Study {study_id!r} is {study.state.value}: cancel it before it is deleted.")
            models = [model.id for model in unit.models.of_study(study_id)]
            if models:
                raise Conflict(f"Study {study_id!r} cannot be deleted, for from it was promoted {_named(models)}.")
            left = [artifact for trial in unit.trials.of_study(study_id) for artifact in artifacts_of(trial)]
            unit.trials.delete_of_study(study_id)
            unit.studies.delete(study_id)
            unit.commit()
        for kind, name in left:
            self._store.remove(kind, name)

    def sweep(self, *, older_than_s: float = ORPHANED_AFTER_S) -> int:
        """Remove vectors and ranks that no trial keeps, left by a crash between a row and its files; how many.

        Only what nobody has written to for so long: a trial that runs may have written its files and not yet its row.
        """
        return sum(self._sweep(kind, older_than_s=older_than_s) for kind in (VECTORS, RANKS))

    def _sweep(self, kind: str, *, older_than_s: float) -> int:
        names = self._store.untouched(kind, for_s=older_than_s)
        n_swept = 0
        for start in range(0, len(names), N_LOOKED_UP):
            looked_at = names[start : start + N_LOOKED_UP]
            with self._units.reading() as unit:
                trials = unit.trials.having({name.rpartition("-")[0] for name in looked_at})
            kept = {artifact_name(trial.id, trial.attempt) for trial in trials if _may_keep(trial, kind)}
            for name in looked_at:
                if name not in kept:
                    self._store.remove(kind, name)
                    n_swept += 1
        return n_swept


def _may_keep(trial: Trial, kind: str) -> bool:
    if trial.state is TrialState.RUNNING:
        return True
    return trial.has_vectors if kind == VECTORS else trial.outcome is not None and trial.outcome.has_ranks


def _without_rules_that_hold(unit: UnitOfWork, study: Study, *, now: datetime) -> Study:
    """The study without the rules that say stop as it stands."""
    spec = study.spec
    facts = so_far(unit, study, now=now)
    while (found := due(spec.stopping, facts)) is not None:
        spec = replace(spec, stopping=spec.stopping.without(found[0]))
    return replace(study, spec=spec)


def _check_is_allowed(study: Study, spec: StudySpec) -> None:
    if study.state is StudyState.CANCELLED and replace(spec, name=study.spec.name) != study.spec:
        raise Conflict(f"Study {study.id!r} is cancelled: nothing but its name can be changed.")
    if study.state not in OPEN_STATES and spec.budget != study.spec.budget:
        raise Conflict(f"Study {study.id!r} is {study.state.value}: extend it to have it run further trials.")


def _check_budget(spec: StudySpec, *, n_search: int, before: StudySpec) -> None:
    if spec.budget < min(n_search, before.budget):
        least = max(0, min(n_search, before.budget) - spec.n_initial)
        message = f"The study has begun {n_search} trials: n_iterations must be at least {least}, not "
        raise InvalidRequest(f"{message}{spec.n_iterations}.", pointer="/n_iterations")


def _with_another(study: Study, spec: StudySpec, *, now: datetime) -> tuple[Revision, ...]:
    if len(study.all_revisions) >= MAX_REVISIONS:
        raise Conflict(f"Study {study.id!r} has had {MAX_REVISIONS} search spaces: clone it to go on with another.")
    return (*study.all_revisions, Revision(number=study.revision + 1, space=spec.space, at=now))


def _named(models: list[str]) -> str:
    more = f" and {len(models) - N_NAMED} more" if len(models) > N_NAMED else ""
    return f"model {', '.join(models[:N_NAMED])}{more}"
