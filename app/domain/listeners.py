"""Listeners: what is known of a user, users to be forgotten, and whether their histories may be cached.

A server may read and fill the cache of histories while it holds a permit, got by reading the cache's state within the
last PERMIT_S seconds. Whoever cannot tell the cache of a change puts it off for all: after PERMIT_S no server reads
what was cached, and what is cached later has another epoch's name.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.plays import EventType

PERMIT_S = 1.5
"""How long after a look at the state a server may use the cache."""

OFF_S = 30.0
"""For how long a server that cannot reach the cache puts it off; it renews that while it writes plays."""

OFF_WITHOUT_S = 3_600.0
"""For how long a server that knows of no cache does."""

LEAST_OFF_S = 10.0
"""How long the cache must still be off for a change that is not told to it; a change takes less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """Names what is cached now, and until when nothing is."""

    epoch: int
    off_until: datetime

    def is_off(self, now: datetime, *, for_s: float = 0.0) -> bool:
        """Whether nothing is cached now, and will not be for so many seconds."""
        return now + timedelta(seconds=for_s) < self.off_until

    def put_off(self, now: datetime, *, for_s: float) -> "CacheState":
        """The next epoch, off for so long."""
        return CacheState(epoch=self.epoch + 1, off_until=max(self.off_until, now + timedelta(seconds=for_s)))


def first_state(now: datetime) -> CacheState:
    """The state when the first server with a cache comes."""
    return CacheState(epoch=1, off_until=now)


@dataclass(frozen=True, slots=True)
class Erasure:
    """A user to be forgotten: nothing heard up to `erased_at_ms` counts. Later erasures have higher revisions."""

    user_id: str
    erased_at_ms: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerChanges:
    """What a server follows: users erased since it looked last, and the epoch that it may cache histories under."""

    erasures: list[Erasure]
    epoch: int | None


@dataclass(frozen=True, slots=True)
class StoredPlay:
    """A play as it was sent."""

    event_id: str
    song_id: str
    played_at_ms: int
    event_type: EventType
    seconds_streamed: float | None
    duration_s: float | None
    attribution: str | None


@dataclass(frozen=True, slots=True)
class SongCount:
    """How often a user played a song, and when last."""

    song_id: str
    n_plays: int
    last_played_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardPlay:
    """A play of a user's history; `event_id` is None where it came with the model's dataset."""

    song_id: str
    title: str | None
    artist: str | None
    played_at_ms: int
    event_type: EventType
    event_id: str | None = None
    seconds_streamed: float | None = None
    duration_s: float | None = None
    attribution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSongCount:
    """How often a user played a song."""

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardArtist:
    """How often a user played an artist's songs."""

    artist: str
    n_plays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSummary:
    """What is known of a user: plays sent, and those of the live model's dataset; a play that is both counts once."""

    user_id: str
    alias: str
    model_id: str
    generation: int
    n_plays: int
    n_plays_sent: int
    n_plays_of_dataset: int
    last_played_at_ms: int | None
    segment: str | None
    top_songs: list[HeardSongCount]
    top_artists: list[HeardArtist]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardPage:
    """A page of a user's history, newest first."""

    plays: list[HeardPlay]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedUser:
    """What an erasure did."""

    user_id: str
    erased_at: datetime
    n_plays_erased: int
    n_exposures_erased: int
