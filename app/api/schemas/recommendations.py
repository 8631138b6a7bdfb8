"""Recommendations: how they are asked for and what they say."""

from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from app.api.schemas.base import AliasName, Body, Identifier, Parameters, ResourceId, View
from app.api.schemas.instants import Instant, epoch_ms
from app.api.schemas.songs import EXAMPLE_ANSWER, EXAMPLE_NAMES, SONG_ID, AnswerView, ExperimentAnswerView
from app.domain.attribution import PATTERN
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
from app.domain.plays import MAX_SECONDS, EventType, HeardSong
from app.domain.recommending import (
    GREATEST_EVENT_WEIGHT,
    MAX_HISTORY_LENGTH,
    MAX_K,
    MAX_SESSION_LENGTH,
    MOST_DAYS,
    Seen,
    Wishes,
)
from app.domain.serving import Basis, FallbackReason, HistorySource
from app.services.recommending import MAX_USERS_PER_BATCH

HalfLife = Annotated[
    float,
    Field(
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="Days after which a play weighs half; by default the server's.",
    ),
]
HistoryLength = Annotated[
    int, Field(ge=1, le=MAX_HISTORY_LENGTH, description="Last plays that count; by default the server's.")
]
CompletionWeight = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much the share of a song that was heard counts: with 1 a play weighs that share, with 0 all "
        "plays weigh the same. Plays whose length or song's length is not known weigh as whole ones.",
    ),
]
MmrLambda = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="1, the default, ranks by score alone. Less chooses songs one by one by maximal marginal "
        "relevance: this share for being near the profile, the rest for being unlike the songs chosen before.",
    ),
]
EventWeight = Annotated[float, Field(ge=-GREATEST_EVENT_WEIGHT, le=GREATEST_EVENT_WEIGHT, allow_inf_nan=False)]
EventWeights = dict[Annotated[EventType, Field(strict=False)], EventWeight]
Excluded = Annotated[
    list[Identifier], Field(max_length=MAX_EXCLUDED, description="Songs that are not to be recommended.")
]
EventWeightText = Annotated[
    str, Field(pattern=rf"^({'|'.join(EventType)})=-?[0-9]{{1,2}}(\.[0-9]{{1,6}})?$", examples=["like=2"])
]
MaxPerArtist = Annotated[int, Field(ge=1, le=MAX_PER_ARTIST, description="Songs of one artist at most.")]
SEEN = r"^(recent|none|all|[1-9][0-9]{0,4})$"


def _seen(text: str) -> str:
    if text.isdecimal() and int(text) > MOST_DAYS:
        msg = f"Input should be at most {MOST_DAYS} days"
        raise ValueError(msg)
    return text


SeenText = Annotated[
    str,
    Field(
        pattern=SEEN,
        description="Which songs heard are left out: `recent`, the default, those of the last plays "
        "(SEGUE_RECENT_SONGS_EXCLUDED); `none`; `all` that are on record, up to the last 10,000; or a number of days.",
    ),
    AfterValidator(_seen),
]


def seen_of(text: str | None) -> Seen | None:
    """The domain's value."""
    match text:
        case None:
            return None
        case "recent" | "none" | "all":
            return cast("Seen", text)
        case _:
            return int(text)


class ListParameters(Parameters):
    """How many songs, by whose model, and how the history weighs."""

    alias: AliasName = Field(default="production", description="Whose model answers.")
    k: int = Field(default=10, ge=1, le=MAX_K, description="Most songs in the answer.")
    half_life_days: HalfLife | None = None
    history_length: HistoryLength | None = None
    completion_weight: CompletionWeight | None = None
    mmr_lambda: MmrLambda | None = None
    exclude_seen: SeenText | None = None

    def wishes(self) -> Wishes:
        """The domain's values."""
        return {
            "k": self.k,
            "half_life_days": self.half_life_days,
            "history_length": self.history_length,
            "completion_weight": self.completion_weight,
            "mmr_lambda": self.mmr_lambda,
            "exclude_seen": seen_of(self.exclude_seen),
        }


class RecommendationParameters(ListParameters):
    """The same, and what the list is by."""

    by: Literal["profile", "session"] = Field(
        default="profile", description="`session`: by the songs of the last session alone, whatever was heard before."
    )
    exclude: Excluded = Field(default=[])
    filter: list[Annotated[str, Field(max_length=MAX_COLUMN_LENGTH + 1 + MAX_VALUE_LENGTH)]] = Field(
        default=[],
        max_length=MAX_VALUES,
        description="`column=value`: songs of this value alone, as in `language=ar`. Of several values of one column "
        "any does, of several columns each must.",
    )
    max_per_artist: MaxPerArtist | None = None
    explain: bool = Field(default=False, description="Say which songs heard drew each one in, and how much.")
    event_weight: list[EventWeightText] = Field(
        default=[],
        max_length=len(EventType),
        description="What an event weighs beside a play of weight 1, as in `like=2`; below 0 it pushes away. May be "
        "repeated; by default the server's.",
    )

    experiment: ResourceId | None = Field(
        default=None, description="By the variant that the user has in this experiment, which exposes the user."
    )

    def within(self) -> str | None:
        """The experiment; None where it is by an alias. Raises: InvalidRequest."""
        if self.experiment is not None and "alias" in self.model_fields_set:
            raise InvalidRequest("An experiment says itself what answers.", pointer="experiment")
        return self.experiment

    def wishes(self) -> Wishes:
        """The domain's values."""
        given = dict(text.split("=") for text in self.event_weight)
        weights = {EventType(event): float(weight) for event, weight in given.items()}
        return {**super().wishes(), "event_weights": weights or None}

    def wanted(self) -> SongFilter:
        """The songs that may be recommended. Raises: InvalidRequest."""
        return SongFilter.parsed(self.filter, exclude=self.exclude, max_per_artist=self.max_per_artist)


class WishesBody(Body):
    """How many songs, by whose model, and how the history weighs."""

    k: int = Field(default=10, ge=1, le=MAX_K)
    alias: AliasName = "production"
    half_life_days: HalfLife | None = None
    history_length: HistoryLength | None = None
    completion_weight: CompletionWeight | None = None
    mmr_lambda: MmrLambda | None = None
    exclude_seen: SeenText | None = None
    event_weights: EventWeights | None = Field(
        default=None,
        description="What events weigh beside a play of weight 1; below 0 they push away. By default the server's.",
    )
    exclude: Excluded = Field(default=[])
    filter: dict[
        Annotated[str, Field(min_length=1, max_length=MAX_COLUMN_LENGTH)],
        Annotated[list[Annotated[str, Field(max_length=MAX_VALUE_LENGTH)]], Field(min_length=1, max_length=MAX_VALUES)],
    ] = Field(
        default={},
        max_length=MAX_COLUMNS,
        description='Songs of these values alone: in each column one of the values, as in `{"language": ["ar"]}`.',
    )
    max_per_artist: MaxPerArtist | None = None

    def wishes(self) -> Wishes:
        """The domain's values."""
        return {
            "k": self.k,
            "half_life_days": self.half_life_days,
            "history_length": self.history_length,
            "completion_weight": self.completion_weight,
            "mmr_lambda": self.mmr_lambda,
            "exclude_seen": seen_of(self.exclude_seen),
            "event_weights": self.event_weights,
        }

    def wanted(self) -> SongFilter:
        """The songs that may be recommended. Raises: InvalidRequest."""
        return SongFilter.of(self.filter, exclude=self.exclude, max_per_artist=self.max_per_artist)


class HeardBody(Body):
    """A song heard; without an instant it counts as heard just now."""

    song_id: Identifier
    played_at: Instant | None = None
    event_type: EventType = Field(default=EventType.PLAY, strict=False)
    seconds_streamed: float | None = Field(default=None, ge=0, le=MAX_SECONDS)
    duration_s: float | None = Field(default=None, gt=0, le=MAX_SECONDS)


class RecommendationBody(WishesBody):
    """A history or a session to recommend for; nothing stored is looked at."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"history": [{"song_id": SONG_ID, "played_at": "2026-01-01T12:00:00Z"}], "k": 10},
                {"session": [SONG_ID], "mmr_lambda": 0.7},
            ]
        }
    )

    history: list[HeardBody] | None = Field(default=None, min_length=1, max_length=MAX_HISTORY_LENGTH)
    session: list[Identifier] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SESSION_LENGTH,
        description="Songs in the order they were heard; the last weighs most.",
    )
    explain: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.history is None) == (self.session is None):
            msg = "give either history or session"
            raise ValueError(msg)
        return self

    def heard(self) -> list[HeardSong]:
        """The history as the domain's values. Raises: InvalidRequest for an instant before 1970."""
        return [
            HeardSong(
                song.song_id,
                None if song.played_at is None else epoch_ms(song.played_at, pointer=f"/history/{position}/played_at"),
                song.event_type,
                song.seconds_streamed,
                song.duration_s,
            )
            for position, song in enumerate(self.history or [])
        ]


class UsersBody(WishesBody):
    """Users to recommend for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["user_000001", "user_000002"], "k": 10}]})

    user_ids: list[Annotated[str, Field(max_length=1_024)]] = Field(min_length=1, max_length=MAX_USERS_PER_BATCH)


class ReasonView(View):
    """A song heard that drew a recommendation in."""

    song_id: str
    title: str | None
    artist: str | None
    n_plays: int
    contribution: float = Field(description="What its plays add to the score.")


class RecommendationView(View):
    """A song recommended."""

    song_id: str
    title: str | None
    artist: str | None
    score: float | None = Field(description="Null for a popular song, which no profile was compared with.")
    provisional: bool = Field(
        default=False, description="Whether the model has not trained on it yet; absent where it has."
    )
    because: list[ReasonView] = Field(
        default=[], description="With `explain`: the up to ten songs heard that moved the score most."
    )
    because_of_others: float = Field(
        default=0.0, description="With `explain`: what all other songs heard add. Together they are the score."
    )
    attribution: str | None = Field(
        default=None,
        description="In an interleaved list: send it, in the place of the answer's, with plays of this song.",
    )


class StepView(View):
    """How many of the songs, in their order, one basis gave."""

    basis: Basis
    n_songs: int


EXAMPLE_RECOMMENDATIONS: dict[str, Any] = {
    **EXAMPLE_ANSWER,
    "user_id": "user_000001",
    "recommendations": [{**EXAMPLE_NAMES, "score": 0.87}],
    "steps": [{"basis": "profile", "n_songs": 1}],
    "fallback": None,
    "reason": None,
    "history": "complete",
    "segment": "en",
    "n_plays_used": 200,
    "unknown_song_ids": [],
    "attribution": "v1.production.mdl_01.3.1767268800000.Zk3x9QmVw2Lr",
}

EXAMPLE_IN_EXPERIMENT: dict[str, Any] = {
    **EXAMPLE_RECOMMENDATIONS,
    "alias": "exp_0197f3a5e4-2",
    "generation": 1,
    "attribution": "v1.exp_0197f3a5e4-2.mdl_01.1.1767268800000.Zk3x9QmVw2Lr",
    "experiment": {
        "id": "exp_0197f3a5e4",
        "variant": "tuned",
        "segment": "ar",
        "is_exposed": True,
        "reason": None,
    },
}


class RecommendationsView(AnswerView):
    """Songs recommended, best first, and what they rest on."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RECOMMENDATIONS, EXAMPLE_IN_EXPERIMENT]})

    user_id: str | None = Field(description="Null where the request gave the history.")
    recommendations: list[RecommendationView]
    steps: list[StepView] = Field(
        description="What gave how many of the songs, in their order: the profile of the history, that of its last "
        "session, what is popular in the user's segment, what is popular at all. Each fills what the ones before left."
    )
    fallback: Literal["session", "segment_popular", "popular"] | None = Field(
        description="The step that stands in for the one asked for, when that has nothing to go by."
    )
    reason: FallbackReason | None = Field(description="Why it stands in.")
    history: HistorySource = Field(
        description="While the database is away: `cached`, plays as the cache knew them last, or `dataset_only`, those "
        "sent since the import are missing."
    )
    segment: str | None = Field(
        description="The one that most of the user's recent plays have; null where the dataset has no segments."
    )
    n_plays_used: int
    unknown_song_ids: list[str] = Field(description="Songs of the history that the model does not know.")
    attribution: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"})] = Field(
        description="Send it with the plays that this answer leads to."
    )
    experiment: ExperimentAnswerView | None = Field(
        default=None, description="What the answer has to do with the experiment; absent where none was named."
    )


class UserRefusedView(View):
    """Why one user got no answer."""

    user_id: str
    code: str
    detail: str


class BatchView(AnswerView):
    """One answer or refusal a user, in the order they were asked for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**EXAMPLE_ANSWER, "answers": [EXAMPLE_RECOMMENDATIONS]}]}
    )

    answers: list[RecommendationsView | UserRefusedView]
