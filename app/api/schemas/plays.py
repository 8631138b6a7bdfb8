"""Plays that players send."""

from pydantic import ConfigDict, Field

from app.api.schemas.base import Body, Identifier, View
from app.api.schemas.instants import Instant, epoch_ms
from app.api.schemas.songs import SONG_ID
from app.domain.recommending import Play, PlayVerdict
from app.domain.serving import PlaysAnswer
from app.services.plays import MAX_PLAYS_PER_BATCH


class PlayBody(Body):
    """A play. The same event id is the same play, however often it is sent."""

    event_id: Identifier
    user_id: Identifier
    song_id: Identifier
    played_at: Instant = Field(description="With an offset; at most a day ahead of the server's clock.")
    seconds_streamed: float | None = Field(default=None, ge=0, le=1e9)


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

    plays: list[PlayBody] = Field(min_length=1, max_length=MAX_PLAYS_PER_BATCH)

    def values(self) -> list[Play]:
        """The domain's values. Raises: InvalidRequest for an instant before 1970."""
        return [
            Play(
                event_id=play.event_id,
                user_id=play.user_id,
                song_id=play.song_id,
                played_at_ms=epoch_ms(play.played_at, pointer=f"/plays/{position}/played_at"),
                seconds_streamed=play.seconds_streamed,
            )
            for position, play in enumerate(self.plays)
        ]


class VerdictView(View):
    """What became of one play."""

    event_id: str
    verdict: PlayVerdict


class PlaysView(View):
    """What became of the plays, in the order they were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "n_accepted": 1,
                    "n_duplicate": 0,
                    "verdicts": [{"event_id": "9b2f6c1e", "verdict": "accepted"}],
                }
            ]
        }
    )

    n_accepted: int
    n_duplicate: int
    verdicts: list[VerdictView]

    @classmethod
    def of(cls, answer: PlaysAnswer, body: PlaysBody) -> "PlaysView":
        """The view of an answer to a batch."""
        return cls(
            n_accepted=answer.n_accepted,
            n_duplicate=answer.n_duplicate,
            verdicts=[
                VerdictView(event_id=play.event_id, verdict=verdict)
                for play, verdict in zip(body.plays, answer.verdicts, strict=True)
            ],
        )
