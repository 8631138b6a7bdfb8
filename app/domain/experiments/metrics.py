"""Metrics: what of a user's plays an experiment is measured by. Only plays after the user's exposure count.

Notation: an aggregate is a sum over a user's plays, so that what one user did on several days adds up.
    mean     of a user:    sum over users / number of users
             of a session: sum over sessions / number of sessions; errors are clustered by user
    ratio    numerator summed over users / denominator summed over users; errors are clustered by user
    binary   the share of users, or of sessions, whose sum is above 0
Silence of `SESSION_GAP_MS` ends a session. Whatever belongs to one user is never taken for independent.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.domain.errors import InvalidRequest
from app.domain.plays import EventType

NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")

MAX_RETURN_DAYS = 365

Sum = Literal["events", "seconds", "completion", "completions", "sessions"]
"""Number of events, seconds streamed, shares of songs that were heard, events of which that share is known, sessions
in which there are such events."""


class MetricRole(StrEnum):
    """A goal decides, a guardrail may not get worse by more than its margin, a secondary metric explains."""

    GOAL = "goal"
    GUARDRAIL = "guardrail"
    SECONDARY = "secondary"


class MetricKind(StrEnum):
    """See the module header."""

    MEAN = "mean"
    RATIO = "ratio"
    BINARY = "binary"


class MetricUnit(StrEnum):
    """What there is one value of."""

    USER = "user"
    SESSION = "session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A sum over a user's plays: of these event types (None: all), of all or of those that carry an attribution.

    `is_attributed`: only plays whose token names this experiment's answers.
    """

    sum: Sum
    event_types: tuple[EventType, ...] | None = None
    is_attributed: bool = False

    def __post_init__(self) -> None:
        if self.event_types is not None and not 0 < len(self.event_types) == len(set(self.event_types)):
            raise InvalidRequest("event_types are different ones, and at least one.", pointer="/event_types")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of an experiment.

    `margin` is the relative loss that a guardrail tolerates. `return_after_days`: only plays that begin so many days
    or more after the exposure count.
    """

    name: str
    role: MetricRole
    kind: MetricKind
    numerator: Aggregate
    unit: MetricUnit = MetricUnit.USER
    denominator: Aggregate | None = None
    higher_is_better: bool = True
    margin: float | None = None
    return_after_days: int | None = None

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise InvalidRequest(
                "A metric's name has 1 to 64 lower-case letters, digits or '_', and begins with a letter or digit.",
                pointer="/name",
            )
        if (self.kind is MetricKind.RATIO) != (self.denominator is not None):
            raise InvalidRequest("A ratio has a denominator, and nothing else does.", pointer="/denominator")
        if self.unit is MetricUnit.SESSION and self.kind is MetricKind.RATIO:
            raise InvalidRequest("A ratio is of users: its denominator says what it is per.", pointer="/unit")
        if self.unit is MetricUnit.SESSION and self.numerator.sum == "sessions":
            raise InvalidRequest("Every session is one session.", pointer="/numerator/sum")
        self._check_margin()
        self._check_return()

    def _check_margin(self) -> None:
        if self.margin is None:
            return
        if self.role is not MetricRole.GUARDRAIL:
            raise InvalidRequest("Only a guardrail has a margin.", pointer="/margin")
        if not 0 <= self.margin < 1:
            raise InvalidRequest(f"margin must be at least 0 and below 1, not {self.margin}.", pointer="/margin")

    def _check_return(self) -> None:
        if self.return_after_days is None:
            return
        if self.kind is not MetricKind.BINARY or self.unit is not MetricUnit.USER:
            raise InvalidRequest("Users return or don't: a binary metric of users.", pointer="/return_after_days")
        if not 1 <= self.return_after_days <= MAX_RETURN_DAYS:
            raise InvalidRequest(
                f"return_after_days must be between 1 and {MAX_RETURN_DAYS}, not {self.return_after_days}.",
                pointer="/return_after_days",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A metric that a request may name; `role` is the request's to choose."""

    kind: MetricKind
    numerator: Aggregate
    unit: MetricUnit = MetricUnit.USER
    denominator: Aggregate | None = None
    higher_is_better: bool = True
    return_after_days: int | None = None


_PLAYED = (EventType.PLAY, EventType.SKIP)
"""What the player reports of a song that began; the others are said of songs."""


def _returned(days: int) -> Preset:
    return Preset(
        kind=MetricKind.BINARY, numerator=Aggregate(sum="events", event_types=_PLAYED), return_after_days=days
    )


PRESETS: dict[str, Preset] = {
    "seconds_per_session": Preset(
        kind=MetricKind.MEAN, unit=MetricUnit.SESSION, numerator=Aggregate(sum="seconds", event_types=_PLAYED)
    ),
    "seconds_per_user": Preset(kind=MetricKind.MEAN, numerator=Aggregate(sum="seconds", event_types=_PLAYED)),
    "sessions_per_user": Preset(kind=MetricKind.MEAN, numerator=Aggregate(sum="sessions", event_types=_PLAYED)),
    "plays_per_user": Preset(kind=MetricKind.MEAN, numerator=Aggregate(sum="events", event_types=(EventType.PLAY,))),
    "skip_rate": Preset(
        kind=MetricKind.RATIO,
        numerator=Aggregate(sum="events", event_types=(EventType.SKIP,)),
        denominator=Aggregate(sum="events", event_types=_PLAYED),
        higher_is_better=False,
    ),
    "completion": Preset(
        kind=MetricKind.RATIO,
        numerator=Aggregate(sum="completion", event_types=_PLAYED),
        denominator=Aggregate(sum="completions", event_types=_PLAYED),
    ),
    "attributed_plays": Preset(
        kind=MetricKind.MEAN, numerator=Aggregate(sum="events", event_types=(EventType.PLAY,), is_attributed=True)
    ),
    "likes_per_user": Preset(kind=MetricKind.MEAN, numerator=Aggregate(sum="events", event_types=(EventType.LIKE,))),
    "returned_after_1_day": _returned(1),
    "returned_after_7_days": _returned(7),
    "returned_after_28_days": _returned(28),
}
"""The metrics that are known by name."""


def from_preset(name: str, role: MetricRole, *, margin: float | None = None) -> Metric:
    """The metric that a preset is, in a role. Raises: InvalidRequest."""
    preset = PRESETS.get(name)
    if preset is None:
        raise InvalidRequest(f"There is no metric {name!r} to be named: {', '.join(PRESETS)}.", pointer="/name")
    return Metric(
        name=name,
        role=role,
        kind=preset.kind,
        unit=preset.unit,
        numerator=preset.numerator,
        denominator=preset.denominator,
        higher_is_better=preset.higher_is_better,
        margin=margin,
        return_after_days=preset.return_after_days,
    )
