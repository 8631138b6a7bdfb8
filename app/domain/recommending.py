"""Recommending: a user's vector is the recency-weighted mean of the songs heard.

Notation: song h_t heard at age a_t = now - played_at (days) has weight w_t = 2^(-a_t / half_life); with unit query rows
q_i the profile is p = sum_t w_t q_{h_t} / sum_t w_t, shape `(dim,)`, and songs are ranked by their score with p.
Source: the article (user = recency-weighted mean of the songs heard).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.errors import InvalidRequest
from app.domain.listening import MAX_ID_LENGTH

MILLISECONDS_PER_DAY = 86_400_000.0

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; the first is that of 1970."""

MAX_K = 100
"""The longest list of neighbours or recommendations."""

MAX_HISTORY_LENGTH = 1_000
"""The most plays that one profile may be made of."""

LEAST_PROFILE = 1e-6
"""A profile shorter than this has no direction: the songs heard cancel each other out."""


@dataclass(frozen=True, slots=True)
class HeardSong:
    """One play of a history: integer epoch milliseconds; None, where the instant is not known, counts as just now."""

    song_id: str
    played_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """A play that the player sent. `event_id` is the sender's: the same id is the same play."""

    event_id: str
    user_id: str
    song_id: str
    played_at_ms: int
    seconds_streamed: float | None = None

    def __post_init__(self) -> None:
        for name in ("event_id", "user_id", "song_id"):
            check_id(getattr(self, name), pointer=f"/{name}")
        if not 0 <= self.played_at_ms <= LATEST_MS:
            raise InvalidRequest("played_at must be between the years 1970 and 9999.", pointer="/played_at")
        if self.seconds_streamed is not None and not 0 <= self.seconds_streamed < math.inf:
            raise InvalidRequest(
                f"seconds_streamed must be a number of at least 0, not {self.seconds_streamed}.",
                pointer="/seconds_streamed",
            )


class PlayVerdict(StrEnum):
    """What became of a play that was sent."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationOptions:
    """How recommendations are made.

    The newest `history_length` plays make the profile; songs among the newest `recent_songs_excluded` of them are not
    recommended. An older favourite may be.
    """

    k: int = 10
    half_life_days: float = 30.0
    history_length: int = 200
    recent_songs_excluded: int = 50

    def __post_init__(self) -> None:
        check_k(self.k)
        if not 0 < self.half_life_days <= 36_500:
            raise InvalidRequest(
                f"half_life_days must be above 0 and at most 36500, not {self.half_life_days}.",
                pointer="half_life_days",
            )
        if not 1 <= self.history_length <= MAX_HISTORY_LENGTH:
            raise InvalidRequest(
                f"history_length must be between 1 and {MAX_HISTORY_LENGTH}, not {self.history_length}.",
                pointer="history_length",
            )
        if self.recent_songs_excluded < 0:
            raise InvalidRequest(
                f"recent_songs_excluded must be at least 0, not {self.recent_songs_excluded}.",
                pointer="recent_songs_excluded",
            )


@dataclass(frozen=True, slots=True)
class History:
    """Plays of songs that a model knows: rows of the model and epoch milliseconds, int64 `(n_plays,)` each."""

    songs: NDArray[np.int64]
    played_at_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.songs)


def epoch_ms(instant: datetime) -> int:
    """Whole milliseconds since 1970."""
    return int(instant.timestamp() * 1000)


def check_id(value: str, *, pointer: str) -> None:
    """Refuse what cannot be the id of a song, user or event. Raises: InvalidRequest."""
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise InvalidRequest(f"An id has between 1 and {MAX_ID_LENGTH} characters, not {len(value)}.", pointer=pointer)
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest("An id must be Unicode text without NUL or lone surrogates.", pointer=pointer)


def check_k(k: int) -> None:
    """Refuse a list length out of range. Raises: InvalidRequest."""
    if not 1 <= k <= MAX_K:
        raise InvalidRequest(f"k must be between 1 and {MAX_K}, not {k}.", pointer="k")


def merged(histories: Sequence[History], *, length: int) -> History:
    """The newest `length` plays of all histories, newest first, ties by row; a song at one instant counts once.

    >>> sent = History(np.array([7, 3]), np.array([20, 10]))
    >>> merged([History(np.array([3]), np.array([10])), sent], length=5).songs.tolist()
    [7, 3]
    """
    empty = np.empty(0, dtype=np.int64)
    songs = np.concatenate([empty, *(history.songs for history in histories)])
    played_at_ms = np.concatenate([empty, *(history.played_at_ms for history in histories)])
    order = np.lexsort((songs, -played_at_ms))
    songs, played_at_ms = songs[order], played_at_ms[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (np.diff(songs) != 0) | (np.diff(played_at_ms) != 0)
    return History(songs[is_first][:length], played_at_ms[is_first][:length])


def recency_weights(played_at_ms: NDArray[np.int64], *, now_ms: int, half_life_days: float) -> NDArray[np.float64]:
    """2^(-age / half-life) of each play over that of the newest, in [0, 1]; a play from the future counts as new.

    A mean does not change when all weights are scaled alike. So scaled, the newest weighs 1 however old it is, and
    a history that is old throughout keeps its direction where the plain formula would round to nothing.

    >>> recency_weights(np.array([0, 86_400_000]), now_ms=86_400_000, half_life_days=1.0).tolist()
    [0.5, 1.0]
    """
    age_days = np.maximum(now_ms - played_at_ms, 0) / MILLISECONDS_PER_DAY
    weights: NDArray[np.float64] = np.exp2((age_days.min(initial=np.inf) - age_days) / half_life_days)
    return weights


def profile(rows: Matrix, weights: NDArray[np.float64]) -> Matrix | None:
    """The weighted mean of `rows` `(n, dim)`: float32 `(dim,)`; None without rows or when they cancel out."""
    if len(rows) == 0:
        return None
    mean: Matrix = (weights @ rows / weights.sum()).astype(np.float32)
    return mean if np.linalg.norm(mean) >= LEAST_PROFILE else None


def not_heard(
    found: NDArray[np.int64], scores: NDArray[np.float32], *, heard: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k of the songs found, best first, that are not among `heard`; the padding (-1) goes too."""
    is_new = (found >= 0) & ~np.isin(found, heard, kind="table")
    return found[is_new][:k], scores[is_new][:k]
