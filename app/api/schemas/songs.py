"""Songs as a live model knows them. Every answer names the model that gave it."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.api.schemas.base import NO_CONTROL_CHARACTERS, AliasName, Body, Identifier, Parameters, ResourceId, View
from app.api.schemas.models import MODEL_ID
from app.domain.errors import InvalidRequest
from app.domain.filtering import (
    MAX_COLUMN_LENGTH,
    MAX_COLUMNS,
    MAX_EXCLUDED,
    MAX_PER_ARTIST,
    MAX_VALUE_LENGTH,
    MAX_VALUES,
    SongFilter,
)
from app.domain.recommending import MAX_K
from app.domain.serving import Detail, Song, SongAnswer, SongsAnswer, UnassignedReason, WeightedSong
from app.services.serving import MAX_SONGS_PER_BATCH, MAX_WEIGHT

SONG_ID = "spotify:track:7qiZfU4dY1lWllzX7mPBI3"


FilterText = Annotated[
    str,
    StringConstraints(min_length=2, max_length=MAX_COLUMN_LENGTH + 1 + MAX_VALUE_LENGTH, pattern=NO_CONTROL_CHARACTERS),
]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_COLUMN_LENGTH)]


class AliasParameters(Parameters):
    """Which model answers."""

    alias: AliasName = Field(default="production", description="Whose model answers.")


class NeighboursParameters(AliasParameters):
    """How many neighbours, and whose."""

    k: int = Field(default=10, ge=1, le=MAX_K, description="Most songs in the answer.")
    segment: Identifier | None = Field(
        default=None, description="By the model that this segment has of its own under the alias, if it has one."
    )
    model: ResourceId | None = Field(
        default=None, description="A model that is live under some alias, to answer instead of the alias's."
    )
    filter: list[FilterText] = Field(
        default=[],
        max_length=MAX_VALUES,
        description="`column=value` of the songs' columns (see `details` of a song; `artist` is one). Several values "
        "of a column: any of them; several columns: all of them.",
        examples=[["language=ar", "genre=rock", "genre=pop"]],
    )
    exclude: list[Identifier] = Field(default=[], max_length=MAX_EXCLUDED, description="Songs that are left out.")
    max_per_artist: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PER_ARTIST,
        description="Most songs of one artist; those without one are not counted together.",
    )

    experiment: ResourceId | None = Field(
        default=None,
        description="By the variant that the user has in this experiment, which exposes the user; needs `user_id`.",
    )
    user_id: Identifier | None = Field(default=None, description="Who asks within the experiment.")

    def listener(self) -> str | None:
        """Who asks within an experiment; None where nobody does. Raises: InvalidRequest."""
        if (self.experiment is None) != (self.user_id is None):
            raise InvalidRequest("experiment and user_id go together.", pointer="user_id")
        if self.experiment is not None and {"alias", "model"} & self.model_fields_set:
            raise InvalidRequest("An experiment says itself what answers.", pointer="experiment")
        return self.user_id

    def wanted(self) -> SongFilter:
        """Which songs may be answered with. Raises: InvalidRequest."""
        return SongFilter.parsed(self.filter, exclude=self.exclude, max_per_artist=self.max_per_artist)


class MixedSongBody(Body):
    """A song of a mix."""

    song_id: Identifier
    weight: float = Field(default=1.0, gt=0, le=MAX_WEIGHT, allow_inf_nan=False)


class NeighboursBody(Body):
    """Either `song_ids`, each to be answered for itself, or a mix of `positive` and `negative` songs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"song_ids": [SONG_ID], "k": 5, "filter": {"language": ["ar", "fr"]}, "max_per_artist": 1},
                {"positive": [{"song_id": SONG_ID, "weight": 2}], "negative": [{"song_id": "song-2"}]},
            ]
        }
    )

    song_ids: list[Identifier] = Field(default=[], max_length=MAX_SONGS_PER_BATCH)
    positive: list[MixedSongBody] = Field(
        default=[], max_length=MAX_SONGS_PER_BATCH, description="Songs to go towards."
    )
    negative: list[MixedSongBody] = Field(
        default=[], max_length=MAX_SONGS_PER_BATCH, description="Songs to go away from."
    )
    k: int = Field(default=10, ge=1, le=MAX_K, description="Most songs in each list.")
    alias: AliasName = "production"
    model: ResourceId | None = Field(default=None, description="A model that is live under some alias.")
    filter: dict[ColumnName, list[Annotated[str, StringConstraints(max_length=MAX_VALUE_LENGTH)]]] = Field(
        default={}, max_length=MAX_COLUMNS, description="The values that each column may have."
    )
    exclude: list[Identifier] = Field(default=[], max_length=MAX_EXCLUDED)
    max_per_artist: int | None = Field(default=None, ge=1, le=MAX_PER_ARTIST)

    @property
    def is_mix(self) -> bool:
        """Whether one list is asked for. Raises: InvalidRequest when neither or both kinds are named."""
        has_mix = bool(self.positive or self.negative)
        if has_mix == bool(self.song_ids):
            raise InvalidRequest("Name either song_ids or the songs of a mix.", pointer="/song_ids")
        return has_mix

    def wanted(self) -> SongFilter:
        """Which songs may be answered with. Raises: InvalidRequest."""
        return SongFilter.of(self.filter, exclude=self.exclude, max_per_artist=self.max_per_artist)

    @staticmethod
    def mixed(songs: "Sequence[MixedSongBody]") -> list[WeightedSong]:
        """The domain's values."""
        return [WeightedSong(song.song_id, song.weight) for song in songs]


class SongsParameters(AliasParameters):
    """Which songs."""

    query: str | None = Field(
        default=None, max_length=256, description="Words of the title or artist; case and accents don't matter."
    )
    limit: int = Field(default=20, ge=1, le=100, description="Most songs of the page.")
    cursor: str | None = Field(default=None, max_length=256, description="`next_cursor` of the page before.")


class ExperimentAnswerView(View):
    """What an answer has to do with an experiment."""

    id: str
    variant: str | None = Field(description="Which one answered; null where the experiment's alias did.")
    segment: str | None = Field(description="The user's, when first exposed.")
    is_exposed: bool = Field(description="Whether it is on record that the user has seen the variant.")
    reason: UnassignedReason | None = Field(
        description="Why no variant answered. `variant_not_live`: this server has not loaded all of them; "
        "`database_away`: nothing could keep the exposure."
    )


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
    details: dict[str, Detail] = Field(
        description="Further columns of the dataset's songs table, and what the catalogue says; filters take them."
    )
    provisional: bool = Field(
        default=False, description="Whether it has a vector only until a model has trained on it."
    )
    denied: bool = Field(default=False, description="Whether its rights were withdrawn: no list holds it.")

    @classmethod
    def of(cls, song: Song) -> "SongView":
        """The view of a song."""
        return cls(
            song_id=song.song_id,
            title=song.title,
            artist=song.artist,
            n_plays=song.n_plays,
            details=song.details,
            provisional=song.is_provisional,
            denied=song.is_denied,
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
    provisional: bool = Field(
        default=False, description="Whether the model has not trained on it yet; absent where it has."
    )


class NeighboursView(AnswerView):
    """A song's neighbours, nearest first; the song itself is never among them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**EXAMPLE_ANSWER, "song_id": SONG_ID, "neighbours": [{**EXAMPLE_NAMES, "score": 0.91}]}]
        }
    )

    song_id: str
    neighbours: list[NeighbourView]
    experiment: ExperimentAnswerView | None = Field(
        default=None, description="What the answer has to do with the experiment; absent where none was named."
    )
    attribution: str | None = Field(
        default=None, description="In an experiment: the token to send with plays that the answer led to."
    )


class SongNeighboursView(View):
    """One song of a batch."""

    song_id: str
    neighbours: list[NeighbourView]


class NeighboursBatchView(AnswerView):
    """Each song with its neighbours, or, for a mix, one list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_ANSWER,
                    "items": [{"song_id": SONG_ID, "neighbours": [{**EXAMPLE_NAMES, "score": 0.91}]}],
                    "missing_ids": ["song-404"],
                },
                {**EXAMPLE_ANSWER, "neighbours": [{**EXAMPLE_NAMES, "score": 0.91}], "missing_ids": []},
            ]
        }
    )

    items: list[SongNeighboursView] = Field(default=[], description="For `song_ids`, in their order, each once.")
    neighbours: list[NeighbourView] = Field(default=[], description="For a mix; none of its own songs is among them.")
    missing_ids: list[str] = Field(description="Songs that the model does not know.")
