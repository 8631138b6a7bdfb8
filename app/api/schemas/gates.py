"""Gates: what a client demands of a model before an alias moves to it, and what it is told it showed."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.api.schemas.base import NO_CONTROL_CHARACTERS, AliasName, Body, Identifier, Parameters, View
from app.domain.gates import Gate, GateLimits, GateName, GateReport, GateState

OverrideReason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_CONTROL_CHARACTERS)]

EXAMPLE_REPORT: JsonDict = {
    "model_id": "mdl_0197f3a5b1e87d41b7720c6b3d1a9f54",
    "live_model_id": "mdl_0197f3a5c2d07e52a8831d7c4e2b0a65",
    "segment": None,
    "is_passed": True,
    "gates": [
        {
            "name": "paired",
            "state": "passed",
            "reason": None,
            "figures": {"difference": 0.012, "low": 0.003, "high": 0.021, "p_value": 0.01, "n": 513, "margin": 0},
            "segments": {},
        },
        {
            "name": "segments",
            "state": "not_applicable",
            "reason": "The pairs are of no segments.",
            "figures": {},
            "segments": {},
        },
    ],
}


class GatesBody(Body):
    """Gates to set otherwise than the operator did; null turns one off.

    A gate that cannot be computed is `not_applicable` with its reason; it refuses only where it is `required` and
    something is live.
    """

    paired_rule: Literal["not_worse", "better"] = Field(
        default="not_worse",
        description="On the test pairs of both: `not_worse` fails where the difference is below -margin and its 95 % "
        "interval below 0; `better` fails unless the interval lies above margin.",
    )
    paired_margin: float | None = Field(default=0.0, ge=0, le=1, description="Of the objective.")
    segment_margin: float | None = Field(
        default=0.02, ge=0, le=1, description="How much less the objective of any segment may be, by the same rule."
    )
    coverage_share: float | None = Field(
        default=0.8, ge=0, le=10, description="Least coverage, as a share of what is live's."
    )
    popularity_shift: float | None = Field(
        default=0.1, ge=0, le=1, description="How far the mean popularity of what is recommended may move."
    )
    recall: float | None = Field(
        default=0.9, ge=0, le=1, description="Least recall of the model's index against exact search."
    )
    latency_p99_ms: float | None = Field(
        default=100.0, ge=0, le=1e6, description="Most milliseconds that 99 % of the model's searches take."
    )
    required: list[Annotated[GateName, Field(strict=False)]] = Field(
        default_factory=list, max_length=6, description="Gates that refuse where they cannot be computed."
    )

    def over(self, defaults: GateLimits) -> GateLimits:
        """The operator's, with what was given."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"required"}}
        required = tuple(self.required) if "required" in self.model_fields_set else defaults.required
        return replace(defaults, **given, required=required)


class GateView(View):
    """One gate: its state, why, and the figures it went by, overall or of each segment."""

    name: GateName
    state: GateState
    reason: str | None
    figures: dict[str, float]
    segments: dict[str, dict[str, float]]

    @classmethod
    def of(cls, gate: Gate) -> "GateView":
        """The view of a gate."""
        return cls(name=gate.name, state=gate.state, reason=gate.reason, figures=gate.figures, segments=gate.segments)


class GateReportView(View):
    """Every gate of one model beside what is live; `segment` names the member of a bundle, null the default."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_extra={"examples": [EXAMPLE_REPORT]})

    model_id: str
    live_model_id: str | None
    segment: str | None
    is_passed: bool
    gates: list[GateView]

    @classmethod
    def of(cls, report: GateReport) -> "GateReportView":
        """The view of a table."""
        return cls(
            model_id=report.model_id,
            live_model_id=report.live_model_id,
            segment=report.segment,
            is_passed=report.is_passed,
            gates=[GateView.of(gate) for gate in report.gates],
        )


class PreviewParameters(Parameters):
    """Beside what a model is judged."""

    alias: AliasName = Field(default="production", description="Beside what is live under this alias.")
    segment: Identifier | None = Field(default=None, description="Beside its model for this segment.")
