"""Songs: their neighbours, and finding them by name. None of this touches the database."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from app.api.authorizing import ScopedRoute
from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, Services, SongPath
from app.api.problems import problems
from app.api.schemas.base import PathIdentifier
from app.api.schemas.songs import (
    AliasParameters,
    NeighboursBatchView,
    NeighboursBody,
    NeighboursParameters,
    NeighboursView,
    SongAnswerView,
    SongsAnswerView,
    SongsParameters,
)
from app.api.shadowed import shadowed_neighbours, written_neighbours
from app.domain.serving import NeighboursAnswer

router = APIRouter(prefix="/v1/songs", tags=["songs"], route_class=StrictRoute)

LISTS = {"filter", "exclude"}
"""Parameters that may be given more than once."""

SONG_ID: TypeAdapter[str] = TypeAdapter(PathIdentifier)


async def list_neighbours(
    request: Request, song_id: SongPath, which: Annotated[NeighboursParameters, Query()]
) -> Response:
    """The songs nearest to a song by the live model, the nearest first; the song itself is never among them.

    There are `k` of them as long as the model knows so many that pass. Within an `experiment` the variant of `user_id`
    answers, and it is on record that the user has seen it; who is not in it gets what everybody gets.
    """
    services: Services = request.app.state.services
    wanted = which.wanted()
    user_id = which.listener()
    if user_id is not None:
        within = await anyio.to_thread.run_sync(neighbours_within, services, song_id, user_id, which)
        return Response(orjson.dumps(within), media_type="application/json")

    if wanted.lets_all_pass:
        body = written_neighbours(
            services, song_id, k=which.k, alias=which.alias, model_id=which.model, segment=which.segment
        )
        return Response(body, media_type="application/json")

    def ask(alias: str) -> NeighboursAnswer:
        return services.serving.neighbours(
            song_id, k=which.k, alias=alias, model_id=which.model, segment=which.segment, wanted=wanted
        )

    # A look-up takes microseconds, a search that filters may take milliseconds, which others should not wait for.
    answer = await anyio.to_thread.run_sync(partial(shadowed_neighbours, services, ask, alias=which.alias))
    return Response(orjson.dumps(answer), media_type="application/json")


def neighbours_within(services: Services, song_id: str, user_id: str, which: NeighboursParameters) -> NeighboursAnswer:
    """What a user is answered in the experiment; how a variant recommends does not matter to neighbours."""
    wanted = which.wanted()
    found = services.exposing.answered(
        str(which.experiment),
        user_id,
        lambda alias, _serving: services.serving.neighbours(
            song_id, k=which.k, alias=alias, segment=which.segment, wanted=wanted
        ),
    )
    attribution = services.recommending.attribution(found.answer)
    return {**found.answer, "experiment": found.experiment, "attribution": attribution}


class NeighboursRoute(ScopedRoute):
    """The hottest route: on the event loop, as it only looks up, and its parameters read by pydantic alone.

    That takes 45 microseconds less than FastAPI's own way to the same values (of 125 that it takes for nothing else).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Read the parameters and answer."""

        async def answer(request: Request) -> Response:
            try:
                song_id = SONG_ID.validate_python(request.path_params["song_id"])
                which = NeighboursParameters.model_validate(_asked(request.query_params))
            except ValidationError as error:
                raise RequestValidationError(_located(error)) from error
            return await list_neighbours(request, song_id, which)

        return answer


def _asked(parameters: QueryParams) -> dict[str, Any]:
    asked: dict[str, Any] = dict(parameters)
    for name in LISTS & asked.keys():
        asked[name] = parameters.getlist(name)
    return asked


def _located(error: ValidationError) -> list[dict[str, Any]]:
    """The errors as FastAPI tells them: what is wrong with no field is the song's id."""
    return [
        {**found, "loc": ("query", *found["loc"]) if found["loc"] else ("path", "song_id")}
        for found in error.errors(include_url=False)
    ]


router.add_api_route(
    "/{song_id:path}/neighbours",
    list_neighbours,
    summary="List a song's neighbours",
    response_model=NeighboursView,
    responses=problems(404, 409, 503),
    route_class_override=NeighboursRoute,
)


@router.post(
    "/neighbours",
    summary="List the neighbours of many songs, or of a mix",
    response_model=NeighboursBatchView,
    responses=problems(409, 413, 415, 503),
)
def list_neighbours_of_many(body: NeighboursBody, services: FromServices) -> Response:
    """Up to 1,000 songs, each with its neighbours; or one list for a mix of songs to go towards and away from.

    Songs that the model does not know are told in `missing_ids`. A mix is the weighted sum of its songs' vectors: one
    of which no song is known is refused as `no_known_songs`, one that leaves no direction as `mix_cancels_out`.
    """
    which: Any = {"k": body.k, "alias": body.alias, "model_id": body.model, "wanted": body.wanted()}
    if not body.is_mix:
        answer = services.serving.neighbours_of(body.song_ids, **which)
        return Response(orjson.dumps({**answer, "neighbours": []}), media_type="application/json")
    mix = services.serving.neighbours_of_mix(body.mixed(body.positive), body.mixed(body.negative), **which)
    return Response(orjson.dumps({**mix, "items": []}), media_type="application/json")


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
