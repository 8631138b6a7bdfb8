"""Users: what is known of them."""

from datetime import UTC, datetime, timedelta

from pydantic import ConfigDict, Field

from app.api.schemas.base import PageView, Parameters, View
from app.api.schemas.instants import EPOCH
from app.api.schemas.songs import EXAMPLE_ANSWER, EXAMPLE_NAMES, AliasParameters, AnswerView
from app.domain.listeners import ErasedUser, HeardPage, UserSummary
from app.domain.plays import EventType
from app.services.users import MAX_PLAYS_PER_PAGE


def instant(at_ms: int) -> datetime:
    """The instant so many milliseconds after the start of 1970."""
    return EPOCH + timedelta(milliseconds=at_ms)


class HeardSongCountView(View):
    """How often a user played a song."""

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int


class HeardArtistView(View):
    """How often a user played an artist's songs."""

    artist: str
    n_plays: int


class UserView(AnswerView):
    """What is known of a user."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_ANSWER,
                    "user_id": "user_000001",
                    "n_plays": 240,
                    "n_plays_sent": 40,
                    "n_plays_of_dataset": 200,
                    "last_played_at": "2026-01-01T12:00:00Z",
                    "segment": "en",
                    "top_songs": [{**EXAMPLE_NAMES, "n_plays": 12}],
                    "top_artists": [{"artist": "Ed Sheeran", "n_plays": 30}],
                }
            ]
        }
    )

    user_id: str
    n_plays: int = Field(description="Plays sent and those of the model's dataset; one that is both counts once.")
    n_plays_sent: int
    n_plays_of_dataset: int = Field(description="The last 200 of the dataset at most, of songs that the model knows.")
    last_played_at: datetime | None
    segment: str | None = Field(description="The one that most of the recent plays have.")
    top_songs: list[HeardSongCountView]
    top_artists: list[HeardArtistView]

    @classmethod
    def of(cls, summary: UserSummary) -> "UserView":
        """The view of a summary."""
        at_ms = summary.last_played_at_ms
        return cls(
            alias=summary.alias,
            model_id=summary.model_id,
            generation=summary.generation,
            user_id=summary.user_id,
            n_plays=summary.n_plays,
            n_plays_sent=summary.n_plays_sent,
            n_plays_of_dataset=summary.n_plays_of_dataset,
            last_played_at=None if at_ms is None else instant(at_ms),
            segment=summary.segment,
            top_songs=[
                HeardSongCountView(song_id=song.song_id, title=song.title, artist=song.artist, n_plays=song.n_plays)
                for song in summary.top_songs
            ],
            top_artists=[
                HeardArtistView(artist=artist.artist, n_plays=artist.n_plays) for artist in summary.top_artists
            ],
        )


class HistoryParameters(AliasParameters):
    """Which page of a user's history."""

    limit: int = Field(default=50, ge=1, le=MAX_PLAYS_PER_PAGE, description="Most plays of the page.")
    cursor: str | None = Field(default=None, max_length=2048, description="`next_cursor` of the page before.")


class HeardPlayView(View):
    """A play of a user's history."""

    song_id: str
    title: str | None
    artist: str | None
    played_at: datetime
    event_type: EventType
    event_id: str | None = Field(description="Null where it came with the model's dataset.")
    seconds_streamed: float | None
    duration_s: float | None
    attribution: str | None


class HeardPageView(PageView[HeardPlayView]):
    """A page of a user's plays, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            **EXAMPLE_NAMES,
                            "played_at": "2026-01-01T12:00:00Z",
                            "event_type": "play",
                            "event_id": "9b2f6c1e",
                            "seconds_streamed": 201.5,
                            "duration_s": None,
                            "attribution": None,
                        }
                    ],
                    "next_cursor": None,
                }
            ]
        }
    )

    @classmethod
    def of(cls, page: HeardPage) -> "HeardPageView":
        """The view of a page."""
        return cls(
            items=[
                HeardPlayView(
                    song_id=play.song_id,
                    title=play.title,
                    artist=play.artist,
                    played_at=instant(play.played_at_ms),
                    event_type=play.event_type,
                    event_id=play.event_id,
                    seconds_streamed=play.seconds_streamed,
                    duration_s=play.duration_s,
                    attribution=play.attribution,
                )
                for play in page.plays
            ],
            next_cursor=page.next_cursor,
        )


class NoParameters(Parameters):
    """No query parameter at all."""


class ErasedUserView(View):
    """What an erasure did."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "user_000001",
                    "erased_at": "2026-01-01T12:00:00Z",
                    "n_plays_erased": 40,
                    "n_exposures_erased": 1,
                }
            ]
        }
    )

    user_id: str
    erased_at: datetime
    n_plays_erased: int = Field(description="Plays that had been sent; 0 when it is done again.")
    n_exposures_erased: int = Field(description="Experiments that the user had been exposed to.")

    @classmethod
    def of(cls, erased: ErasedUser) -> "ErasedUserView":
        """The view of an erasure."""
        return cls(
            user_id=erased.user_id,
            erased_at=erased.erased_at.astimezone(UTC),
            n_plays_erased=erased.n_plays_erased,
            n_exposures_erased=erased.n_exposures_erased,
        )
