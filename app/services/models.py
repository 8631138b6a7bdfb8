"""Models: promoted from a study's winner, built by a worker, made live by moving an alias."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from app.domain.datasets import Dataset
from app.domain.errors import Conflict, InvalidRequest, LostLease, NotFound, NoVectors
from app.domain.gates import GateLimits
from app.domain.lease import Claim, Progress
from app.domain.models import (
    MODEL_MOVES,
    Alias,
    Bundle,
    Fit,
    IndexFacts,
    Latency,
    Lineage,
    Model,
    ModelMetrics,
    ModelState,
    Promotion,
    Rival,
    TableTiming,
)
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.domain.training import Trainer, fitted_by
from app.domain.tuning.study import Study, StudySpec, StudyState
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.aliases import AliasService, Cause, Verdict, check_name, demand_segments, moved
from app.services.artifacts import MODELS
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import LeasedService, artifact_name, claim_on, claimed
from app.services.neighbour_tables import TableService
from app.services.paging import Page, page_of
from app.services.studies import confirmation_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWork:
    """A model to build: its dataset, its winner's vectors and the study that found it."""

    claim: Claim
    model: Model
    dataset: Dataset
    dataset_files: str
    vectors: str
    spec: StudySpec
    rival: Model | None = None
    """What is live where the model is to go, if it comes of other plays: it is measured on the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What becomes of a trial: which fit of it, and where it goes live if its gates let it; nowhere without alias."""

    alias: str | None
    fit: Fit
    segment: str | None = None
    gates: GateLimits | None = None
    override_reason: str | None = None
    asked_by: str | None = None
    neighbours: TableTiming | None = None


class ModelService(LeasedService[Model]):
    """Models. `default_gates` are what the gates demand where a request doesn't say."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        ids: Ids,
        signals: Signals,
        lease: timedelta,
        watch: LeaseWatch,
        aliases: AliasService,
        default_gates: GateLimits,
        tables: TableService,
        max_attempts: int = 3,
    ) -> None:
        super().__init__(units, signals=signals, lease=lease, watch=watch, max_attempts=max_attempts)
        self._store = store
        self._ids = ids
        self._aliases = aliases
        self.default_gates = default_gates
        self._tables = tables

    def promote(
        self,
        study_id: str,
        *,
        alias: str = "production",
        segment: str | None = None,
        fit: Fit = Fit.TRIAL,
        trial_id: str | None = None,
        gates: GateLimits | None = None,
        override_reason: str | None = None,
        asked_by: str | None = None,
        neighbours: TableTiming | None = None,
        idempotency: Idempotency[Model] | None = None,
    ) -> Model | Replay:
        """Ask for a model of the study's best trial, or of another; the alias moves to it once it is ready.

        It moves if the gates let it, the operator's without `gates`, or against them for a reason. `segment` names the
        member of the alias's bundle that the model becomes.
        `neighbours` says when those of its songs are computed; None: by their number.
        Raises: NotFound, InvalidRequest (alias, segment, trial), Conflict when the study is not completed, or the
        trial's own vectors are asked for and not kept: NoVectors when a team's own trainer has them.
        """
        check_name(alias)
        wanted = Wanted(
            alias=alias,
            fit=fit,
            segment=segment,
            gates=gates,
            override_reason=override_reason,
            asked_by=asked_by,
            neighbours=neighbours,
        )
        with self._units() as unit:
            model = once(unit, idempotency, lambda: self.added(unit, study_id, wanted, trial_id=trial_id))
            unit.commit()
        self._signals.wake()
        return model

    def added(self, unit: UnitOfWork, study_id: str, wanted: Wanted, *, trial_id: str | None = None) -> Model:
        """The same in a unit of work of the caller's."""
        study = unit.studies.lock(study_id)
        if study.state is not StudyState.COMPLETED or study.best_trial_id is None:
            raise Conflict(f"Study {study_id!r} is {study.state.value}: only a completed one is promoted.")
        if study.spec.trainer is Trainer.EXTERNAL and wanted.fit is Fit.TRIAL:
            raise NoVectors(
                f"Study {study_id!r} was trained outside Segue, which has no vectors of it. With fit full, "
                "Segue trains the winner's hyperparameters itself."
            )
        trial = _promoted(unit, study, study.best_trial_id if trial_id is None else trial_id)
        if wanted.fit is Fit.TRIAL and not trial.has_vectors:
            raise Conflict(f"The vectors of trial {trial.id!r} are not kept: promote it with fit 'full'.")
        if wanted.segment is not None:
            self._check_segment(unit, wanted, study.spec.dataset_id)
        model = self._model_of(unit, study, trial, wanted)
        unit.models.add(model)
        return model

    def _check_segment(self, unit: UnitOfWork, wanted: Wanted, dataset_id: str) -> None:
        if wanted.alias is None or unit.aliases.find(wanted.alias) is None:
            raise InvalidRequest(
                f"Alias {wanted.alias!r} has no model yet: its first one is of all segments.", pointer="/segment"
            )
        demand_segments(unit, [str(wanted.segment)], [dataset_id], pointer="/segment")

    def _model_of(self, unit: UnitOfWork, study: Study, best: Trial, wanted: Wanted) -> Model:
        fit = wanted.fit
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
            alias=wanted.alias,
            segment=wanted.segment,
            gates=self.default_gates if wanted.gates is None else wanted.gates,
            override_reason=wanted.override_reason,
            asked_by=wanted.asked_by,
            neighbours=wanted.neighbours,
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
            rival = _rival_of(unit, model)
            unit.commit()
        return ModelWork(
            claim=claim_on(model, "model"),
            model=model,
            dataset=dataset,
            dataset_files=artifact_name(dataset.id, dataset.attempt),
            vectors=artifact_name(trial.id, trial.attempt),
            spec=spec,
            rival=rival,
        )

    def complete(
        self,
        claim: Claim,
        *,
        staged: Path,
        index: IndexFacts,
        latency: Latency | None = None,
        rival: Rival | None = None,
    ) -> Model:
        """Publish the files, then the row, and move the alias that was asked for if the gates let it.

        Raises: LostLease, StorageFull.
        """
        name = artifact_name(claim.id, claim.attempt)
        files = self._store.publish(staged, MODELS, name)
        built = replace(self.get(claim.id), attempt=claim.attempt, index=index, latency=latency, rival=rival)

        def decide(unit: UnitOfWork, verdict: Verdict | None) -> Model:
            held = _moved(unit.models.held(claim), ModelState.READY)
            model = replace(
                held,
                lease=None,
                progress=Progress(phase="ready", fraction=1.0),
                files=files,
                index=index,
                latency=latency,
                rival=rival,
                failure=None,
                finished_at=unit.now(),
            )
            unit.models.save(model)
            if verdict is not None and model.alias is not None:
                model = replace(model, promotion=_promotion(unit, model, model.alias, verdict))
                unit.models.save(model)
            self._tables.after(unit, model)
            return model

        try:
            if built.alias is None:
                with self._units() as unit:
                    model = decide(unit, None)
                    unit.commit()
                return model
            return self._aliases.judged_move(
                built.alias, lambda before: _joined(before, built), limits=built.gates, decide=decide, built=built
            )
        except LostLease:
            stored = self.get(claim.id)
            if stored.state is ModelState.READY and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            self._store.remove(MODELS, name)
            raise

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


def _moved(model: Model, state: ModelState) -> Model:
    if state not in MODEL_MOVES[model.state]:
        raise Conflict(f"Model {model.id!r} is {model.state.value} and cannot become {state.value}.")
    return replace(model, state=state)


def _rival_of(unit: UnitOfWork, model: Model) -> Model | None:
    """The model that this one would replace, if it was measured on other pairs."""
    alias = None if model.alias is None else unit.aliases.find(model.alias)
    if alias is None:
        return None
    live = unit.models.get(alias.bundle.of(model.segment))
    return None if live.lineage.fingerprint == model.lineage.fingerprint else live


def _joined(before: Alias | None, model: Model) -> Bundle:
    """The alias's models with this one for what it was asked for."""
    if before is None:
        return Bundle(default=model.id)
    return before.bundle.with_member(model.segment, model.id)


def _promotion(unit: UnitOfWork, model: Model, alias: str, verdict: Verdict) -> Promotion:
    """What comes of the promotion: the alias moved, or refused."""
    if not verdict.is_passed and model.override_reason is None:
        return Promotion(alias=alias, state="refused", generation=None, reports=verdict.reports)
    cause = Cause(reason="promotion", override_reason=model.override_reason, moved_by=model.asked_by)
    there = moved(unit, alias, verdict.after, cause, reports=verdict.reports)
    return Promotion(alias=alias, state="moved", generation=there.generation, reports=verdict.reports)
