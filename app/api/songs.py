"""Songs: their neighbours, and finding them by name. None of this touches the database."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from app.api.dependencies import FromServices, Services, SongPath
from app.api.problems import problems
from app.api.schemas.songs import (
    AliasParameters,
    NeighboursParameters,
    NeighboursView,
    SongAnswerView,
    SongsAnswerView,
    SongsParameters,
)

router = APIRouter(prefix="/v1/songs", tags=["songs"])


@router.get(
    "/{song_id:path}/neighbours",
    summary="List a song's neighbours",
    response_model=NeighboursView,
    responses=problems(404, 503),
)
async def list_neighbours(
    request: Request, song_id: SongPath, which: Annotated[NeighboursParameters, Query()]
) -> Response:
    """The songs nearest to a song by the live model, the nearest first; the song itself is never among them."""
    # The hottest path: looked up in memory, so not in a thread, and the answer is rendered as it is.
    services: Services = request.app.state.services
    answer = services.serving.neighbours(song_id, k=which.k, alias=which.alias)
    return Response(orjson.dumps(answer), media_type="application/json")


@router.get("", summary="Find songs", response_model=SongsAnswerView, responses=problems(503))
def find_songs(which: Annotated[SongsParameters, Query()], services: FromServices) -> SongsAnswerView:
    """Songs with all words of the query in their title or artist, the most played first; all songs without one."""
    return SongsAnswerView.of(
        services.serving.songs(which.query, limit=which.limit, cursor=which.cursor, alias=which.alias)
    )


@router.get("/{song_id:path}", summary="See a song", response_model=SongAnswerView, responses=problems(404, 503))
async def get_song(
    song_id: SongPath, which: Annotated[AliasParameters, Query()], services: FromServices
) -> SongAnswerView:
    """What the live model knows of a song."""
    return SongAnswerView.of(services.serving.song(song_id, alias=which.alias))
