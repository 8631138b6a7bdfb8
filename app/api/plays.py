"""Plays that players send; they count in the next recommendation."""

import orjson
from fastapi import APIRouter, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices
from app.api.problems import problems
from app.api.schemas.plays import PlaysBody, PlaysView, rendered

router = APIRouter(prefix="/v1/plays", tags=["plays"], route_class=StrictRoute)


@router.post("", summary="Send plays", response_model=PlaysView, responses=problems(413, 415, 507))
def add_plays(body: PlaysBody, services: FromServices) -> Response:
    """Store up to 10,000 plays, however late or out of order, and say of each what became of it.

    A play is known by its event id, so sending it again is safe: it is a duplicate. One that is wrong is rejected with
    its reason, and the others are stored all the same.
    """
    answer = services.plays.add(body.values())
    return Response(orjson.dumps(rendered(answer, body)), media_type="application/json")
