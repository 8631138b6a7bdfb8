"""Experiments: asked for, started, changed while they run, ended and decided. Serving them is `exposing`'s.

create ──► start ──► pause ⇄ resume ──► stop ──► decide ──► the alias moves, and its move names the experiment
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.domain.errors import Conflict, GatesRefused, InvalidRequest, NothingLive, StaleVersion
from app.domain.experiments.assignment import Allocation, allocated
from app.domain.experiments.experiment import (
    Decision,
    Experiment,
    ExperimentKind,
    ExperimentSpec,
    ExperimentState,
    Variant,
    check_kind,
    taken_in_layer,
)
from app.domain.gates import GateLimits
from app.domain.models import Alias, Bundle, ModelState
from app.domain.ports import Ids
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import LiveModels
from app.services.aliases import AliasService, Cause, Verdict, check_bundle, check_name, moved, rolled_back
from app.services.idempotency import Idempotency, Replay, once
from app.services.paging import Page, page_of

MAX_ALLOCATIONS = 100
"""How often the shares of one experiment may change."""

WHILE_LIVE = {"traffic", "weights"}
"""What may change once an experiment has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFacts:
    """An experiment, and by variant how many users were exposed, and how many of them saw another one too."""

    experiment: Experiment
    counts: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be decided, by whom and why."""

    action: Literal["promote", "rollback"]
    variant: str | None = None
    reason: str | None = None
    override_reason: str | None = None
    gates: GateLimits | None = None
    decided_by: str | None = None
    if_match: int | None = None


class ExperimentService:
    """Experiments as their owners see them."""

    def __init__(self, units: UnitsOfWork, *, ids: Ids, aliases: AliasService, live: LiveModels) -> None:
        self._units = units
        self._ids = ids
        self._aliases = aliases
        self._live = live

    def create(
        self,
        spec: ExperimentSpec,
        *,
        kind: ExperimentKind = "assignment",
        created_by: str | None = None,
        idempotency: Idempotency[Experiment] | None = None,
    ) -> Experiment | Replay:
        """A draft. Raises: InvalidRequest, Conflict when a model is not ready."""

        def create() -> Experiment:
            check_kind(kind, spec)
            self._check(unit, spec)
            experiment = Experiment(
                id=self._ids.new("exp"),
                spec=spec,
                state=ExperimentState.DRAFT,
                created_at=unit.now(),
                kind=kind,
                created_by=created_by,
            )
            unit.experiments.add(experiment)
            return experiment

        with self._units() as unit:
            found = once(unit, idempotency, create)
            unit.commit()
        return found

    def list(self, *, limit: int, cursor: str | None) -> Page[Experiment]:
        """A page of experiments, the newest first."""
        with self._units.reading() as unit:
            rows = unit.experiments.page(limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda experiment: experiment.id)

    def get(self, experiment_id: str) -> ExperimentFacts:
        """An experiment and who was exposed. Raises: NotFound."""
        with self._units.reading() as unit:
            experiment = unit.experiments.get(experiment_id)
            return ExperimentFacts(experiment=experiment, counts=unit.exposures.counts(experiment_id))

    def change(self, experiment_id: str, changes: Mapping[str, Any], *, if_match: int | None = None) -> Experiment:
        """The experiment with fields of its specification replaced, and `weights` of variants by name.

        Of one that runs or pauses the shares alone; whoever was exposed keeps the variant.

        Raises: NotFound, InvalidRequest, Conflict, StaleVersion, LayerFull.
        """
        with self._units() as unit:
            experiment = _locked(unit, experiment_id, if_match)
            spec = _changed(experiment.spec, changes)
            if spec == experiment.spec:
                return experiment
            if experiment.state is ExperimentState.DRAFT:
                check_kind(experiment.kind, spec)
                self._check(unit, spec)
                experiment = experiment.changed(spec, None)
            else:
                _check_is_allowed(experiment, changes)
                experiment = experiment.changed(spec, _allocation(unit, experiment, spec))
            unit.experiments.save(experiment)
            unit.commit()
        return experiment

    def delete(self, experiment_id: str) -> None:
        """Remove a draft. Raises: NotFound, Conflict once it was started."""
        with self._units() as unit:
            experiment = unit.experiments.lock(experiment_id)
            if experiment.state is not ExperimentState.DRAFT:
                raise Conflict(
                    f"Experiment {experiment_id!r} is {experiment.state.value}: only a draft can be deleted."
                )
            unit.experiments.delete(experiment_id)
            unit.commit()

    def start(self, experiment_id: str, *, if_match: int | None = None) -> Experiment:
        """Have users enter it, with the models that its variants name now. Raises: NotFound, Conflict, LayerFull."""
        with self._units() as unit:
            experiment = _locked(unit, experiment_id, if_match)
            if experiment.state is not ExperimentState.DRAFT:
                raise Conflict(f"Experiment {experiment_id!r} is {experiment.state.value}: only a draft is started.")
            self._check(unit, experiment.spec)
            aliases = {alias.name: alias for alias in unit.aliases.all()}
            if experiment.spec.alias not in aliases:
                raise Conflict(f"There is no alias {experiment.spec.alias!r} for everybody else.")
            experiment = experiment.started(
                at=unit.now(),
                allocation=_allocation(unit, experiment, experiment.spec),
                pinned={variant.name: _pinned(variant, aliases) for variant in experiment.spec.variants},
            )
            _check_ready(unit, experiment)
            unit.experiments.save(experiment)
            unit.commit()
        return experiment

    def pause(self, experiment_id: str, *, if_match: int | None = None) -> Experiment:
        """Have nobody new enter; whoever was exposed keeps the variant. Raises: NotFound, Conflict, StaleVersion."""
        return self._moved(experiment_id, ExperimentState.PAUSED, if_match)

    def resume(self, experiment_id: str, *, if_match: int | None = None) -> Experiment:
        """Have users enter again. Raises: NotFound, Conflict, StaleVersion."""
        return self._moved(experiment_id, ExperimentState.RUNNING, if_match)

    def stop(self, experiment_id: str, *, if_match: int | None = None) -> Experiment:
        """End it: everybody gets the alias. Raises: NotFound, Conflict, StaleVersion."""
        return self._moved(experiment_id, ExperimentState.STOPPED, if_match)

    def _moved(self, experiment_id: str, state: ExperimentState, if_match: int | None) -> Experiment:
        with self._units() as unit:
            experiment = _locked(unit, experiment_id, if_match)
            if experiment.state is ExperimentState.DRAFT:
                raise Conflict(f"Experiment {experiment_id!r} is a draft: it was not started.")
            if state is ExperimentState.STOPPED:
                experiment = experiment.stopped(at=unit.now())
            else:
                experiment = experiment.moved_to(state)
            unit.experiments.save(experiment)
            unit.commit()
        return experiment

    # Deciding

    def decide(self, experiment_id: str, wanted: Wanted) -> Experiment:
        """The experiment, decided: a variant's models are promoted to the alias, or everybody goes back.

        Promoting asks the gates as every assignment does. Rolling back moves the alias to the control's models where it
        serves those of another variant, and back to what was before where it serves what this experiment promoted.

        Raises: NotFound, InvalidRequest, Conflict, GatesRefused, StaleVersion.
        """
        with self._units.reading() as unit:
            experiment = unit.experiments.get(experiment_id)
        _check_version(experiment, wanted.if_match)
        if wanted.action == "promote":
            return self._promoted(experiment, wanted)
        if wanted.variant is not None:
            raise InvalidRequest("A rollback names no variant: everybody gets the control.", pointer="/variant")
        with self._units() as unit:
            unit.aliases.find(experiment.spec.alias)  # locked first, as a promotion does
            experiment = _locked(unit, experiment_id, wanted.if_match)
            generation = _gone_back(unit, experiment, wanted)
            decided = experiment.decided(
                _decision(unit, experiment, wanted, variant=experiment.spec.control.name, generation=generation)
            )
            unit.experiments.save(decided)
            unit.commit()
        return decided

    def _promoted(self, experiment: Experiment, wanted: Wanted) -> Experiment:
        name = wanted.variant
        if name is None or experiment.spec.variant(name) is None:
            raise InvalidRequest(f"There is no variant {name!r} to promote.", pointer="/variant")
        if experiment.state is not ExperimentState.STOPPED:
            raise Conflict(f"Experiment {experiment.id!r} is {experiment.state.value}: stop it before it is decided.")
        after = experiment.pinned[name]

        def decide(unit: UnitOfWork, verdict: Verdict) -> Experiment:
            present = _locked(unit, experiment.id, wanted.if_match)
            if not verdict.is_passed and wanted.override_reason is None:
                raise GatesRefused(present.spec.alias, verdict.reports)
            generation = None
            if verdict.before is None or verdict.before.bundle != after:
                alias = moved(unit, present.spec.alias, after, _cause(present, wanted), reports=verdict.reports)
                generation = alias.generation
            decided = present.decided(_decision(unit, present, wanted, variant=name, generation=generation))
            unit.experiments.save(decided)
            return decided

        return self._aliases.judged_move(experiment.spec.alias, lambda _: after, limits=wanted.gates, decide=decide)

    # What a specification may name

    def _check(self, unit: UnitOfWork, spec: ExperimentSpec) -> None:
        """Refuse what is not there. Raises: InvalidRequest, Conflict when a model is not ready."""
        check_name(spec.alias)
        aliases = {alias.name for alias in unit.aliases.all()}
        for place, variant in enumerate(spec.variants):
            under = f"/variants/{place}"
            if variant.alias is not None and variant.alias not in aliases:
                raise InvalidRequest(f"There is no alias {variant.alias!r}.", pointer=f"{under}/alias")
            if variant.model_id is not None:
                check_bundle(unit, Bundle(default=variant.model_id), under=under)
            if variant.bundle is not None:
                check_bundle(unit, variant.bundle, under=f"{under}/bundle", default="/default")
        self._check_column(spec)

    def _check_column(self, spec: ExperimentSpec) -> None:
        if not isinstance(spec.segment_by, str):
            return
        try:
            columns = self._live.get(spec.alias).model.columns
        except NothingLive:
            return  # it is asked again when it serves
        if spec.segment_by not in columns:
            raise InvalidRequest(
                f"The songs of alias {spec.alias!r} have no column {spec.segment_by!r}.", pointer="/segment_by"
            )


def _locked(unit: UnitOfWork, experiment_id: str, if_match: int | None) -> Experiment:
    experiment = unit.experiments.lock(experiment_id)
    _check_version(experiment, if_match)
    return experiment


def _check_version(experiment: Experiment, if_match: int | None) -> None:
    if if_match is not None and if_match != experiment.version:
        raise StaleVersion(kind="experiment", identity=experiment.id, expected=if_match, actual=experiment.version)


def _changed(spec: ExperimentSpec, changes: Mapping[str, Any]) -> ExperimentSpec:
    """Raises: InvalidRequest."""
    fields = {name: value for name, value in changes.items() if name != "weights"}
    weights: Mapping[str, float] = changes.get("weights", {})
    replaced = replace(spec, **fields) if fields else spec
    return replaced.shared(traffic=replaced.traffic, weights=weights) if weights else replaced


def _check_is_allowed(experiment: Experiment, changes: Mapping[str, Any]) -> None:
    frozen = sorted(changes.keys() - WHILE_LIVE)
    if not experiment.is_live:
        raise Conflict(f"Experiment {experiment.id!r} is {experiment.state.value}: nothing of it changes any more.")
    if frozen:
        raise Conflict(
            f"Experiment {experiment.id!r} is {experiment.state.value}: its {frozen[0]} is frozen; "
            "traffic and weights may change."
        )
    if len(experiment.allocations) >= MAX_ALLOCATIONS:
        raise Conflict(f"The shares of experiment {experiment.id!r} have changed {MAX_ALLOCATIONS - 1} times already.")


def _allocation(unit: UnitOfWork, experiment: Experiment, spec: ExperimentSpec) -> Allocation:
    """The one that follows; no other experiment of the layer gets its buckets before this is committed."""
    others: list[Experiment] = []
    if spec.layer is not None:
        others = [each for each in unit.experiments.live_in_layer(spec.layer) if each.id != experiment.id]
    return allocated(
        experiment.allocations,
        at=unit.now(),
        share=spec.traffic,
        weights=spec.weights,
        taken=taken_in_layer(others),
    )


def _pinned(variant: Variant, aliases: Mapping[str, Alias]) -> Bundle:
    """The models of a variant at this instant."""
    if variant.bundle is not None:
        return variant.bundle
    if variant.model_id is not None:
        return Bundle(default=variant.model_id)
    return aliases[str(variant.alias)].bundle


def _check_ready(unit: UnitOfWork, experiment: Experiment) -> None:
    """Raises: Conflict."""
    for name, bundle in experiment.pinned.items():
        for model_id in bundle.models():
            if unit.models.get(model_id).state is not ModelState.READY:
                raise Conflict(f"Model {model_id!r} of variant {name!r} is not ready.")


def _cause(experiment: Experiment, wanted: Wanted) -> Cause:
    return Cause(
        reason="experiment",
        override_reason=wanted.override_reason,
        moved_by=wanted.decided_by,
        experiment_id=experiment.id,
    )


def _gone_back(unit: UnitOfWork, experiment: Experiment, wanted: Wanted) -> int | None:
    """The generation that the alias has moved to, None where it had not to. Raises: Conflict."""
    name = experiment.spec.alias
    cause = _cause(experiment, wanted)
    before = experiment.decision
    alias = unit.aliases.find(name)
    if before is not None and before.action == "promote":
        if before.generation is None:
            raise Conflict(f"The promotion of experiment {experiment.id!r} moved nothing that could go back.")
        if alias is None or alias.generation != before.generation:
            raise Conflict(f"Alias {name!r} has moved since experiment {experiment.id!r} was decided.")
        return rolled_back(unit, name, replace(cause, reason="rollback")).generation
    control, *treatments = (experiment.pinned.get(each.name) for each in experiment.spec.variants)
    if alias is None or control is None or alias.bundle == control or alias.bundle not in treatments:
        return None
    return moved(unit, name, control, cause).generation


def _decision(
    unit: UnitOfWork, experiment: Experiment, wanted: Wanted, *, variant: str, generation: int | None
) -> Decision:
    return Decision(
        action=wanted.action,
        variant=variant,
        alias=experiment.spec.alias,
        generation=generation,
        decided_at=unit.now(),
        decided_by=wanted.decided_by,
        reason=wanted.reason,
        override_reason=wanted.override_reason,
    )
