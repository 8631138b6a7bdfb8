"""Outcomes: which sums over users' plays a metric is made of.

A metric is y / d of sums over users; `moments` says what else is summed. Every sum over plays is first made by session,
so that a column is a sum over a session's plays, or one that counts sessions where that is above 0; a user's value is
the sum over the sessions so far, or 1 where that is above 0.

    metric              y                                    d
    mean of users       sum                                  1 (the number of users)
    mean of sessions    sum                                  sessions
    ratio               sum                                  sum
    binary of users     1 where the sum is above 0           1; of users who return: who could have by then
    binary of sessions  sessions whose sum is above 0        sessions

A session belongs to the UTC day on which it began, and one in which the exposure falls is cut there. The covariates are
the same of sessions before the exposure; returning has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.domain.experiments.metrics import Aggregate, Metric, MetricKind, MetricUnit
from app.domain.experiments.moments import Moments, Steps

Counted = Literal["sum", "sessions"]


@dataclass(frozen=True, slots=True)
class Column:
    """A sum over sessions: of what they sum up to, or of those where that is above 0.

    `aggregate` is None for all sessions. Plays count from `from_day` days after the exposure on.
    """

    aggregate: Aggregate | None
    counted: Counted = "sum"
    from_day: int = 0


@dataclass(frozen=True, slots=True)
class Term:
    """A user's value: the column's sum so far, or with `is_flag` 1 where it is above 0."""

    column: Column
    is_flag: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """1 for a user who was exposed at least so many days ago."""

    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a metric is made of; see the module header."""

    y: Term
    d: Term | Due | None
    has_covariate: bool


def terms_of(metric: Metric) -> Terms:
    """Those of a metric."""
    days = metric.return_after_days or 0
    column = _column(metric.numerator, days)
    if metric.kind is MetricKind.RATIO and metric.denominator is not None:
        return Terms(y=Term(column), d=Term(_column(metric.denominator, 0)), has_covariate=True)
    if metric.unit is MetricUnit.SESSION:
        if metric.kind is MetricKind.BINARY:
            column = Column(metric.numerator, "sessions")
        return Terms(y=Term(column), d=Term(Column(None)), has_covariate=True)
    is_flag = metric.kind is MetricKind.BINARY
    return Terms(y=Term(column, is_flag), d=Due(days) if days else None, has_covariate=not days)


def _column(aggregate: Aggregate, from_day: int) -> Column:
    if aggregate.sum == "sessions":
        events = Aggregate(sum="events", event_types=aggregate.event_types, is_attributed=aggregate.is_attributed)
        return Column(events, "sessions", from_day)
    return Column(aggregate, "sum", from_day)


ANY_PLAY = Term(Column(None), is_flag=True)
"""1 for a user of whom there is any play after the exposure."""

Group = tuple[str, str | None]
"""A variant and a segment fixed before the exposure, None for users without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What one pass over the plays found: by metric and group the steps of each day, the first day first.

    `active` are the steps of `ANY_PLAY`. `first_day` counts from 1970.
    """

    first_day: int
    n_days: int
    steps: Mapping[str, Mapping[Group, Steps]]
    active: Mapping[Group, Steps] = field(default_factory=dict)

    def moments(self, metric: Metric) -> dict[Group, Moments]:
        """Of a metric by group."""
        terms = terms_of(metric)
        return {
            group: steps.moments(is_ratio=terms.d is not None, has_covariate=terms.has_covariate)
            for group, steps in self.steps[metric.name].items()
        }

    def n_active(self) -> dict[Group, tuple[int, int]]:
        """Users, and those of them with any play after the exposure, by group."""
        found = {group: steps.moments(is_ratio=False, has_covariate=False) for group, steps in self.active.items()}
        return {group: (moments.n_users, round(float(moments.totals[-1, 0, 1]))) for group, moments in found.items()}
