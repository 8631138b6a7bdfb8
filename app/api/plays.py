"""Plays that players send; they count in the next recommendation."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.background import BackgroundTask

from app.api.authorizing import ScopedRoute
from app.api.bodies import StrictRequest, check_media_type, parsed
from app.api.dependencies import FromServices, Services
from app.api.problems import problems
from app.api.schemas.plays import PlaysBody, PlaysView, rendered
from app.domain.plays import Play

router = APIRouter(prefix="/v1/plays", tags=["plays"])


def add_plays(body: PlaysBody, services: FromServices) -> Response:
    """Store up to 10,000 plays, however late or out of order, and say of each what became of it.

    A play is known by its event id, so sending it again is safe: it is a duplicate. One that is wrong is rejected with
    its reason, and the others are stored all the same.
    """
    plays = body.values()
    answer = services.plays.add(plays)
    # New songs are met once the answer is on its way.
    meeting = BackgroundTask(services.catalogue.meet, [play.song_id for play in plays if isinstance(play, Play)])
    return Response(orjson.dumps(rendered(answer, body)), media_type="application/json", background=meeting)


class PlaysRoute(ScopedRoute):
    """Reads the body in a thread: ten thousand plays take a quarter of a second, in which others are answered."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Receive the body, and leave the rest to the thread."""

        async def answer(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            body = await strict.body()
            if body:
                check_media_type(strict)
            return await run_in_threadpool(_taken, body, request.app.state.services)

        return answer


def _taken(body: bytes, services: Services) -> Response:
    if not body:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    said = parsed(body)
    try:
        plays = PlaysBody.model_validate(said)
    except ValidationError as error:
        found = [{**wrong, "loc": ("body", *wrong["loc"])} for wrong in error.errors(include_url=False)]
        raise RequestValidationError(found, body=said) from error
    return add_plays(plays, services)


router.add_api_route(
    "",
    add_plays,
    methods=["POST"],
    summary="Send plays",
    response_model=PlaysView,
    responses=problems(413, 415, 507),
    route_class_override=PlaysRoute,
)
