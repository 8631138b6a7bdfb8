"""Experiments: what a client asks for and what it is shown."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.api.schemas.base import NO_CONTROL_CHARACTERS, AliasName, Body, Identifier, Name, ResourceId, View
from app.api.schemas.experiment_metrics import MetricBody, MetricView
from app.api.schemas.gates import GatesBody, OverrideReason
from app.api.schemas.models import MODEL_ID, OTHER_MODEL_ID
from app.api.schemas.recommendations import (
    CompletionWeight,
    EventWeights,
    HalfLife,
    HistoryLength,
    MmrLambda,
    SeenText,
    seen_of,
)
from app.api.schemas.study_life import absent
from app.domain.errors import InvalidRequest
from app.domain.experiments.assignment import N_BUCKETS, Allocation
from app.domain.experiments.experiment import (
    MAX_DAYS,
    MAX_METRICS,
    MAX_VARIANTS,
    Decision,
    Experiment,
    ExperimentKind,
    ExperimentSpec,
    ExperimentState,
    Serving,
    Variant,
)
from app.domain.gates import GateLimits
from app.domain.models import Bundle
from app.services.aliases import MAX_SEGMENTS
from app.services.experiments import ExperimentFacts, Wanted

EXPERIMENT_ID = "exp_0197f3a5e4d17f3b8c6a21d05b9e7f12"

VariantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
LayerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Hypothesis = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=1 / N_BUCKETS, le=1, allow_inf_nan=False)]
Alpha = Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)]
Power = Annotated[float, Field(ge=0.5, lt=1, allow_inf_nan=False)]
ColumnOrNot = bool | Annotated[str, StringConstraints(min_length=1, max_length=256)]

EXAMPLE_BODY: JsonDict = {
    "name": "tuned against old",
    "hypothesis": "Listeners of Arabic songs listen longer to what the tuned model recommends.",
    "variants": [
        {"name": "old", "weight": 1, "alias": "production"},
        {"name": "tuned", "weight": 1, "model_id": MODEL_ID, "serving": {"mmr_lambda": 0.8}},
    ],
    "traffic": 0.2,
    "metrics": [
        {"name": "seconds_per_session", "role": "goal"},
        {"name": "skip_rate", "role": "guardrail", "margin": 0.02},
    ],
}


@contextmanager
def below(prefix: str) -> Iterator[None]:
    """Have what is refused inside point below a place of the body."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(str(error), pointer=prefix + error.pointer) from error


class ServingBody(Body):
    """How a variant recommends otherwise than the server; it wins over what requests say."""

    half_life_days: HalfLife | None = None
    history_length: HistoryLength | None = None
    completion_weight: CompletionWeight | None = None
    mmr_lambda: MmrLambda | None = None
    exclude_seen: SeenText | None = None
    event_weights: EventWeights | None = None

    def value(self) -> Serving:
        """The domain's value."""
        return Serving(
            half_life_days=self.half_life_days,
            history_length=self.history_length,
            event_weights=self.event_weights,
            completion_weight=self.completion_weight,
            exclude_seen=seen_of(self.exclude_seen),
            mmr_lambda=self.mmr_lambda,
        )


class BundleBody(Body):
    """A model, and those that some segments have of their own."""

    default: ResourceId
    segments: dict[Identifier, ResourceId] = Field(default_factory=dict, max_length=MAX_SEGMENTS)


class VariantBody(Body):
    """One variant: what an alias names at the start, a model, or a bundle of models."""

    name: VariantName
    weight: Weight = Field(default=1.0, description="Its share beside the others' weights.")
    alias: AliasName | None = None
    model_id: ResourceId | None = None
    bundle: BundleBody | None = None
    serving: ServingBody = Field(default_factory=ServingBody)

    def value(self) -> Variant:
        """The domain's value. Raises: InvalidRequest."""
        bundle = self.bundle
        return Variant(
            name=self.name,
            weight=self.weight,
            alias=self.alias,
            model_id=self.model_id,
            bundle=None if bundle is None else Bundle(default=bundle.default, segments=dict(bundle.segments)),
            serving=self.serving.value(),
        )


Variants = Annotated[
    list[VariantBody],
    Field(min_length=2, max_length=MAX_VARIANTS, description="The first is the control."),
]
Metrics = Annotated[
    list[MetricBody], Field(min_length=1, max_length=MAX_METRICS, description="At least one is a goal.")
]


class ExperimentBody(Body):
    """An experiment that is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_BODY]})

    name: Name
    hypothesis: Hypothesis
    variants: Variants
    metrics: Metrics
    kind: ExperimentKind = Field(
        default="assignment",
        description="`assignment`: each user gets one variant. `interleaving`: each gets one list, drafted from two "
        "variants, and `GET …/preference` tells whose songs are played more.",
    )
    unit: Literal["user"] = Field(default="user", description="What is assigned.")
    traffic: Share = Field(default=1.0, description="The share of all users that enters.")
    segment_by: ColumnOrNot = Field(
        default=True,
        description="Results are told by the segment that most of a user's recent plays had at the first exposure: "
        "by the dataset's segments (true), a column of its songs, or not at all (false).",
    )
    alpha: Alpha = 0.05
    power: Power = 0.8
    alias: AliasName = Field(default="production", description="What everybody else gets, and what a decision moves.")
    layer: LayerName | None = Field(
        default=None, description="Experiments of one layer never share a user; those of different layers overlap."
    )
    planned_days: int = Field(default=14, ge=1, le=MAX_DAYS)
    covariate_days: int = Field(
        default=14, ge=0, le=MAX_DAYS, description="Days before a user's exposure that make results more precise."
    )

    def spec(self) -> ExperimentSpec:
        """The domain's value. Raises: InvalidRequest."""
        return ExperimentSpec(
            name=self.name,
            hypothesis=self.hypothesis,
            variants=_variants(self.variants),
            metrics=_metrics(self.metrics),
            traffic=self.traffic,
            segment_by=self.segment_by,
            alpha=self.alpha,
            power=self.power,
            alias=self.alias,
            layer=self.layer,
            planned_days=self.planned_days,
            covariate_days=self.covariate_days,
        )


class ExperimentChangesBody(Body):
    """What is to change; what is left out stays. Once it has started, `traffic` and `weights` alone may."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"traffic": 0.5, "weights": {"tuned": 3}}]})

    name: Name = Field(default_factory=absent)
    hypothesis: Hypothesis = Field(default_factory=absent)
    variants: Variants = Field(default_factory=absent)
    metrics: Metrics = Field(default_factory=absent)
    traffic: Share = Field(default_factory=absent)
    weights: dict[VariantName, Weight] = Field(
        default_factory=absent,
        max_length=MAX_VARIANTS,
        description="By variant. Whoever was exposed keeps the variant; as few others as can be get another one.",
    )
    segment_by: ColumnOrNot = Field(default_factory=absent)
    alpha: Alpha = Field(default_factory=absent)
    power: Power = Field(default_factory=absent)
    alias: AliasName = Field(default_factory=absent)
    layer: LayerName | None = Field(default=None)
    planned_days: int = Field(default_factory=absent, ge=1, le=MAX_DAYS)
    covariate_days: int = Field(default_factory=absent, ge=0, le=MAX_DAYS)

    def changes(self) -> dict[str, Any]:
        """Fields of the specification by name, as the domain's values. Raises: InvalidRequest."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "variants" in given:
            given["variants"] = _variants(self.variants)
        if "metrics" in given:
            given["metrics"] = _metrics(self.metrics)
        return given


class DecisionBody(Body):
    """What is made of a stopped experiment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "promote", "variant": "tuned", "reason": "longer in Arabic"}]}
    )

    action: Literal["promote", "rollback"] = Field(
        description="`promote` moves the alias to the variant's models. `rollback` moves it to the control's where it "
        "serves another variant's, and back to what was before where this experiment's promotion is what it serves."
    )
    variant: VariantName | None = Field(default=None, description="What is promoted.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_CONTROL_CHARACTERS)] | None = None
    gates: GatesBody | None = Field(default=None, description="What a promotion must show; by default the operator's.")
    override_reason: OverrideReason | None = Field(
        default=None, description="Why the alias moves even where a gate refuses; kept with the move."
    )

    def value(self, defaults: GateLimits, *, decided_by: str | None, if_match: int | None) -> Wanted:
        """The service's value."""
        return Wanted(
            action=self.action,
            variant=self.variant,
            reason=self.reason,
            override_reason=self.override_reason,
            gates=None if self.gates is None else self.gates.over(defaults),
            decided_by=decided_by,
            if_match=if_match,
        )


def _variants(bodies: Sequence[VariantBody]) -> tuple[Variant, ...]:
    variants = []
    for place, body in enumerate(bodies):
        with below(f"/variants/{place}"):
            variants.append(body.value())
    return tuple(variants)


def _metrics(bodies: Sequence[MetricBody]) -> tuple[Any, ...]:
    metrics = []
    for place, body in enumerate(bodies):
        with below(f"/metrics/{place}"):
            metrics.append(body.value())
    return tuple(metrics)


# Views


class BundleView(View):
    """A model, and those that some segments have of their own."""

    default: str
    segments: dict[str, str]

    @classmethod
    def of(cls, bundle: Bundle | None) -> "BundleView | None":
        """The view of a bundle, None of none."""
        return None if bundle is None else cls(default=bundle.default, segments=bundle.segments)


class VariantView(View):
    """A variant."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    weight: float
    alias: str | None
    model_id: str | None
    bundle: BundleView | None
    serving: dict[str, Any] = Field(description="What it does otherwise than the server.")
    models: BundleView | None = Field(description="What it serves from the start on; null before.")
    live_as: str = Field(description="What its answers and their attributions name as their alias.")

    @classmethod
    def of(cls, variant: Variant, experiment: Experiment) -> "VariantView":
        """The view of one variant of an experiment."""
        return cls(
            name=variant.name,
            weight=variant.weight,
            alias=variant.alias,
            model_id=variant.model_id,
            bundle=BundleView.of(variant.bundle),
            serving=dict(variant.serving.over({})),
            models=BundleView.of(experiment.pinned.get(variant.name)),
            live_as=experiment.live_name(variant.name),
        )


class AllocationView(View):
    """Who got what from an instant on: buckets as half-open ranges."""

    revision: int
    at: datetime
    hash_version: int
    traffic: list[tuple[int, int]]
    variants: dict[str, list[tuple[int, int]]]
    weights: dict[str, float]

    @classmethod
    def of(cls, allocation: Allocation) -> "AllocationView":
        """The view of an allocation."""
        return cls(
            revision=allocation.revision,
            at=allocation.at,
            hash_version=allocation.hash_version,
            traffic=list(allocation.traffic),
            variants={name: list(ranges) for name, ranges in allocation.variants.items()},
            weights=allocation.weights,
        )


class DecisionView(View):
    """A decision: the alias moved to `generation`; null where it had not to move."""

    action: Literal["promote", "rollback"]
    variant: str = Field(description="What was promoted, or the control that everybody goes back to.")
    alias: str
    generation: int | None
    decided_at: datetime
    decided_by: str | None = Field(description="The id of the API key that asked for it.")
    reason: str | None
    override_reason: str | None

    @classmethod
    def of(cls, decision: Decision) -> "DecisionView":
        """The view of a decision."""
        return cls(
            action=decision.action,
            variant=decision.variant,
            alias=decision.alias,
            generation=decision.generation,
            decided_at=decision.decided_at,
            decided_by=decision.decided_by,
            reason=decision.reason,
            override_reason=decision.override_reason,
        )


EXAMPLE: dict[str, Any] = {
    **EXAMPLE_BODY,
    "id": EXPERIMENT_ID,
    "kind": "assignment",
    "state": "running",
    "version": 1,
    "variants": [
        {
            "name": "old",
            "weight": 1,
            "alias": "production",
            "model_id": None,
            "bundle": None,
            "serving": {},
            "models": {"default": OTHER_MODEL_ID, "segments": {}},
            "live_as": f"{EXPERIMENT_ID}-1",
        },
        {
            "name": "tuned",
            "weight": 1,
            "alias": None,
            "model_id": MODEL_ID,
            "bundle": None,
            "serving": {"mmr_lambda": 0.8},
            "models": {"default": MODEL_ID, "segments": {}},
            "live_as": f"{EXPERIMENT_ID}-2",
        },
    ],
    "metrics": [
        {
            "name": "seconds_per_session",
            "role": "goal",
            "kind": "mean",
            "unit": "session",
            "numerator": {"sum": "seconds", "event_types": ["play", "skip"], "is_attributed": False},
            "denominator": None,
            "higher_is_better": True,
            "margin": None,
            "return_after_days": None,
        }
    ],
    "segment_by": True,
    "alpha": 0.05,
    "power": 0.8,
    "alias": "production",
    "layer": None,
    "planned_days": 14,
    "covariate_days": 14,
    "salt": EXPERIMENT_ID,
    "traffic_salt": f"{EXPERIMENT_ID}-traffic",
    "allocations": [
        {
            "revision": 0,
            "at": "2026-01-01T12:00:00Z",
            "hash_version": 1,
            "traffic": [[0, 2000]],
            "variants": {"old": [[0, 5000]], "tuned": [[5000, 10000]]},
            "weights": {"old": 1, "tuned": 1},
        }
    ],
    "decisions": [],
    "created_at": "2026-01-01T11:58:00Z",
    "started_at": "2026-01-01T12:00:00Z",
    "stopped_at": None,
    "decided_at": None,
    "created_by": None,
}


class ExperimentView(View):
    """An experiment. `version` counts its changes and is its ETag."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_extra={"examples": [EXAMPLE]})

    id: str
    kind: ExperimentKind
    state: ExperimentState
    version: int
    name: str
    hypothesis: str
    variants: list[VariantView]
    metrics: list[MetricView]
    traffic: float
    segment_by: bool | str
    alpha: float
    power: float
    alias: str
    layer: str | None
    planned_days: int
    covariate_days: int
    salt: str = Field(description="What variants are chosen by; see the allocations.")
    traffic_salt: str = Field(description="What traffic is chosen by; all experiments of a layer share it.")
    allocations: list[AllocationView] = Field(description="Who got what, one for each change of shares.")
    decisions: list[DecisionView]
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    decided_at: datetime | None
    created_by: str | None = Field(description="The id of the API key that asked for it.")

    @classmethod
    def of(cls, experiment: Experiment) -> "ExperimentView":
        """The view of an experiment."""
        return cls(**_fields(experiment))


class ExposuresCountView(View):
    """Users of one variant."""

    variant: str
    n_exposed: int = Field(description="Users who have seen it first.")
    n_crossed: int = Field(description="Those of them who were seen with another one too; results leave them out.")


class ExperimentDetailView(ExperimentView):
    """An experiment, and who has seen its variants."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE,
                    "exposures": [
                        {"variant": "old", "n_exposed": 5012, "n_crossed": 1},
                        {"variant": "tuned", "n_exposed": 4988, "n_crossed": 0},
                    ],
                }
            ]
        },
    )

    exposures: list[ExposuresCountView]

    @classmethod
    def of_facts(cls, facts: ExperimentFacts) -> "ExperimentDetailView":
        """The view of an experiment with its counts."""
        return cls(
            **_fields(facts.experiment),
            exposures=[
                ExposuresCountView(variant=name, n_exposed=n_exposed, n_crossed=n_crossed)
                for name in facts.experiment.exposed_to
                for n_exposed, n_crossed in [facts.counts.get(name, (0, 0))]
            ],
        )


def _fields(experiment: Experiment) -> Mapping[str, Any]:
    spec = experiment.spec
    return {
        "id": experiment.id,
        "kind": experiment.kind,
        "state": experiment.state,
        "version": experiment.version,
        "name": spec.name,
        "hypothesis": spec.hypothesis,
        "variants": [VariantView.of(variant, experiment) for variant in spec.variants],
        "metrics": [MetricView.of(metric) for metric in spec.metrics],
        "traffic": spec.traffic,
        "segment_by": spec.segment_by,
        "alpha": spec.alpha,
        "power": spec.power,
        "alias": spec.alias,
        "layer": spec.layer,
        "planned_days": spec.planned_days,
        "covariate_days": spec.covariate_days,
        "salt": experiment.salt,
        "traffic_salt": experiment.traffic_salt,
        "allocations": [AllocationView.of(allocation) for allocation in experiment.allocations],
        "decisions": [DecisionView.of(decision) for decision in experiment.decisions],
        "created_at": experiment.created_at,
        "started_at": experiment.started_at,
        "stopped_at": experiment.stopped_at,
        "decided_at": experiment.decided_at,
        "created_by": experiment.created_by,
    }
