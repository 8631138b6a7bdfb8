"""Following a study: Server-Sent Events."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, get_args

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, StudyPath
from app.api.following import Aside, Said
from app.api.problems import problems
from app.domain.events import Event, Kind

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=ScopedRoute)

MEDIA_TYPE = "text/event-stream"

END = format_sse_event(event="end", data_str="{}")

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,18}$",
        description="The id of the last event that was received: the stream goes on after it. A browser sends it.",
    ),
]

EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "event": {"type": "string", "enum": [*get_args(Kind), "progress", "end"]},
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {"type": "string", "description": "A JSON object."},
    },
    "required": ["event", "data"],
}

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`study`, `trial` and `measurement` events with an id, `progress` without one, at last `end`.",
        "content": {MEDIA_TYPE: {"schema": EVENT}},
    },
    204: {"description": "The study has ended and there is nothing after `Last-Event-ID`: do not connect again."},
}


@router.get(
    "/{study_id}/events",
    summary="Follow a study",
    response_class=StreamingResponse,
    responses={**problems(404), **STREAM},
)
async def follow_study(study_id: StudyPath, services: FromServices, last_event_id: LastEventId = None) -> Response:
    """Its events from the first one on, or after `Last-Event-ID`, then each as it happens, until the study has ended.

    Events are stored with the change that they tell of: after a dropped connection none is missing and none comes
    twice. `progress` tells how far running trials are; it is not stored. A stream without `end` at its end was broken
    off, by a server that stops, say: connect again.
    """
    cursor = 0 if last_event_id is None else int(last_event_id)
    if not await services.following.has_more(study_id, cursor):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    body = _encoded(services.following.stream(study_id, cursor))
    return StreamingResponse(body, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


async def _encoded(stream: AsyncIterator[Said]) -> AsyncIterator[bytes]:
    async for said in stream:
        match said:
            case Event():
                yield format_sse_event(event=said.kind, id=str(said.id), data_str=orjson.dumps(said.document).decode())
            case Aside.SILENCE:
                yield KEEPALIVE_COMMENT
            case Aside.OVER:
                yield END
            case _:
                yield format_sse_event(event="progress", data_str=orjson.dumps(said).decode())
