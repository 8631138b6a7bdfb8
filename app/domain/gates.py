"""Gates: what a model must show before an alias moves to it, and what it showed; `gating` says how each is decided."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class GateName(StrEnum):
    """What is looked at; see `gating`."""

    PAIRED = "paired"
    SEGMENTS = "segments"
    COVERAGE = "coverage"
    POPULARITY = "popularity"
    RECALL = "recall"
    LATENCY = "latency"


class GateState(StrEnum):
    """What became of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What each gate demands; None turns it off; see `gating`."""

    paired_rule: Literal["not_worse", "better"] = "not_worse"
    paired_margin: float | None = 0.0
    segment_margin: float | None = 0.02
    coverage_share: float | None = 0.8
    popularity_shift: float | None = 0.1
    recall: float | None = 0.9
    latency_p99_ms: float | None = 100.0
    required: tuple[GateName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate: its state, why, and the figures it went by; `segments` holds those of each segment."""

    name: GateName
    state: GateState
    reason: str | None = None
    figures: dict[str, float] = field(default_factory=dict)
    segments: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """Every gate of one candidate beside what is live; `segment` is the member of a bundle that would change."""

    model_id: str
    live_model_id: str | None
    segment: str | None
    is_passed: bool
    gates: tuple[Gate, ...]
