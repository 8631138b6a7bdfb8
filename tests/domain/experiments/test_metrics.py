"""Metrics say what of a user's plays counts, and cannot say what makes no sense."""

from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.experiments.metrics import PRESETS, Aggregate, Metric, MetricKind, MetricRole, MetricUnit, from_preset
from app.domain.plays import EventType

EVENTS = Aggregate(sum="events")


def metric(**changes: Any) -> Metric:  # noqa: ANN401 - any field
    wanted: dict[str, Any] = {
        "name": "plays",
        "role": MetricRole.GOAL,
        "kind": MetricKind.MEAN,
        "numerator": EVENTS,
        **changes,
    }
    return Metric(**wanted)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_metric(name: str) -> None:
    found = from_preset(name, MetricRole.GUARDRAIL, margin=0.02)
    assert (found.name, found.role, found.margin) == (name, MetricRole.GUARDRAIL, 0.02)


def test_an_unknown_preset_is_refused_by_the_names_of_the_known() -> None:
    with pytest.raises(InvalidRequest, match="skip_rate") as caught:
        from_preset("fun", MetricRole.GOAL)
    assert caught.value.pointer == "/name"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "Plays a day"}, "/name"),
        ({"kind": MetricKind.RATIO}, "/denominator"),
        ({"denominator": EVENTS}, "/denominator"),
        ({"kind": MetricKind.RATIO, "denominator": EVENTS, "unit": MetricUnit.SESSION}, "/unit"),
        ({"unit": MetricUnit.SESSION, "numerator": Aggregate(sum="sessions")}, "/numerator/sum"),
        ({"margin": 0.1}, "/margin"),
        ({"role": MetricRole.GUARDRAIL, "margin": 1.0}, "/margin"),
        ({"return_after_days": 7}, "/return_after_days"),
        ({"kind": MetricKind.BINARY, "unit": MetricUnit.SESSION, "return_after_days": 7}, "/return_after_days"),
        ({"kind": MetricKind.BINARY, "return_after_days": 0}, "/return_after_days"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        metric(**changes)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("event_types", [(), (EventType.PLAY, EventType.PLAY)])
def test_event_types_are_different_ones(event_types: tuple[EventType, ...]) -> None:
    with pytest.raises(InvalidRequest, match="event_types"):
        Aggregate(sum="events", event_types=event_types)


def test_own_metrics_are_made_of_the_same_fields() -> None:
    own = metric(kind=MetricKind.RATIO, denominator=Aggregate(sum="sessions"), higher_is_better=False)
    assert own.denominator == Aggregate(sum="sessions")
    assert metric(unit=MetricUnit.SESSION).unit is MetricUnit.SESSION
