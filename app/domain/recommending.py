"""Recommending: a user's vector is the weighted mean of the songs heard.

Notation: song h_t heard at age a_t = now - played_at (days) has weight w_t = e_t c_t 2^(-a_t / half_life), where e_t is
the weight of the event's type (1 for a play) and c_t = 1 - completion_weight (1 - completion) of a play or skip whose
completion is known, else 1. With unit query rows q_i the profile is p = sum_t w_t q_{h_t} / sum_t |w_t|, shape
`(dim,)`, and songs are ranked by their score with p. As the score is linear in p, it is the sum of what each play
contributes: w_t q_{h_t} . v / sum |w|.
In a session, songs in order without times, the i-th from the end has 2^(-i / SESSION_HALF_LIFE_SONGS) for an age.
Source: the article (user = recency-weighted mean of the songs heard); event types and completion are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.errors import InvalidRequest
from app.domain.plays import EVENT_NUMBERS, EVENT_TYPES, EventType, RecentPlays

MILLISECONDS_PER_DAY = 86_400_000.0

MAX_K = 100
"""The longest list of neighbours or recommendations."""

MAX_HISTORY_LENGTH = 1_000
"""The most plays that one profile may be made of."""

MAX_SESSION_LENGTH = 100
"""The most songs of a session that a request gives."""

SESSION_GAP_MS = 30 * 60_000
"""Silence that ends a session of a stored history."""

SESSION_HALF_LIFE_SONGS = 5.0
"""Songs after which a song of a session weighs half."""

LEAST_PROFILE = 1e-6
"""A profile shorter than this has no direction: the songs heard cancel each other out."""

GREATEST_EVENT_WEIGHT = 10.0

EVENT_WEIGHTS: Mapping[EventType, float] = {
    EventType.PLAY: 1.0,
    EventType.SKIP: 0.0,
    EventType.LIKE: 2.0,
    EventType.DISLIKE: -1.0,
    EventType.SAVE: 2.0,
    EventType.SHARE: 2.0,
}
"""What an event weighs beside a play unless the request or a setting says otherwise. Below 0 it pushes away."""

COMPLETED = tuple(EVENT_NUMBERS[event] for event in (EventType.PLAY, EventType.SKIP))
"""The events whose completion counts: a like is one however little of the song was heard."""

Seen = Literal["recent", "none", "all"] | int
"""Which songs heard are left out: the last few, none, all that are on record, or those of so many days."""

MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationOptions:
    """How recommendations are made.

    The newest `history_length` plays make the profile. `exclude_seen`: "recent" leaves out the songs among the newest
    `recent_songs_excluded` plays; an older favourite may be recommended. `event_weights` are by `EVENT_TYPES`.
    `mmr_lambda` 1 ranks by score alone, less makes the list more diverse.
    """

    k: int = 10
    half_life_days: float = 30.0
    history_length: int = 200
    recent_songs_excluded: int = 50
    event_weights: tuple[float, ...] = tuple(EVENT_WEIGHTS[event] for event in EVENT_TYPES)
    completion_weight: float = 1.0
    exclude_seen: Seen = "recent"
    mmr_lambda: float = 1.0

    def __post_init__(self) -> None:
        check_k(self.k)
        if not 0 < self.half_life_days <= 36_500:
            raise InvalidRequest(
                f"half_life_days must be above 0 and at most 36500, not {self.half_life_days}.",
                pointer="half_life_days",
            )
        _within("history_length", self.history_length, 1, MAX_HISTORY_LENGTH)
        if self.recent_songs_excluded < 0:
            raise InvalidRequest(
                f"recent_songs_excluded must be at least 0, not {self.recent_songs_excluded}.",
                pointer="recent_songs_excluded",
            )
        for event, weight in zip(EVENT_TYPES, self.event_weights, strict=True):
            _within(f"event_weights/{event}", weight, -GREATEST_EVENT_WEIGHT, GREATEST_EVENT_WEIGHT)
        _within("completion_weight", self.completion_weight, 0, 1)
        _within("mmr_lambda", self.mmr_lambda, 0, 1)
        if isinstance(self.exclude_seen, int):
            _within("exclude_seen", self.exclude_seen, 1, MOST_DAYS)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN too
        raise InvalidRequest(f"{name} must be between {low:g} and {high:g}, not {value}.", pointer=name)


class Wishes(TypedDict, total=False):
    """What a request wants otherwise than the server's options; None and what is absent stay as they are."""

    k: int
    half_life_days: float | None
    history_length: int | None
    event_weights: Mapping[EventType, float] | None
    completion_weight: float | None
    exclude_seen: Seen | None
    mmr_lambda: float | None


def wished(options: RecommendationOptions, wishes: Wishes) -> RecommendationOptions:
    """The options as a request wants them. Raises: InvalidRequest."""
    changes: dict[str, Any] = {name: value for name, value in wishes.items() if value is not None}
    weights = wishes.get("event_weights")
    if weights is not None:
        changes["event_weights"] = weights_by_event(weights, else_of=options.event_weights)
    if all(getattr(options, name) == value for name, value in changes.items()):
        return options  # as most requests: checking them anew takes 40 us
    return replace(options, **changes)


def weights_by_event(given: Mapping[EventType, float], *, else_of: tuple[float, ...]) -> tuple[float, ...]:
    """The weights by `EVENT_TYPES`: those given, and for other events those of `else_of`."""
    return tuple(given.get(event, weight) for event, weight in zip(EVENT_TYPES, else_of, strict=True))


@dataclass(frozen=True, slots=True)
class History:
    """Plays of songs that a model knows: rows of the model and epoch milliseconds, int64 `(n_plays,)` each.

    `events` uint8 and `strengths` float64, e_t c_t of the module header, of the same shape; None stands for plays of
    strength 1.
    """

    songs: NDArray[np.int64]
    played_at_ms: NDArray[np.int64]
    events: NDArray[np.uint8] | None = None
    strengths: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.songs)

    def at(self, places: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "History":
        """The plays at these places."""
        return History(
            self.songs[places],
            self.played_at_ms[places],
            None if self.events is None else self.events[places],
            None if self.strengths is None else self.strengths[places],
        )

    def since(self, instant_ms: int) -> "History":
        """The plays after an instant."""
        return self.at(self.played_at_ms > instant_ms)

    def weighing(self, strength: float) -> "History":
        """The same plays of another strength."""
        if self.strengths is None and strength == 1:
            return self
        return replace(self, strengths=np.full(len(self), float(strength)))


def epoch_ms(instant: datetime) -> int:
    """Whole milliseconds since 1970."""
    return int(instant.timestamp() * 1000)


def check_k(k: int) -> None:
    """Refuse a list length out of range. Raises: InvalidRequest."""
    if not 1 <= k <= MAX_K:
        raise InvalidRequest(f"k must be between 1 and {MAX_K}, not {k}.", pointer="k")


def strengths(
    plays: RecentPlays, *, durations_s: NDArray[np.floating], options: RecommendationOptions
) -> NDArray[np.float64]:
    """e_t c_t of the module header; `durations_s` `(n_plays,)` are the songs' own, for plays that name none.

    >>> plays = RecentPlays(["a"], np.array([5]), np.array([0]), np.array([30.0]), np.array([120.0]), is_whole=True)
    >>> strengths(plays, durations_s=np.array([np.nan]), options=RecommendationOptions()).tolist()
    [0.25]
    """
    by_event: NDArray[np.float64] = np.array(options.event_weights)[plays.events]
    if options.completion_weight == 0:
        return by_event
    duration_s = np.where(np.isnan(plays.durations_s), durations_s, plays.durations_s)
    completion = np.minimum(plays.seconds_streamed / duration_s, 1.0)
    has_completion = np.isfinite(completion) & np.isin(plays.events, COMPLETED)
    return np.where(has_completion, by_event * (1 - options.completion_weight * (1 - completion)), by_event)


def merged(histories: Sequence[History], *, length: int) -> History:
    """The newest `length` plays of all histories, newest first, ties by row; one event of a song counts once.

    Of two reports of the same event at the same instant that of the later history stays: it may know more.

    >>> sent = History(np.array([7, 3]), np.array([20, 10]))
    >>> merged([History(np.array([3]), np.array([10])), sent], length=5).songs.tolist()
    [7, 3]
    """
    parts = [history for history in reversed(histories) if len(history)]
    if len(parts) == 1:
        whole = parts[0]
    else:
        whole = History(
            np.concatenate([np.empty(0, dtype=np.int64), *(part.songs for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.played_at_ms for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.uint8), *map(_events, parts)]),
            np.concatenate([np.empty(0), *map(_strengths, parts)]),
        )
    if not np.count_nonzero(whole.played_at_ms[1:] >= whole.played_at_ms[:-1]):  # as most: each has its own instant
        return whole if len(whole) <= length else whole.at(slice(length))
    events = _events(whole)
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.lexsort((part_of, events, whole.songs, -whole.played_at_ms))
    songs, played_at_ms, events = whole.songs[order], whole.played_at_ms[order], events[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (songs[1:] != songs[:-1]) | (played_at_ms[1:] != played_at_ms[:-1]) | (events[1:] != events[:-1])
    return whole.at(order[is_first][:length])


def _events(history: History) -> NDArray[np.uint8]:
    return np.zeros(len(history), dtype=np.uint8) if history.events is None else history.events


def _strengths(history: History) -> NDArray[np.float64]:
    return np.ones(len(history)) if history.strengths is None else history.strengths


def recency_weights(played_at_ms: NDArray[np.int64], *, now_ms: int, half_life_days: float) -> NDArray[np.float64]:
    """2^(-age / half-life) of each play over that of the newest, in [0, 1]; a play from the future counts as new.

    A mean does not change when all weights are scaled alike. So scaled, the newest weighs 1 however old it is, and
    a history that is old throughout keeps its direction where the plain formula would round to nothing.

    >>> recency_weights(np.array([0, 86_400_000]), now_ms=86_400_000, half_life_days=1.0).tolist()
    [0.5, 1.0]
    """
    if len(played_at_ms) == 0:
        return np.empty(0)
    heard_at_ms = np.minimum(played_at_ms, now_ms)
    weights: NDArray[np.float64] = np.exp2((heard_at_ms - heard_at_ms.max()) / (half_life_days * MILLISECONDS_PER_DAY))
    return weights


def profile(rows: Matrix, weights: NDArray[np.float64]) -> Matrix | None:
    """The weighted mean of `rows` `(n, dim)`: float32 `(dim,)`.

    None without rows, when all weigh nothing, or when they cancel out.
    """
    total = np.abs(weights).sum()
    if total == 0:
        return None
    mean: Matrix = (weights / total).astype(np.float32) @ rows
    return mean if mean @ mean >= LEAST_PROFILE**2 else None


def contributions(history: Matrix, weights: NDArray[np.float64], recommended: Matrix) -> NDArray[np.float64]:
    """What each play adds to the score of each song recommended: `(n_recommended, n_plays)`; a row's sum is the score.

    `history` `(n_plays, dim)` are the query rows heard, `recommended` `(n_recommended, dim)` the song rows.
    """
    added: NDArray[np.float64] = recommended.astype(np.float64) @ history.T * (weights / np.abs(weights).sum())
    return added


def session_weights(n_songs: int) -> NDArray[np.float64]:
    """The weight of each song of a session, the newest first.

    >>> session_weights(6)[[0, 5]].tolist()
    [1.0, 0.5]
    """
    weights: NDArray[np.float64] = np.exp2(-np.arange(n_songs) / SESSION_HALF_LIFE_SONGS)
    return weights


def last_session(history: History) -> History:
    """The newest plays of a history that no longer silence parts, at most MAX_SESSION_LENGTH."""
    gaps = history.played_at_ms[:-1] - history.played_at_ms[1:]
    ends = np.flatnonzero(gaps > SESSION_GAP_MS)
    length = min(int(ends[0]) + 1 if len(ends) else len(history), MAX_SESSION_LENGTH)
    return history.at(slice(length))


def segment_of_user(segments: NDArray[np.integer]) -> int | None:
    """The segment that most of a user's recent plays have; None when none has one.

    `segments` are the plays' segments by number, newest first, -1 for a song without one. Of equally frequent ones the
    one heard last.

    >>> segment_of_user(np.array([2, 0, 0, -1]))
    0
    """
    known = segments[segments >= 0]
    if len(known) == 0:
        return None
    counts = np.bincount(known)
    return int(known[np.argmax(counts[known] == counts.max())])


def not_heard(
    found: NDArray[np.int64], scores: NDArray[np.float32], *, heard: NDArray[np.int64], k: int
) -> list[tuple[int, float]]:
    """The first k songs found, best first, that are not among `heard`, with their scores; the padding (-1) goes too.

    >>> not_heard(np.array([7, 4, -1]), np.array([0.5, 0.25, -np.inf]), heard=np.array([7]), k=2)
    [(4, 0.25)]
    """
    left_out = {-1, *heard.tolist()}  # of a few dozen songs, sooner than by arrays
    new = (scored for scored in zip(found.tolist(), scores.tolist(), strict=True) if scored[0] not in left_out)
    return list(islice(new, k))
