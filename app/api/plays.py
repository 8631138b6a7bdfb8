"""Plays that players send; they count in the next recommendation."""

from fastapi import APIRouter, BackgroundTasks

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices
from app.api.problems import problems
from app.api.schemas.plays import PlaysBody, PlaysView

router = APIRouter(prefix="/v1/plays", tags=["plays"], route_class=StrictRoute)


@router.post("", summary="Send plays", response_model=PlaysView, responses=problems(413, 415, 507))
def add_plays(body: PlaysBody, services: FromServices, afterwards: BackgroundTasks) -> PlaysView:
    """Store plays, however late or out of order. A play is known by its event id, so sending it again is safe."""
    answer = services.plays.add(body.values())
    afterwards.add_task(services.catalogue.meet, [play.song_id for play in body.plays])  # off the request's way
    return PlaysView.of(answer, body)
