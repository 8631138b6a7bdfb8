"""Plays: what players report that users did with songs, and what becomes of each report.

A play is an event of one of six types, `play` unless the player says otherwise. Its completion is the share of the song
that was heard: seconds_streamed / duration, at most 1, not known where either is not.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import InvalidRequest
from app.domain.listening import MAX_ID_LENGTH

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; the first is that of 1970."""

MAX_SECONDS = 1e9

_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class EventType(StrEnum):
    """What the user did with the song."""

    PLAY = "play"
    SKIP = "skip"
    LIKE = "like"
    DISLIKE = "dislike"
    SAVE = "save"
    SHARE = "share"


EVENT_TYPES: tuple[EventType, ...] = tuple(EventType)
EVENT_NUMBERS: dict[str, int] = {event: number for number, event in enumerate(EVENT_TYPES)}
"""Arrays hold an event type by its place in `EVENT_TYPES`."""


@dataclass(frozen=True, slots=True)
class HeardSong:
    """One play of a history: integer epoch milliseconds; None, where the instant is not known, counts as just now."""

    song_id: str
    played_at_ms: int | None = None
    event_type: EventType = EventType.PLAY
    seconds_streamed: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """A play that the player sent. `event_id` is the sender's: the same id is the same play.

    `attribution` is the token of the recommendation that led to it.
    """

    event_id: str
    user_id: str
    song_id: str
    played_at_ms: int
    seconds_streamed: float | None = None
    event_type: EventType = EventType.PLAY
    duration_s: float | None = None
    attribution: str | None = None

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
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise InvalidRequest(f"duration_s must be a number above 0, not {self.duration_s}.", pointer="/duration_s")


class PlayVerdict(StrEnum):
    """What became of a play that was sent."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a play was not taken: a stable code, the field that is wrong, and a sentence."""

    code: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class RecentPlays:
    """A user's newest plays, newest first, ties by event id (the later first).

    `song_ids` and, of the same length: `played_at_ms` int64, `events` uint8 (see `EVENT_TYPES`), `seconds_streamed` and
    `durations_s` float32 (NaN where not known). `is_whole`: the user has no older ones.
    """

    song_ids: Sequence[str]
    played_at_ms: NDArray[np.int64]
    events: NDArray[np.uint8]
    seconds_streamed: NDArray[np.float32]
    durations_s: NDArray[np.float32]
    is_whole: bool

    def __len__(self) -> int:
        return len(self.song_ids)

    def newest(self, length: int) -> "RecentPlays":
        """The newest `length` of them."""
        if len(self) <= length:
            return self
        return RecentPlays(
            self.song_ids[:length],
            self.played_at_ms[:length],
            self.events[:length],
            self.seconds_streamed[:length],
            self.durations_s[:length],
            is_whole=False,
        )


NO_PLAYS = RecentPlays(
    (),
    np.empty(0, dtype=np.int64),
    np.empty(0, dtype=np.uint8),
    np.empty(0, dtype=np.float32),
    np.empty(0, dtype=np.float32),
    is_whole=True,
)
"""Of a user who has none."""


def recent_plays(rows: Sequence[tuple[str, int, str, float | None, float | None]], *, is_whole: bool) -> RecentPlays:
    """Of rows (song id, epoch milliseconds, event type, seconds streamed, duration), newest first.

    >>> recent_plays([("s", 5, "skip", None, 180.0)], is_whole=True).events.tolist()
    [1]
    """
    if not rows and is_whole:
        return NO_PLAYS
    song_ids, times, events, seconds, durations = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return RecentPlays(
        list(song_ids),
        np.array(times, dtype=np.int64),
        np.array([EVENT_NUMBERS[event] for event in events], dtype=np.uint8),
        np.array(seconds, dtype=np.float32),  # None becomes NaN
        np.array(durations, dtype=np.float32),
        is_whole=is_whole,
    )


def heard_plays(heard: Sequence[HeardSong], *, now_ms: int) -> RecentPlays:
    """Plays that a request gives, in its order; those without an instant are of now."""
    return recent_plays(
        [
            (
                song.song_id,
                now_ms if song.played_at_ms is None else song.played_at_ms,
                song.event_type,
                song.seconds_streamed,
                song.duration_s,
            )
            for song in heard
        ],
        is_whole=True,
    )


def check_id(value: str, *, pointer: str) -> None:
    """Refuse what cannot be the id of a song, user or event. Raises: InvalidRequest."""
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise InvalidRequest(f"An id has between 1 and {MAX_ID_LENGTH} characters, not {len(value)}.", pointer=pointer)
    if _NO_TEXT.search(value) is not None:
        raise InvalidRequest("An id must be Unicode text without NUL or lone surrogates.", pointer=pointer)
