"""Plays that players send."""

from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import CoreSchema

from app.api.schemas.base import Body, Identifier, View
from app.api.schemas.instants import Instant, epoch_ms
from app.api.schemas.songs import SONG_ID
from app.domain.attribution import PATTERN, parsed
from app.domain.errors import InvalidRequest
from app.domain.plays import MAX_SECONDS, EventType, Play, PlayVerdict, Rejection
from app.domain.serving import PlaysAnswer
from app.services.plays import MAX_PLAYS_PER_BATCH

MALFORMED_ATTRIBUTION = Rejection(
    "malformed_attribution", "attribution", "attribution is not a token that a recommendation carries."
)

LONGEST_ECHO = 256
"""Characters of an event id that a verdict repeats: one that is longer was never an id."""


class PlayBody(Body):
    """A play. The same event id is the same play, however often it is sent."""

    event_id: Identifier
    user_id: Identifier
    song_id: Identifier
    played_at: Instant = Field(description="With an offset; at most a day ahead of the server's clock.")
    seconds_streamed: float | None = Field(default=None, ge=0, le=MAX_SECONDS)
    event_type: EventType = Field(
        default=EventType.PLAY,
        strict=False,
        description="What the user did. A like, a save or a share draws the song in twice as much as a play, a skip "
        "not at all, and a dislike pushes it away, unless requests or settings say otherwise.",
    )
    duration_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_SECONDS,
        description="How long the song is; by default what the songs table says in `duration_s` or `duration_ms`.",
    )
    attribution: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"})] | None = Field(
        default=None, description="The token of the recommendation that led to the play."
    )

    def value(self) -> Play | Rejection:
        """The domain's value, or why there is none."""
        try:
            if self.attribution is not None:
                parsed(self.attribution)
        except InvalidRequest:
            return MALFORMED_ATTRIBUTION
        try:
            return Play(
                event_id=self.event_id,
                user_id=self.user_id,
                song_id=self.song_id,
                played_at_ms=epoch_ms(self.played_at, pointer="/played_at"),
                seconds_streamed=self.seconds_streamed,
                event_type=self.event_type,
                duration_s=self.duration_s,
                attribution=self.attribution,
            )
        except InvalidRequest as error:
            return Rejection(error.code, error.pointer.removeprefix("/"), str(error))


@dataclass(frozen=True, slots=True)
class Wrong:
    """What was sent in the place of a play."""

    event_id: str | None
    rejection: Rejection


def _or_wrong(play: object, read: ValidatorFunctionWrapHandler) -> "PlayBody | Wrong":
    """A play that cannot be read is no reason to refuse the others."""
    try:
        body: PlayBody = read(play)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0])[:LONGEST_ECHO] if first["loc"] else ""
        event_id = play.get("event_id") if isinstance(play, dict) else None
        return Wrong(
            event_id[:LONGEST_ECHO] if isinstance(event_id, str) else None,
            Rejection(InvalidRequest.code, field, str(first["msg"])),
        )
    return body


class OrAnything:
    """Describes that anything else is taken too, for it is rejected by itself."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, read: GetJsonSchemaHandler) -> dict[str, Any]:
        """Either what it should be, or anything."""
        return {"anyOf": [read(schema), {"description": "Anything else is rejected, and the others are stored."}]}


class PlaysBody(Body):
    """A batch of plays, in any order, however late."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "plays": [
                        {
                            "event_id": "9b2f6c1e",
                            "user_id": "user_000001",
                            "song_id": SONG_ID,
                            "played_at": "2026-01-01T12:00:00Z",
                            "seconds_streamed": 201.5,
                        }
                    ]
                }
            ]
        }
    )

    plays: list[Annotated[PlayBody, WrapValidator(_or_wrong), OrAnything()]] = Field(
        min_length=1, max_length=MAX_PLAYS_PER_BATCH
    )

    @property
    def sent(self) -> list[PlayBody | Wrong]:
        """The plays, and what was sent in the place of others."""
        return cast("list[PlayBody | Wrong]", self.plays)

    def values(self) -> list[Play | Rejection]:
        """The domain's values, and in the places of others why there is none."""
        return [play.rejection if isinstance(play, Wrong) else play.value() for play in self.sent]


class RejectionView(View):
    """Why a play was not taken."""

    code: str = Field(examples=["invalid_request", "in_the_future", "malformed_attribution", "erased_user"])
    field: str = Field(description="Empty when the play is no object.")
    detail: str


class VerdictView(View):
    """What became of one play."""

    event_id: str | None = Field(description="As sent; null where that is no text.")
    verdict: PlayVerdict
    reason: RejectionView | None = Field(description="Why it was rejected.")


class PlaysView(View):
    """What became of the plays, in the order they were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "n_accepted": 1,
                    "n_duplicate": 0,
                    "n_rejected": 0,
                    "verdicts": [{"event_id": "9b2f6c1e", "verdict": "accepted", "reason": None}],
                }
            ]
        }
    )

    n_accepted: int
    n_duplicate: int
    n_rejected: int
    verdicts: list[VerdictView]


def rendered(answer: PlaysAnswer, body: PlaysBody) -> dict[str, Any]:
    """What a `PlaysView` of the answer says; ten thousand verdicts are not made into views one by one."""
    return {
        "n_accepted": answer.n_accepted,
        "n_duplicate": answer.n_duplicate,
        "n_rejected": answer.n_rejected,
        "verdicts": [
            {"event_id": play.event_id, "verdict": verdict, "reason": answer.rejections.get(position)}
            for position, (play, verdict) in enumerate(zip(body.sent, answer.verdicts, strict=True))
        ],
    }
