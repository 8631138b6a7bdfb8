"""Aliases: the names under which models are live, and how they move from model to model.

wanted bundle ──► gates, outside of any lock ──► one unit of work: still as it was judged? then the move
                      ▲                                    │ no
                      └──────────── judged anew ◄──────────┘

Promotions, assignments, retrainings and decisions of experiments all move them through `judged_move`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from app.domain.errors import Conflict, GatesRefused, InvalidRequest, NotFound, StaleGeneration
from app.domain.experiments.experiment import LIVE_NAME
from app.domain.gates import GateLimits, GateReport
from app.domain.models import Alias, AliasMove, Bundle, Model, ModelState, MoveReason, bundle_before
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import AliasTarget
from app.services.gating import GateService
from app.services.leasing import artifact_name
from app.services.paging import Page, page_of

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

EVERY_MOVE = 2**31 - 1

MOST_TRIES = 5
"""How often a move is judged anew because another one came between."""

MAX_SEGMENTS = 200
"""Segments of one alias that may have models of their own."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gates say of a bundle that is to follow another, as the alias was when they were asked."""

    before: Alias | None
    after: Bundle
    reports: tuple[GateReport, ...]

    @property
    def is_passed(self) -> bool:
        """Whether every gate lets it."""
        return all(report.is_passed for report in self.reports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an alias moves, and whose key asked for it."""

    reason: MoveReason
    override_reason: str | None = None
    moved_by: str | None = None
    if_match: int | None = None
    experiment_id: str | None = None


class AliasService:
    """What is live under each name."""

    def __init__(self, units: UnitsOfWork, *, gates: GateService) -> None:
        self._units = units
        self._gates = gates

    def all(self) -> tuple[Alias, ...]:
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

    def get(self, name: str) -> Alias:
        """An alias. Raises: NotFound."""
        with self._units.reading() as unit:
            return _found(unit.aliases.find(name), name)

    def moves(self, name: str, *, limit: int, before: int | None = None) -> Page[AliasMove]:
        """The alias's moves, the last first. Raises: NotFound."""
        with self._units.reading() as unit:
            _found(unit.aliases.find(name), name)
            rows = unit.aliases.moves(name, limit=limit + 1, before=before)
        return page_of(rows, limit=limit, cursor=lambda move: str(move.generation))

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
        check_name(name)
        after = Bundle(default=model_id, segments=dict(segments or {}))
        with self._units.reading() as unit:
            check_bundle(unit, after)
        cause = Cause(reason="assignment", override_reason=override_reason, moved_by=moved_by, if_match=if_match)

        def decide(unit: UnitOfWork, verdict: Verdict) -> Alias:
            if not verdict.is_passed and override_reason is None:
                raise GatesRefused(name, verdict.reports)
            return moved(unit, name, verdict.after, cause, reports=verdict.reports)

        return self.judged_move(name, lambda _before: after, limits=gates, decide=decide, if_match=if_match)

    def rollback(self, name: str, *, moved_by: str | None = None, if_match: int | None = None) -> Alias:
        """Point an alias at the models before the present ones; no gate is asked.

        Raises: NotFound, Conflict, StaleGeneration.
        """
        with self._units() as unit:
            alias = rolled_back(unit, name, Cause(reason="rollback", moved_by=moved_by, if_match=if_match))
            unit.commit()
        return alias

    def judged_move(
        self,
        name: str,
        after: Callable[[Alias | None], Bundle],
        *,
        limits: GateLimits | None,
        decide: Callable[[UnitOfWork, Verdict], T],
        built: Model | None = None,
        if_match: int | None = None,
    ) -> T:
        """What `decide` makes of the gates' verdict, in a unit of work in which the alias is as it was judged.

        `built` stands for itself as it is not stored yet. Raises: Conflict, StaleGeneration, Unavailable.
        """
        for _ in range(MOST_TRIES):
            with self._units.reading() as unit:
                before = unit.aliases.find(name)
            _check_generation(name, before, if_match)
            wanted = after(before)
            changes = self._gates.changes(wanted, None if before is None else before.bundle, built=built)
            verdict = Verdict(before=before, after=wanted, reports=self._gates.reports(changes, limits))
            with self._units() as unit:
                if unit.aliases.find(name) != before:
                    continue
                found = decide(unit, verdict)
                unit.commit()
            return found
        raise Conflict(f"Alias {name!r} is being moved by others: try again.")


def moved(unit: UnitOfWork, name: str, after: Bundle, cause: Cause, *, reports: tuple[GateReport, ...] = ()) -> Alias:
    """The alias, moved to these models in the caller's unit of work. Raises: Conflict, StaleGeneration."""
    present = unit.aliases.find(name)
    _check_generation(name, present, cause.if_match)
    return unit.aliases.move(
        AliasMove(
            alias=name,
            generation=1 if present is None else present.generation + 1,
            model_id=after.default,
            previous_model_id=None if present is None else present.model_id,
            reason=cause.reason,
            moved_at=unit.now(),
            segments=after.segments,
            reports=reports,
            override_reason=None if all(report.is_passed for report in reports) else cause.override_reason,
            moved_by=cause.moved_by,
            experiment_id=cause.experiment_id,
        )
    )


def rolled_back(unit: UnitOfWork, name: str, cause: Cause) -> Alias:
    """The alias, moved in the caller's unit of work to the models before. Raises: NotFound, Conflict."""
    _found(unit.aliases.find(name), name)
    previous = bundle_before(unit.aliases.moves(name, limit=EVERY_MOVE))
    if previous is None:
        raise Conflict(f"Alias {name!r} has no model to go back to.")
    return moved(unit, name, previous, cause)


def check_name(name: str) -> None:
    """Raises: InvalidRequest."""
    if NAME.fullmatch(name) is None:
        raise InvalidRequest(
            "An alias has 1 to 64 lower-case letters, digits, '-' or '_', and begins with a letter or digit.",
            pointer="/alias",
        )
    if LIVE_NAME.fullmatch(name) is not None:
        raise InvalidRequest("That is what a variant of an experiment is live under.", pointer="/alias")


def demand_segments(unit: UnitOfWork, names: list[str], dataset_ids: list[str], *, pointer: str) -> None:
    """Refuse segments that none of the datasets has: no user would ever be of them. Raises: InvalidRequest."""
    found = [unit.datasets.get(dataset_id).statistics for dataset_id in dict.fromkeys(dataset_ids)] if names else []
    known = {name for statistics in found if statistics is not None for name in statistics.segments}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidRequest(f"No dataset of these models has a segment {unknown[0]!r}.", pointer=pointer)


def _found(alias: Alias | None, name: str) -> Alias:
    if alias is None:
        raise NotFound("alias", name)
    return alias


def _check_generation(name: str, present: Alias | None, if_match: int | None) -> None:
    generation = 0 if present is None else present.generation
    if if_match is not None and if_match != generation:
        raise StaleGeneration(alias=name, expected=if_match, actual=generation)


def check_bundle(unit: UnitOfWork, bundle: Bundle, *, under: str = "", default: str = "/model_id") -> None:
    """Refuse models that are not there or not ready; pointers are below `under`. Raises: InvalidRequest, Conflict."""
    if len(bundle.segments) > MAX_SEGMENTS:
        raise InvalidRequest(f"An alias has models for at most {MAX_SEGMENTS} segments.", pointer=f"{under}/segments")
    datasets = {}
    for pointer, model_id in [(under + default, bundle.default), *_members(bundle, under)]:
        try:
            model = unit.models.get(model_id)
        except NotFound as error:
            raise InvalidRequest(str(error), pointer=pointer) from error
        if model.state is not ModelState.READY:
            raise Conflict(f"Model {model_id!r} is {model.state.value}: an alias needs one that is ready.")
        datasets[model_id] = model.dataset_id
    demand_segments(unit, list(bundle.segments), list(datasets.values()), pointer=f"{under}/segments")


def _members(bundle: Bundle, under: str) -> list[tuple[str, str]]:
    def escaped(name: str) -> str:
        return name.replace("~", "~0").replace("/", "~1")

    return [(f"{under}/segments/{escaped(name)}", model_id) for name, model_id in bundle.segments.items()]
