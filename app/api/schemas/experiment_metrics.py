"""Metrics of experiments: named, or made of sums over plays."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import Body, View
from app.domain.errors import InvalidRequest
from app.domain.experiments.metrics import (
    MAX_RETURN_DAYS,
    PRESETS,
    Aggregate,
    Metric,
    MetricKind,
    MetricRole,
    MetricUnit,
    Sum,
    from_preset,
)
from app.domain.plays import EventType


class AggregateBody(Body):
    """A sum over a user's plays."""

    sum: Sum = Field(
        description="Number of `events`, `seconds` streamed, shares of songs that were heard (`completion`), events of "
        "which that share is known (`completions`), or `sessions` with such events."
    )
    event_types: (
        Annotated[list[Annotated[EventType, Field(strict=False)]], Field(min_length=1, max_length=len(EventType))]
        | None
    ) = Field(default=None, description="Of these alone; by default of all.")
    is_attributed: bool = Field(default=False, description="Of plays alone that an answer of the experiment led to.")

    def value(self) -> Aggregate:
        """The domain's value. Raises: InvalidRequest."""
        return Aggregate(
            sum=self.sum,
            event_types=None if self.event_types is None else tuple(self.event_types),
            is_attributed=self.is_attributed,
        )


class MetricBody(Body):
    """A metric by its name alone, or one of the client's own, which says its `kind` and what it sums."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "seconds_per_session", "role": "goal"},
                {
                    "name": "likes_per_session",
                    "role": "secondary",
                    "kind": "ratio",
                    "numerator": {"sum": "events", "event_types": ["like"]},
                    "denominator": {"sum": "sessions"},
                },
            ]
        }
    )

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")] = Field(
        description=f"Known by name: {', '.join(f'`{name}`' for name in PRESETS)}."
    )
    role: Annotated[MetricRole, Field(strict=False)] = MetricRole.SECONDARY
    kind: Annotated[MetricKind, Field(strict=False)] | None = Field(
        default=None,
        description="`mean` of users or sessions, `ratio` of two sums, `binary`: the share whose sum is above 0.",
    )
    unit: Annotated[MetricUnit, Field(strict=False)] = MetricUnit.USER
    numerator: AggregateBody | None = None
    denominator: AggregateBody | None = None
    higher_is_better: bool = True
    margin: float | None = Field(
        default=None, ge=0, lt=1, allow_inf_nan=False, description="The relative loss that a guardrail tolerates."
    )
    return_after_days: int | None = Field(
        default=None, ge=1, le=MAX_RETURN_DAYS, description="Only plays so many days after the exposure count."
    )

    def value(self) -> Metric:
        """The domain's value. Raises: InvalidRequest."""
        if self.kind is None:
            own = self.model_fields_set - {"name", "role", "margin", "kind"}
            if own:
                raise InvalidRequest("A metric of your own says its kind.", pointer="/kind")
            return from_preset(self.name, self.role, margin=self.margin)
        if self.numerator is None:
            raise InvalidRequest("A metric of your own says what it sums.", pointer="/numerator")
        if self.name in PRESETS:
            raise InvalidRequest("There is a metric of that name: call yours otherwise.", pointer="/name")
        return Metric(
            name=self.name,
            role=self.role,
            kind=self.kind,
            unit=self.unit,
            numerator=self.numerator.value(),
            denominator=None if self.denominator is None else self.denominator.value(),
            higher_is_better=self.higher_is_better,
            margin=self.margin,
            return_after_days=self.return_after_days,
        )


class AggregateView(View):
    """A sum over a user's plays."""

    sum: Sum
    event_types: list[EventType] | None
    is_attributed: bool

    @classmethod
    def of(cls, aggregate: Aggregate) -> "AggregateView":
        """The view of an aggregate."""
        types = aggregate.event_types
        return cls(
            sum=aggregate.sum,
            event_types=None if types is None else list(types),
            is_attributed=aggregate.is_attributed,
        )


class MetricView(View):
    """A metric, whole."""

    name: str
    role: MetricRole
    kind: MetricKind
    unit: MetricUnit
    numerator: AggregateView
    denominator: AggregateView | None
    higher_is_better: bool
    margin: float | None
    return_after_days: int | None

    @classmethod
    def of(cls, metric: Metric) -> "MetricView":
        """The view of a metric."""
        return cls(
            name=metric.name,
            role=metric.role,
            kind=metric.kind,
            unit=metric.unit,
            numerator=AggregateView.of(metric.numerator),
            denominator=None if metric.denominator is None else AggregateView.of(metric.denominator),
            higher_is_better=metric.higher_is_better,
            margin=metric.margin,
            return_after_days=metric.return_after_days,
        )
