"""Plays that players send; they count in the next recommendation."""

import orjson
from fastapi import APIRouter, BackgroundTasks, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices
from app.api.problems import problems
from app.api.schemas.plays import PlaysBody, PlaysView, rendered
from app.domain.plays import Play

router = APIRouter(prefix="/v1/plays", tags=["plays"], route_class=StrictRoute)


@router.post("", summary="Send plays", response_model=PlaysView, responses=problems(413, 415, 507))
def add_plays(body: PlaysBody, services: FromServices, afterwards: BackgroundTasks) -> Response:
    """Store up to 10,000 plays, however late or out of order, and say of each what became of it.

    A play is known by its event id, so sending it again is safe: it is a duplicate. One that is wrong is rejected with
    its reason, and the others are stored all the same.
    """
    plays = body.values()
    answer = services.plays.add(plays)
    afterwards.add_task(services.catalogue.meet, [play.song_id for play in plays if isinstance(play, Play)])
    return Response(orjson.dumps(rendered(answer, body)), media_type="application/json", background=afterwards)
