"""Experiments: variants that live listeners get, until one of them is chosen.

    draft ──► running ◄──► paused        nobody new enters a paused one
                 └────┬──────┘
                      ▼
                   stopped ──► decided (promoted | rolled back) ──► decided (the promotion rolled back)

A draft may be changed and deleted. From its start on an experiment is frozen, but for its traffic and weights: a change
is a new allocation, and whoever is exposed keeps the variant.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from app.domain.errors import Conflict, InvalidRequest
from app.domain.experiments.assignment import N_BUCKETS, Allocation, Assignment, assigned, buckets_of
from app.domain.experiments.metrics import Metric, MetricRole
from app.domain.models import Bundle
from app.domain.plays import EventType
from app.domain.recommending import RecommendationOptions, Seen, Wishes, wished

MAX_VARIANTS = 10
MAX_METRICS = 20
MAX_DAYS = 365

VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LAYER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LIVE_NAME = re.compile(r"exp_[A-Za-z0-9]{1,56}-[1-9][0-9]?")
"""What a variant is live under. No client's alias can be called so."""

ExperimentKind = Literal["assignment", "interleaving"]
"""Each user gets one variant, or one list drafted from two."""

INTERLEAVED = "interleaved"
"""What users of an interleaving experiment are exposed to: both variants in one list."""


class ExperimentState(StrEnum):
    """See the drawing in the module header."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DECIDED = "decided"


EXPERIMENT_MOVES: dict[ExperimentState, frozenset[ExperimentState]] = {
    ExperimentState.DRAFT: frozenset({ExperimentState.RUNNING}),
    ExperimentState.RUNNING: frozenset({ExperimentState.PAUSED, ExperimentState.STOPPED}),
    ExperimentState.PAUSED: frozenset({ExperimentState.RUNNING, ExperimentState.STOPPED}),
    ExperimentState.STOPPED: frozenset({ExperimentState.DECIDED}),
    ExperimentState.DECIDED: frozenset({ExperimentState.DECIDED}),
}

LIVE_STATES = frozenset({ExperimentState.RUNNING, ExperimentState.PAUSED})
"""Variants are served, and buckets of the layer are held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a variant recommends otherwise than the server; None leaves it as it is.

    What is said here wins over what a request says, for it is the treatment.
    """

    half_life_days: float | None = None
    history_length: int | None = None
    event_weights: dict[EventType, float] | None = None
    completion_weight: float | None = None
    exclude_seen: Seen | None = None
    mmr_lambda: float | None = None

    def __post_init__(self) -> None:
        try:
            wished(RecommendationOptions(), self.over({}))
        except InvalidRequest as error:
            raise InvalidRequest(str(error), pointer=f"/{error.pointer}") from error

    def over(self, wishes: Wishes) -> Wishes:
        """A request's wishes with the variant's in their place."""
        own: Any = {each.name: getattr(self, each.name) for each in fields(self)}
        together: Any = {**wishes, **{name: value for name, value in own.items() if value is not None}}
        wanted: Wishes = together
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What some of the users get: what an alias names when the experiment starts, a model, or a bundle of them."""

    name: str
    weight: float = 1.0
    alias: str | None = None
    model_id: str | None = None
    bundle: Bundle | None = None
    serving: Serving = field(default_factory=Serving)

    def __post_init__(self) -> None:
        if VARIANT_NAME.fullmatch(self.name) is None:
            raise InvalidRequest(
                "A variant's name has 1 to 64 letters, digits, '-' or '_', and begins with a letter or digit.",
                pointer="/name",
            )
        if not 0 < self.weight <= 1e6:
            raise InvalidRequest(f"weight must be above 0 and at most 1e6, not {self.weight}.", pointer="/weight")
        if [self.alias, self.model_id, self.bundle].count(None) != 2:
            raise InvalidRequest("Give exactly one of alias, model_id and bundle.", pointer="/model_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentSpec:
    """What an experiment asks. The first variant is the control.

    `traffic` is a share of all users. `segment_by`: the user's segment by the model that is live under `alias`, or a
    column of its songs; False: no segments. `alias` is what everybody else gets, and what a decision moves.
    """

    name: str
    hypothesis: str
    variants: tuple[Variant, ...]
    metrics: tuple[Metric, ...]
    traffic: float = 1.0
    segment_by: bool | str = True
    alpha: float = 0.05
    power: float = 0.8
    alias: str = "production"
    layer: str | None = None
    planned_days: int = 14
    covariate_days: int = 14

    def __post_init__(self) -> None:
        _length("name", self.name, 200)
        _length("hypothesis", self.hypothesis, 2_000)
        _count("variants", len(self.variants), 2, MAX_VARIANTS)
        _unique("variants", [variant.name for variant in self.variants])
        check_weights({variant.name: variant.weight for variant in self.variants})
        check_traffic(self.traffic)
        if isinstance(self.segment_by, str):
            _length("segment_by", self.segment_by, 256)
        _count("metrics", len(self.metrics), 1, MAX_METRICS)
        _unique("metrics", [metric.name for metric in self.metrics])
        if all(metric.role is not MetricRole.GOAL for metric in self.metrics):
            raise InvalidRequest("At least one metric is a goal.", pointer="/metrics")
        if not 0 < self.alpha <= 0.5:
            raise InvalidRequest(f"alpha must be above 0 and at most 0.5, not {self.alpha}.", pointer="/alpha")
        if not 0.5 <= self.power < 1:
            raise InvalidRequest(f"power must be at least 0.5 and below 1, not {self.power}.", pointer="/power")
        if self.layer is not None and LAYER_NAME.fullmatch(self.layer) is None:
            raise InvalidRequest(
                "A layer has 1 to 64 lower-case letters, digits, '-' or '_', and begins with a letter or digit.",
                pointer="/layer",
            )
        _days("planned_days", self.planned_days, 1)
        _days("covariate_days", self.covariate_days, 0)

    @property
    def control(self) -> Variant:
        """The variant that the others are compared with."""
        return self.variants[0]

    @property
    def goal(self) -> Metric:
        """The first goal, which stands for the experiment where one number has to."""
        return next(metric for metric in self.metrics if metric.role is MetricRole.GOAL)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each variant."""
        return {variant.name: variant.weight for variant in self.variants}

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def number(self, name: str) -> int:
        """The variant's place, from 1."""
        return 1 + [variant.name for variant in self.variants].index(name)

    def shared(self, *, traffic: float, weights: Mapping[str, float]) -> "ExperimentSpec":
        """The same with other shares; variants that are not named keep their weight. Raises: InvalidRequest."""
        unknown = weights.keys() - self.weights.keys()
        if unknown:
            raise InvalidRequest(f"There is no variant {min(unknown)!r}.", pointer="/weights")
        variants = (replace(each, weight=weights.get(each.name, each.weight)) for each in self.variants)
        return replace(self, traffic=traffic, variants=tuple(variants))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was made of an experiment: the alias moved to `generation`, or None where it had not to move."""

    action: Literal["promote", "rollback"]
    variant: str
    """What was promoted, or the control that everybody goes back to."""
    alias: str
    generation: int | None
    decided_at: datetime
    decided_by: str | None = None
    reason: str | None = None
    override_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One experiment as stored. `pinned` are the models of each variant from the start on."""

    id: str
    spec: ExperimentSpec
    state: ExperimentState
    created_at: datetime
    kind: ExperimentKind = "assignment"
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    decided_at: datetime | None = None
    allocations: tuple[Allocation, ...] = ()
    pinned: dict[str, Bundle] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    version: int = 0
    created_by: str | None = None
    """The id of the API key that asked for it."""

    @property
    def is_live(self) -> bool:
        """Whether its variants are served."""
        return self.state in LIVE_STATES

    @property
    def decision(self) -> Decision | None:
        """The last one."""
        return self.decisions[-1] if self.decisions else None

    @property
    def exposed_to(self) -> tuple[str, ...]:
        """What users may be exposed to, as exposures name it."""
        return (INTERLEAVED,) if self.kind == "interleaving" else tuple(self.spec.weights)

    @property
    def traffic_salt(self) -> str:
        """What users are chosen by: shared by all experiments of a layer."""
        return f"{self.id}-traffic" if self.spec.layer is None else f"layer-{self.spec.layer}"

    @property
    def salt(self) -> str:
        """What variants are chosen by."""
        return self.id

    @property
    def allocation(self) -> Allocation | None:
        """The one that holds; None before the start."""
        return self.allocations[-1] if self.allocations else None

    def assignment(self, user_id: str) -> Assignment | None:
        """What the user gets, who was not exposed yet; None before the start."""
        if self.allocation is None:
            return None
        found = assigned(self.allocation, user_id, traffic_salt=self.traffic_salt, salt=self.salt)
        is_one_list = self.kind == "interleaving" and found.variant is not None
        return replace(found, variant=INTERLEAVED) if is_one_list else found

    def live_name(self, variant: str) -> str:
        """What the variant is live under, as an alias is; attribution tokens name it."""
        return f"{self.id}-{self.spec.number(variant)}"

    def moved_to(self, state: ExperimentState) -> "Experiment":
        """The same in another state, a version later. Raises: Conflict where the state forbids it."""
        if state not in EXPERIMENT_MOVES[self.state]:
            raise Conflict(f"Experiment {self.id!r} is {self.state.value}: it cannot become {state.value}.")
        return replace(self, state=state, version=self.version + 1)

    def changed(self, spec: ExperimentSpec, allocation: Allocation | None) -> "Experiment":
        """The same with another specification, and the allocation that it brings to a live one."""
        allocations = self.allocations if allocation is None else (*self.allocations, allocation)
        return replace(self, spec=spec, allocations=allocations, version=self.version + 1)

    def started(self, *, at: datetime, allocation: Allocation, pinned: Mapping[str, Bundle]) -> "Experiment":
        """Running, with the models that it has from now on. Raises: Conflict."""
        running = self.moved_to(ExperimentState.RUNNING)
        return replace(running, started_at=at, allocations=(allocation,), pinned=dict(pinned))

    def stopped(self, *, at: datetime) -> "Experiment":
        """Stopped: everybody gets the alias. Raises: Conflict."""
        return replace(self.moved_to(ExperimentState.STOPPED), stopped_at=at)

    def decided(self, decision: Decision) -> "Experiment":
        """Decided; a promotion may be rolled back afterwards, and nothing else. Raises: Conflict."""
        before = self.decision
        if before is not None and (before.action, decision.action) != ("promote", "rollback"):
            raise Conflict(f"Experiment {self.id!r} is decided: only its promotion can still be rolled back.")
        decided = self.moved_to(ExperimentState.DECIDED)
        return replace(decided, decided_at=decision.decided_at, decisions=(*self.decisions, decision))


def check_kind(kind: ExperimentKind, spec: ExperimentSpec) -> None:
    """Refuse a specification that its kind cannot have. Raises: InvalidRequest."""
    if kind == "interleaving" and len(spec.variants) != 2:
        raise InvalidRequest(f"A list is drafted from two variants, not {len(spec.variants)}.", pointer="/variants")


def taken_in_layer(others: Iterable[Experiment]) -> set[int]:
    """The traffic buckets that live experiments of a layer hold.

    A bucket once given is held until the experiment stops, even when its traffic shrinks: users who saw it keep their
    variant, and would be in two experiments of the layer.
    """
    return {number for each in others for held in each.allocations for number in buckets_of(held.traffic)}


def check_traffic(traffic: float) -> None:
    """Raises: InvalidRequest."""
    if not 1 / N_BUCKETS <= traffic <= 1:
        raise InvalidRequest(f"traffic must be between {1 / N_BUCKETS} and 1, not {traffic}.", pointer="/traffic")


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse a weight too small for one bucket. Raises: InvalidRequest."""
    least = sum(weights.values()) / N_BUCKETS
    for place, (name, weight) in enumerate(weights.items()):
        if weight < least:
            raise InvalidRequest(
                f"The weight of {name!r} is less than 1/{N_BUCKETS} of all.", pointer=f"/variants/{place}/weight"
            )


def _length(name: str, text: str, longest: int) -> None:
    if not 1 <= len(text) <= longest:
        raise InvalidRequest(f"{name} has between 1 and {longest} characters, not {len(text)}.", pointer=f"/{name}")


def _count(name: str, n: int, least: int, most: int) -> None:
    if not least <= n <= most:
        raise InvalidRequest(f"There are between {least} and {most} {name}, not {n}.", pointer=f"/{name}")


def _unique(kind: str, names: list[str]) -> None:
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InvalidRequest(f"Two {kind} are called {twice[0]!r}.", pointer=f"/{kind}")


def _days(name: str, days: int, least: int) -> None:
    if not least <= days <= MAX_DAYS:
        raise InvalidRequest(f"{name} must be between {least} and {MAX_DAYS}, not {days}.", pointer=f"/{name}")
