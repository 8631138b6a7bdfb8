"""Recommendations: how they are asked for and what they say."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from app.api.schemas.base import AliasName, Body, Identifier, View
from app.api.schemas.instants import Instant, epoch_ms
from app.api.schemas.songs import EXAMPLE_ANSWER, EXAMPLE_NAMES, SONG_ID, AnswerView, NeighboursParameters
from app.domain.recommending import MAX_HISTORY_LENGTH, MAX_K, HeardSong
from app.domain.serving import FallbackReason, HistorySource, RecommendationsAnswer

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


class RecommendationParameters(NeighboursParameters):
    """How many songs, by whose model, and how the history weighs."""

    half_life_days: HalfLife | None = None
    history_length: HistoryLength | None = None


class HeardBody(Body):
    """A song heard; without an instant it counts as heard just now."""

    song_id: Identifier
    played_at: Instant | None = None


class RecommendationBody(Body):
    """A history to recommend for; nothing stored is looked at."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"history": [{"song_id": SONG_ID, "played_at": "2026-01-01T12:00:00Z"}], "k": 10}]
        }
    )

    history: list[HeardBody] = Field(min_length=1, max_length=MAX_HISTORY_LENGTH)
    k: int = Field(default=10, ge=1, le=MAX_K)
    alias: AliasName = "production"
    half_life_days: HalfLife | None = None
    history_length: HistoryLength | None = None

    def heard(self) -> list[HeardSong]:
        """The domain's values. Raises: InvalidRequest for an instant before 1970."""
        return [
            HeardSong(
                song.song_id,
                None if song.played_at is None else epoch_ms(song.played_at, pointer=f"/history/{position}/played_at"),
            )
            for position, song in enumerate(self.history)
        ]


class RecommendationView(View):
    """A song recommended."""

    song_id: str
    title: str | None
    artist: str | None
    score: float | None = Field(description="Null for a popular song, which no profile was compared with.")


class RecommendationsView(AnswerView):
    """Songs recommended, best first, and what they rest on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_ANSWER,
                    "user_id": "user_000001",
                    "recommendations": [{**EXAMPLE_NAMES, "score": 0.87}],
                    "fallback": None,
                    "reason": None,
                    "history": "complete",
                    "n_plays_used": 200,
                    "unknown_song_ids": [],
                }
            ]
        }
    )

    user_id: str | None = Field(description="Null where the request gave the history.")
    recommendations: list[RecommendationView]
    fallback: Literal["popular"] | None = Field(description="`popular` when there is nothing to go by.")
    reason: FallbackReason | None = Field(description="Why popular songs stand in.")
    history: HistorySource = Field(
        description="`dataset_only` while the database is away: plays sent since the import are missing."
    )
    n_plays_used: int
    unknown_song_ids: list[str] = Field(description="Songs of the history that the model does not know.")

    @classmethod
    def of(cls, answer: RecommendationsAnswer) -> "RecommendationsView":
        """The view of an answer."""
        return cls(
            alias=answer.alias,
            model_id=answer.model_id,
            generation=answer.generation,
            user_id=answer.user_id,
            recommendations=[
                RecommendationView(
                    song_id=recommended.song_id,
                    title=recommended.title,
                    artist=recommended.artist,
                    score=recommended.score,
                )
                for recommended in answer.recommendations
            ],
            fallback=answer.fallback,
            reason=answer.reason,
            history=answer.history,
            n_plays_used=answer.n_plays_used,
            unknown_song_ids=answer.unknown_song_ids,
        )
