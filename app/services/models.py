"""Models: promoted from a study's winner, built by a worker, made live by moving an alias."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from app.domain.datasets import Dataset
from app.domain.errors import Conflict, GatesRefused, InvalidRequest, LostLease, NotFound, NoVectors, StaleGeneration
from app.domain.gates import GateLimits, GateReport
from app.domain.lease import Claim, Progress
from app.domain.models import (
    MODEL_MOVES,
    Alias,
    AliasMove,
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
    bundle_before,
)
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals
from app.domain.repositories import LeasedRepository, UnitOfWork, UnitsOfWork
from app.domain.serving import AliasTarget
from app.domain.training import Trainer, fitted_by
from app.domain.tuning.study import Study, StudySpec, StudyState
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.artifacts import MODELS
from app.services.gating import GateService
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import LeasedService, artifact_name, claim_on, claimed
from app.services.neighbour_tables import TableService
from app.services.paging import Page, page_of
from app.services.studies import confirmation_in

KIND = MODELS
"""The artifact store's name for model files."""

ALIAS = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

EVERY_MOVE = 2**31 - 1

T = TypeVar("T")

MOST_TRIES = 5
"""How often a move is judged anew because another one came between."""

MAX_SEGMENTS = 200
"""Segments of one alias that may have models of their own."""


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
    neighbours: TableTiming | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the gates say of a bundle that is to follow another, as the alias was when they were asked."""

    before: Alias | None
    after: Bundle
    reports: tuple[GateReport, ...]

    @property
    def is_passed(self) -> bool:
        return all(report.is_passed for report in self.reports)


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
        gates: GateService,
        tables: TableService,
        max_attempts: int = 3,
    ) -> None:
        super().__init__(units, signals=signals, lease=lease, watch=watch, max_attempts=max_attempts)
        self._store = store
        self._ids = ids
        self._gates = gates
        self._tables = tables

    @property
    def default_gates(self) -> GateLimits:
        """What the gates demand where a request doesn't say."""
        return self._gates.defaults

    # Models

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
        _check_alias(alias)
        wanted = Wanted(
            alias=alias,
            fit=fit,
            segment=segment,
            gates=gates,
            override_reason=override_reason,
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
        _demand_segments(unit, [str(wanted.segment)], [dataset_id], pointer="/segment")

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
            gates=self._gates.defaults if wanted.gates is None else wanted.gates,
            override_reason=wanted.override_reason,
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

    # Aliases

    def aliases(self) -> tuple[Alias, ...]:
        """Every alias by name."""
        with self._units.reading() as unit:
            return tuple(unit.aliases.all())

    def targets(self) -> tuple[AliasTarget, ...]:
        """Every alias with its models' files, for servers that follow them."""
        with self._units.reading() as unit:
            aliases = unit.aliases.all()
            wanted = {model_id for alias in aliases for model_id in alias.bundle.models()}
            files = {model_id: artifact_name(model_id, unit.models.get(model_id).attempt) for model_id in wanted}
        return tuple(
            AliasTarget(alias, files[alias.model_id], {each: files[each] for each in alias.bundle.models()})
            for alias in aliases
        )

    def alias(self, name: str) -> Alias:
        """An alias. Raises: NotFound."""
        with self._units.reading() as unit:
            return _found(unit.aliases.find(name), name)

    def assign(
        self,
        name: str,
        *,
        model_id: str,
        segments: Mapping[str, str] | None = None,
        gates: GateLimits | None = None,
        override_reason: str | None = None,
        moved_by: str | None = None,
        if_match: int | None = None,
    ) -> Alias:
        """Point an alias at a ready model, and some segments at their own, all at once.

        Raises: InvalidRequest, Conflict; GatesRefused when a gate does and no reason is given; StaleGeneration.
        """
        _check_alias(name)
        after = Bundle(default=model_id, segments=dict(segments or {}))
        with self._units.reading() as unit:
            _check_bundle(unit, after)

        def decide(unit: UnitOfWork, verdict: _Verdict) -> Alias:
            if not verdict.is_passed and override_reason is None:
                raise GatesRefused(name, verdict.reports)
            move = _Move(reason="assignment", override_reason=override_reason, moved_by=moved_by, if_match=if_match)
            return _move(unit, name, after, move, reports=verdict.reports)

        return self._judged_move(name, lambda _before: after, limits=gates, decide=decide, if_match=if_match)

    def _judged_move(
        self,
        name: str,
        after: Callable[[Alias | None], Bundle],
        *,
        limits: GateLimits | None,
        decide: Callable[[UnitOfWork, _Verdict], T],
        built: Model | None = None,
        if_match: int | None = None,
    ) -> T:
        """What `decide` makes of the gates' verdict, in a unit of work in which the alias is as it was judged."""
        for _ in range(MOST_TRIES):
            with self._units.reading() as unit:
                before = unit.aliases.find(name)
            _check_generation(name, before, if_match)
            wanted = after(before)
            changes = self._gates.changes(wanted, None if before is None else before.bundle, built=built)
            verdict = _Verdict(before=before, after=wanted, reports=self._gates.reports(changes, limits))
            with self._units() as unit:
                if unit.aliases.find(name) != before:
                    continue
                found = decide(unit, verdict)
                unit.commit()
            return found
        raise Conflict(f"Alias {name!r} is being moved by others: try again.")

    def rollback(self, name: str, *, moved_by: str | None = None, if_match: int | None = None) -> Alias:
        """Point an alias at the models before the present ones; no gate is asked.

        Raises: NotFound, Conflict, StaleGeneration.
        """
        with self._units() as unit:
            _found(unit.aliases.find(name), name)
            previous = bundle_before(unit.aliases.moves(name, limit=EVERY_MOVE))
            if previous is None:
                raise Conflict(f"Alias {name!r} has no model to go back to.")
            alias = _move(unit, name, previous, _Move(reason="rollback", moved_by=moved_by, if_match=if_match))
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
        files = self._store.publish(staged, KIND, name)
        built = replace(self.get(claim.id), attempt=claim.attempt, index=index, latency=latency, rival=rival)

        def decide(unit: UnitOfWork, verdict: _Verdict | None) -> Model:
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
            return self._judged_move(
                built.alias, lambda before: _joined(before, built), limits=built.gates, decide=decide, built=built
            )
        except LostLease:
            stored = self.get(claim.id)
            if stored.state is ModelState.READY and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            self._store.remove(KIND, name)
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


def _promotion(unit: UnitOfWork, model: Model, alias: str, verdict: _Verdict) -> Promotion:
    """What comes of the promotion: the alias moved, or refused."""
    if not verdict.is_passed and model.override_reason is None:
        return Promotion(alias=alias, state="refused", generation=None, reports=verdict.reports)
    move = _Move(reason="promotion", override_reason=model.override_reason)
    moved = _move(unit, alias, verdict.after, move, reports=verdict.reports)
    return Promotion(alias=alias, state="moved", generation=moved.generation, reports=verdict.reports)


def _check_bundle(unit: UnitOfWork, bundle: Bundle) -> None:
    """Raises: InvalidRequest, Conflict when a model is not ready."""
    if len(bundle.segments) > MAX_SEGMENTS:
        raise InvalidRequest(f"An alias has models for at most {MAX_SEGMENTS} segments.", pointer="/segments")
    datasets = {}
    for pointer, model_id in [("/model_id", bundle.default), *_members(bundle)]:
        try:
            model = unit.models.get(model_id)
        except NotFound as error:
            raise InvalidRequest(str(error), pointer=pointer) from error
        if model.state is not ModelState.READY:
            raise Conflict(f"Model {model_id!r} is {model.state.value}: an alias needs one that is ready.")
        datasets[model_id] = model.dataset_id
    _demand_segments(unit, list(bundle.segments), list(datasets.values()), pointer="/segments")


def _members(bundle: Bundle) -> list[tuple[str, str]]:
    def escaped(name: str) -> str:
        return name.replace("~", "~0").replace("/", "~1")

    return [(f"/segments/{escaped(name)}", model_id) for name, model_id in bundle.segments.items()]


def _demand_segments(unit: UnitOfWork, names: list[str], dataset_ids: list[str], *, pointer: str) -> None:
    """Refuse segments that none of the datasets has: no user would ever be of them. Raises: InvalidRequest."""
    found = [unit.datasets.get(dataset_id).statistics for dataset_id in dict.fromkeys(dataset_ids)] if names else []
    known = {name for statistics in found if statistics is not None for name in statistics.segments}
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"No dataset of these models has a segment {unknown[0]!r}."
        raise InvalidRequest(message, pointer=pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """Why an alias moves, and who said so."""

    reason: Literal["promotion", "assignment", "rollback"]
    override_reason: str | None = None
    moved_by: str | None = None
    if_match: int | None = None


def _check_generation(name: str, present: Alias | None, if_match: int | None) -> None:
    generation = 0 if present is None else present.generation
    if if_match is not None and if_match != generation:
        raise StaleGeneration(alias=name, expected=if_match, actual=generation)


def _move(unit: UnitOfWork, name: str, after: Bundle, why: _Move, *, reports: tuple[GateReport, ...] = ()) -> Alias:
    present = unit.aliases.find(name)
    _check_generation(name, present, why.if_match)
    return unit.aliases.move(
        AliasMove(
            alias=name,
            generation=1 if present is None else present.generation + 1,
            model_id=after.default,
            previous_model_id=None if present is None else present.model_id,
            reason=why.reason,
            moved_at=unit.now(),
            segments=after.segments,
            reports=reports,
            override_reason=None if all(report.is_passed for report in reports) else why.override_reason,
            moved_by=why.moved_by,
        )
    )
