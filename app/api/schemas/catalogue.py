"""The catalogue: what is said of songs while models serve."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints

from app.api.schemas.base import NO_CONTROL_CHARACTERS, Body, Identifier, Parameters, View
from app.api.schemas.songs import SONG_ID, ColumnName
from app.domain.catalogue import (
    MAX_BESIDE,
    MAX_DETAILS,
    MAX_TEXT_LENGTH,
    CatalogueSong,
    Denial,
    SongChanges,
    SongWords,
)
from app.services.catalogue import MAX_SONGS_PER_BATCH

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_LENGTH)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_LENGTH, pattern=NO_CONTROL_CHARACTERS)]
Whole = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
SaidValue = StrictBool | Whole | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr


class SongBody(Body):
    """What is said of a song, laid over what the models' files say: what is absent or null is left to them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Shape of You",
                    "artist": "Ed Sheeran",
                    "details": {"language": "en", "year": 2017},
                    "beside": ["song-2", "song-3"],
                }
            ]
        }
    )

    title: Text | None = None
    artist: Text | None = None
    details: dict[ColumnName, SaidValue] = Field(
        default={}, max_length=MAX_DETAILS, description="Further columns, which filters see."
    )
    beside: list[Identifier] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_BESIDE,
        description="Songs that a new song is played beside: until a model has trained on it, its vector is their "
        "mean. One that is named twice weighs twice. Otherwise they are counted from plays.",
    )

    def words(self) -> SongWords:
        """The domain's value. Raises: InvalidRequest."""
        return SongWords(title=self.title, artist=self.artist, details=dict(self.details))


class NamedSongBody(SongBody):
    """A song of a batch."""

    song_id: Identifier


class SongsBody(Body):
    """A batch of songs; of one that comes twice the last counts."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"songs": [{"song_id": SONG_ID, "title": "Shape of You"}]}]}
    )

    songs: list[NamedSongBody] = Field(min_length=1, max_length=MAX_SONGS_PER_BATCH)


class SongChangesBody(Body):
    """What is to change: null takes away, what is absent stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": None, "details": {"genre": "pop"}}]})

    title: Text | None = None
    artist: Text | None = None
    details: dict[ColumnName, SaidValue | None] = Field(default={}, max_length=MAX_DETAILS)

    def changes(self) -> SongChanges:
        """The domain's value."""
        named: dict[Any, str | None] = {
            name: getattr(self, name) for name in ("title", "artist") if name in self.model_fields_set
        }
        return SongChanges(fields=named, details=self.details)


class DenialBody(Body):
    """Why a song is denied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The label withdrew its rights."}]})

    reason: Reason


class NamedDenialBody(DenialBody):
    """A denial of a batch."""

    song_id: Identifier


class DenialsBody(Body):
    """A batch of denials."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"denials": [{"song_id": SONG_ID, "reason": "Rights"}]}]})

    denials: list[NamedDenialBody] = Field(min_length=1, max_length=MAX_SONGS_PER_BATCH)


class AllowanceBody(Body):
    """Songs whose denial is taken back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"song_ids": [SONG_ID]}]})

    song_ids: list[Identifier] = Field(min_length=1, max_length=MAX_SONGS_PER_BATCH)


class DenialsParameters(Parameters):
    """Which page of the denied songs."""

    limit: int = Field(default=50, ge=1, le=200, description="Most entries of the page.")
    cursor: Identifier | None = Field(default=None, description="`next_cursor` of the page before.")


EXAMPLE_DENIAL: dict[str, Any] = {
    "song_id": SONG_ID,
    "reason": "The label withdrew its rights.",
    "denied_at": "2026-01-01T12:00:00Z",
    "revision": 41,
}


class DenialView(View):
    """A denied song: no list holds it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_DENIAL]})

    song_id: str
    reason: str
    denied_at: datetime
    revision: int = Field(description="The change of the catalogue that said so; /health/ready tells how far it got.")

    @classmethod
    def of(cls, song: CatalogueSong) -> "DenialView":
        """The view of a denied song."""
        denial: Denial | None = song.denial
        if denial is None:
            msg = f"Song {song.song_id} is not denied."
            raise ValueError(msg)
        return cls(song_id=song.song_id, reason=denial.reason, denied_at=denial.denied_at, revision=song.revision)


class DenialsView(View):
    """What became of a batch of denials."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"denials": [EXAMPLE_DENIAL]}]})

    denials: list[DenialView]


class CatalogueSongView(View):
    """What the catalogue has of a song."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "song_id": SONG_ID,
                    "title": "Shape of You",
                    "artist": "Ed Sheeran",
                    "details": {"language": "en"},
                    "denial": None,
                    "beside": {"song-2": 3},
                    "beside_source": "plays",
                    "revision": 40,
                    "updated_at": "2026-01-01T12:00:00Z",
                }
            ]
        }
    )

    song_id: str
    title: str | None
    artist: str | None
    details: dict[str, str | int | float | bool]
    denial: str | None = Field(description="Why the song is denied; null when it is not.")
    beside: dict[str, int] | None = Field(description="What a new song was played beside, and how often.")
    beside_source: Literal["given", "plays"] | None
    revision: int = Field(description="The catalogue's last change of this song.")
    updated_at: datetime

    @classmethod
    def of(cls, song: CatalogueSong) -> "CatalogueSongView":
        """The view of a song."""
        said = SongWords() if song.said is None else song.said
        return cls(
            song_id=song.song_id,
            title=said.title,
            artist=said.artist,
            details=dict(said.details),
            denial=None if song.denial is None else song.denial.reason,
            beside=song.beside,
            beside_source=song.beside_source,
            revision=song.revision,
            updated_at=song.updated_at,
        )


class SongVerdictView(View):
    """What became of one song of a batch."""

    song_id: str
    verdict: Literal["stored", "repeated", "rejected"] = Field(
        description="`repeated`: the id comes again later in the batch, and that counts."
    )
    revision: int | None
    reason: str | None = Field(description="Why it was rejected.")


class SongVerdictsView(View):
    """What became of the songs, in the order they were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "n_stored": 1,
                    "verdicts": [{"song_id": SONG_ID, "verdict": "stored", "revision": 40, "reason": None}],
                }
            ]
        }
    )

    n_stored: int
    verdicts: list[SongVerdictView]
