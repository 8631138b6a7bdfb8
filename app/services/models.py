"""Models: promoted from a study's winner, built by a worker, made live by moving an alias."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from app.domain.datasets import Dataset
from app.domain.errors import Conflict, InvalidRequest, LostLease, NotFound, NoVectors, StaleGeneration
from app.domain.lease import Claim, Progress
from app.domain.models import (
    MODEL_MOVES,
    Alias,
    AliasMove,
    Fit,
    IndexFacts,
    Lineage,
    Model,
    ModelMetrics,
    ModelState,
    TableTiming,
    model_before,
)
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.domain.serving import AliasTarget
from app.domain.training import Trainer, fitted_by
from app.domain.tuning.study import Study, StudySpec, StudyState
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import LeasedService, artifact_name, claim_on, claimed
from app.services.neighbour_tables import TableService
from app.services.paging import Page, page_of
from app.services.studies import confirmation_in

KIND = "models"
"""The artifact store's name for model files."""

ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

EVERY_MOVE = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWork:
    """A model to build: its dataset, its winner's vectors and the study that found it."""

    claim: Claim
    model: Model
    dataset: Dataset
    dataset_files: str
    vectors: str
    spec: StudySpec


class ModelService(LeasedService[Model]):
    """Models and aliases."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        ids: Ids,
        signals: Signals,
        lease: timedelta,
        watch: LeaseWatch,
        tables: TableService,
        max_attempts: int = 3,
    ) -> None:
        super().__init__(units, signals=signals, lease=lease, watch=watch, max_attempts=max_attempts)
        self._store = store
        self._ids = ids
        self._tables = tables

    # Models

    def promote(
        self,
        study_id: str,
        *,
        alias: str = "production",
        fit: Fit = Fit.TRIAL,
        trial_id: str | None = None,
        neighbours: TableTiming | None = None,
        idempotency: Idempotency[Model] | None = None,
    ) -> Model | Replay:
        """Ask for a model of the study's best trial, or of another; the alias moves to it once it is ready.

        `neighbours` says when those of its songs are computed; None: by their number.
        Raises: NotFound, InvalidRequest (alias, trial), Conflict when the study is not completed, or the trial's own
        vectors are asked for and not kept: NoVectors when a team's own trainer has them.
        """
        _check_alias(alias)
        with self._units() as unit:

            def create() -> Model:
                study = unit.studies.lock(study_id)
                if study.state is not StudyState.COMPLETED or study.best_trial_id is None:
                    raise Conflict(f"Study {study_id!r} is {study.state.value}: only a completed one is promoted.")
                if study.spec.trainer is Trainer.EXTERNAL and fit is Fit.TRIAL:
                    raise NoVectors(
                        f"Study {study_id!r} was trained outside Segue, which has no vectors of it. With fit full, "
                        "Segue trains the winner's hyperparameters itself."
                    )
                trial = _promoted(unit, study, study.best_trial_id if trial_id is None else trial_id)
                if fit is Fit.TRIAL and not trial.has_vectors:
                    raise Conflict(f"The vectors of trial {trial.id!r} are not kept: promote it with fit 'full'.")
                model = replace(self._model_of(unit, study, trial, alias=alias, fit=fit), neighbours=neighbours)
                unit.models.add(model)
                return model

            model = once(unit, idempotency, create)
            unit.commit()
        self._signals.wake()
        return model

    def _model_of(self, unit: UnitOfWork, study: Study, best: Trial, *, alias: str, fit: Fit) -> Model:
        dataset = unit.datasets.get(study.spec.dataset_id)
        others = unit.trials.of_study(study.id)
        if best.parameters is None or best.outcome is None or dataset.fingerprint is None:
            msg = f"Trial {best.id} is completed but has no outcome."
            raise ValueError(msg)
        confirmed = confirmation_in(others, best.id)
        return Model(
            id=self._ids.new("mdl"),
            study_id=study.id,
            trial_id=best.id,
            dataset_id=dataset.id,
            fit=fit,
            parameters=best.parameters,
            state=ModelState.BUILDING,
            created_at=unit.now(),
            lineage=Lineage(
                dataset_id=dataset.id,
                dataset_name=dataset.spec.name,
                fingerprint=dataset.fingerprint,
                study_id=study.id,
                study_name=study.spec.name,
                trainer=fitted_by(study.spec.trainer) if fit is Fit.FULL else study.spec.trainer,
                trial_id=best.id,
                trial_number=best.number,
            ),
            metrics=ModelMetrics(
                validation=best.outcome.validation,
                test=None if confirmed is None or confirmed.outcome is None else confirmed.outcome.test,
                baselines={
                    trial.name: None if trial.outcome is None else trial.outcome.test
                    for trial in others
                    if trial.role is TrialRole.BASELINE
                },
            ),
            alias=alias,
        )

    def get(self, model_id: str) -> Model:
        """A model. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.models.get(model_id)

    def list(self, *, limit: int, cursor: str | None = None) -> Page[Model]:
        """Models, newest first."""
        with self._units.reading() as unit:
            rows = unit.models.page(limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda model: model.id)

    # Aliases

    def aliases(self) -> tuple[Alias, ...]:
        """Every alias by name."""
        with self._units.reading() as unit:
            return tuple(unit.aliases.all())

    def targets(self) -> tuple[AliasTarget, ...]:
        """Every alias with its model's files, for servers that follow them."""
        with self._units.reading() as unit:
            aliases = unit.aliases.all()
            attempts = {alias.model_id: unit.models.get(alias.model_id).attempt for alias in aliases}
        return tuple(AliasTarget(alias, artifact_name(alias.model_id, attempts[alias.model_id])) for alias in aliases)

    def alias(self, name: str) -> Alias:
        """An alias. Raises: NotFound."""
        with self._units.reading() as unit:
            return _found(unit.aliases.find(name), name)

    def assign(self, name: str, *, model_id: str, if_match: int | None = None) -> Alias:
        """Point an alias at a ready model. Raises: InvalidRequest, Conflict, StaleGeneration."""
        _check_alias(name)
        with self._units() as unit:
            try:
                model = unit.models.get(model_id)
            except NotFound as error:
                raise InvalidRequest(str(error), pointer="/model_id") from error
            if model.state is not ModelState.READY:
                raise Conflict(f"Model {model_id!r} is {model.state.value}: an alias needs one that is ready.")
            alias = _move(unit, name, model_id=model_id, reason="assignment", if_match=if_match)
            unit.commit()
        return alias

    def rollback(self, name: str, *, if_match: int | None = None) -> Alias:
        """Point an alias at the model before the present one. Raises: NotFound, Conflict, StaleGeneration."""
        with self._units() as unit:
            _found(unit.aliases.find(name), name)
            previous = model_before(unit.aliases.moves(name, limit=EVERY_MOVE))
            if previous is None:
                raise Conflict(f"Alias {name!r} has no model to go back to.")
            alias = _move(unit, name, model_id=previous, reason="rollback", if_match=if_match)
            unit.commit()
        return alias

    def history(self, name: str, *, limit: int, before: int | None = None) -> Page[AliasMove]:
        """The alias's moves, the last first. Raises: NotFound."""
        with self._units.reading() as unit:
            _found(unit.aliases.find(name), name)
            rows = unit.aliases.moves(name, limit=limit + 1, before=before)
        return page_of(rows, limit=limit, cursor=lambda move: str(move.generation))

    # What workers report

    def claim(self, worker_id: str) -> ModelWork | None:
        """The oldest model that waits to be built, now leased to the worker."""
        with self._units() as unit:
            found = unit.models.next_claimable()
            if found is None:
                return None
            model = claimed(found, worker_id=worker_id, now=unit.now(), lease=self._lease)
            unit.models.save(model)
            dataset = unit.datasets.get(model.dataset_id)
            trial = unit.trials.get(model.trial_id)
            spec = unit.studies.get(model.study_id).spec
            unit.commit()
        return ModelWork(
            claim=claim_on(model, "model"),
            model=model,
            dataset=dataset,
            dataset_files=artifact_name(dataset.id, dataset.attempt),
            vectors=artifact_name(trial.id, trial.attempt),
            spec=spec,
        )

    def complete(self, claim: Claim, *, staged: Path, index: IndexFacts) -> Model:
        """Publish the files, then the row, and move the alias that was asked for. Raises: LostLease, StorageFull."""
        name = artifact_name(claim.id, claim.attempt)
        files = self._store.publish(staged, KIND, name)
        try:
            with self._units() as unit:
                held = _moved(unit.models.held(claim), ModelState.READY)
                model = replace(
                    held,
                    lease=None,
                    progress=Progress(phase="ready", fraction=1.0),
                    files=files,
                    index=index,
                    failure=None,
                    finished_at=unit.now(),
                )
                unit.models.save(model)
                self._tables.after(unit, model)
                if model.alias is not None:
                    _move(unit, model.alias, model_id=model.id, reason="promotion", if_match=None)
                unit.commit()
        except LostLease:
            stored = self.get(claim.id)
            if stored.state is ModelState.READY and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            self._store.remove(KIND, name)
            raise
        return model

    def _repository(self, unit: UnitOfWork) -> LeasedRepository[Model]:
        return unit.models

    def _waiting(self, held: Model) -> Model:
        return held

    def _failed(self, held: Model, *, now: datetime) -> Model:
        return replace(_moved(held, ModelState.FAILED), finished_at=now)


def _promoted(unit: UnitOfWork, study: Study, trial_id: str) -> Trial:
    """The trial, if it is a completed one of the study's search. Raises: InvalidRequest."""
    try:
        trial = unit.trials.get(trial_id)
    except NotFound as error:
        raise InvalidRequest(str(error), pointer="/trial_id") from error
    is_measured = trial.role is TrialRole.SEARCH and trial.state is TrialState.COMPLETED
    if trial.study_id != study.id or not is_measured:
        message = f"Trial {trial_id!r} is not a completed trial of the search of study {study.id!r}."
        raise InvalidRequest(message, pointer="/trial_id")
    return trial


def _check_alias(name: str) -> None:
    if ALIAS.fullmatch(name) is None:
        raise InvalidRequest(
            "An alias has 1 to 64 lower-case letters, digits, '-' or '_', and begins with a letter or digit.",
            pointer="/alias",
        )


def _found(alias: Alias | None, name: str) -> Alias:
    if alias is None:
        raise NotFound("alias", name)
    return alias


def _moved(model: Model, state: ModelState) -> Model:
    if state not in MODEL_MOVES[model.state]:
        raise Conflict(f"Model {model.id!r} is {model.state.value} and cannot become {state.value}.")
    return replace(model, state=state)


def _move(
    unit: UnitOfWork,
    name: str,
    *,
    model_id: str,
    reason: Literal["promotion", "assignment", "rollback"],
    if_match: int | None,
) -> Alias:
    present = unit.aliases.find(name)
    generation = 0 if present is None else present.generation
    if if_match is not None and if_match != generation:
        raise StaleGeneration(alias=name, expected=if_match, actual=generation)
    return unit.aliases.move(
        AliasMove(
            alias=name,
            generation=generation + 1,
            model_id=model_id,
            previous_model_id=None if present is None else present.model_id,
            reason=reason,
            moved_at=unit.now(),
        )
    )
