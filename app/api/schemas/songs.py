"""Songs as a live model knows them. Every answer names the model that gave it."""

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import AliasName, Identifier, Parameters, View
from app.api.schemas.models import MODEL_ID
from app.domain.recommending import MAX_K
from app.domain.serving import Detail, Song, SongAnswer, SongsAnswer

SONG_ID = "spotify:track:7qiZfU4dY1lWllzX7mPBI3"


class AliasParameters(Parameters):
    """Which model answers."""

    alias: AliasName = Field(default="production", description="Whose model answers.")


class NeighboursParameters(AliasParameters):
    """How many neighbours, and whose."""

    k: int = Field(default=10, ge=1, le=MAX_K, description="Most songs in the answer.")
    segment: Identifier | None = Field(
        default=None, description="By the model that this segment has of its own under the alias, if it has one."
    )


class SongsParameters(AliasParameters):
    """Which songs."""

    query: str | None = Field(
        default=None, max_length=256, description="Words of the title or artist; case and accents don't matter."
    )
    limit: int = Field(default=20, ge=1, le=100, description="Most songs of the page.")
    cursor: str | None = Field(default=None, max_length=256, description="`next_cursor` of the page before.")


class AnswerView(View):
    """An answer that a model gave."""

    model_config = ConfigDict(protected_namespaces=())

    alias: str
    model_id: str
    generation: int = Field(description="How often the alias had moved.")


class SongView(View):
    """A song."""

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int = Field(description="In the model's dataset.")
    details: dict[str, Detail] = Field(description="Further columns of the dataset's songs table.")

    @classmethod
    def of(cls, song: Song) -> "SongView":
        """The view of a song."""
        return cls(
            song_id=song.song_id, title=song.title, artist=song.artist, n_plays=song.n_plays, details=song.details
        )


EXAMPLE_ANSWER: JsonDict = {"alias": "production", "model_id": MODEL_ID, "generation": 3}
EXAMPLE_NAMES: JsonDict = {"song_id": SONG_ID, "title": "Shape of You", "artist": "Ed Sheeran"}
EXAMPLE_SONG: JsonDict = {**EXAMPLE_NAMES, "n_plays": 512, "details": {"genre": "pop"}}


class SongAnswerView(AnswerView):
    """One song."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_ANSWER, "song": EXAMPLE_SONG}]})

    song: SongView

    @classmethod
    def of(cls, answer: SongAnswer) -> "SongAnswerView":
        """The view of an answer."""
        return cls(
            alias=answer.alias,
            model_id=answer.model_id,
            generation=answer.generation,
            song=SongView.of(answer.song),
        )


class SongsAnswerView(AnswerView):
    """Songs found, most played first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**EXAMPLE_ANSWER, "items": [EXAMPLE_SONG], "next_cursor": None}]}
    )

    items: list[SongView]
    next_cursor: str | None

    @classmethod
    def of(cls, answer: SongsAnswer) -> "SongsAnswerView":
        """The view of an answer."""
        return cls(
            alias=answer.alias,
            model_id=answer.model_id,
            generation=answer.generation,
            items=[SongView.of(song) for song in answer.songs],
            next_cursor=answer.next_cursor,
        )


class NeighbourView(View):
    """A song near another."""

    song_id: str
    title: str | None
    artist: str | None
    score: float = Field(description="By the model's scoring, the highest first.")


class NeighboursView(AnswerView):
    """A song's neighbours, nearest first; the song itself is never among them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**EXAMPLE_ANSWER, "song_id": SONG_ID, "neighbours": [{**EXAMPLE_NAMES, "score": 0.91}]}]
        }
    )

    song_id: str
    neighbours: list[NeighbourView]
