"""Aliases: which model is live under a name."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import AliasPath, FromCaller, FromServices, MatchHeader, Services, generation_wanted
from app.api.problems import problems
from app.api.schemas.base import PageView
from app.api.schemas.models import AliasMoveView, AliasView, AssignmentBody, HistoryParameters
from app.api.schemas.shadows import ShadowBody, ShadowReportView, ShadowView
from app.domain.models import Alias

router = APIRouter(prefix="/v1/aliases", tags=["aliases"], route_class=StrictRoute)

ETAG: dict[str, Any] = {
    "headers": {"ETag": {"description": "The generation.", "required": True, "schema": {"type": "string"}}}
}


@router.get("", summary="List the aliases", response_model=PageView[AliasView])
def list_aliases(services: FromServices) -> PageView[AliasView]:
    """Every alias by name, all on one page."""
    return PageView(items=[AliasView.of(alias) for alias in services.aliases.all()], next_cursor=None)


@router.get("/{alias}", summary="See an alias", response_model=AliasView, responses={**problems(404), 200: ETAG})
def get_alias(alias: AliasPath, services: FromServices, response: Response) -> AliasView:
    """The model it points to, and how often it has moved."""
    return _tagged(services.aliases.get(alias), response)


@router.put(
    "/{alias}",
    summary="Point an alias at a model",
    response_model=AliasView,
    responses={**problems(409, 412, 413, 415, 507), 200: ETAG},
)
def assign_alias(
    alias: AliasPath,
    body: AssignmentBody,
    services: FromServices,
    response: Response,
    *,
    caller: FromCaller,
    if_match: MatchHeader = None,
) -> AliasView:
    """Make ready models live under the alias, all at once; servers follow within seconds and fail no request.

    Every model that changes passes the gates first, beside what is live; where one fails, the answer is 409 with the
    whole table, unless there is an `override_reason`.
    """
    moved = services.aliases.assign(
        alias,
        model_id=body.default_id,
        segments=body.segments,
        gates=None if body.gates is None else body.gates.over(services.gates.defaults),
        override_reason=body.override_reason,
        moved_by=caller,
        if_match=generation_wanted(if_match),
    )
    return _moved(moved, services, response)


@router.post(
    "/{alias}/rollback",
    summary="Roll an alias back",
    response_model=AliasView,
    responses={**problems(404, 409, 412, 507), 200: ETAG},
)
def roll_back_alias(
    alias: AliasPath, services: FromServices, response: Response, caller: FromCaller, if_match: MatchHeader = None
) -> AliasView:
    """Make the models before the present ones live again, all of a bundle; no gate is asked."""
    wanted = generation_wanted(if_match)
    return _moved(services.aliases.rollback(alias, moved_by=caller, if_match=wanted), services, response)


@router.get(
    "/{alias}/moves",
    summary="List an alias's moves",
    response_model=PageView[AliasMoveView],
    responses=problems(404),
)
@router.get(
    "/{alias}/history",
    summary="List an alias's moves, by an earlier name",
    response_model=PageView[AliasMoveView],
    responses=problems(404),
)
def list_moves(
    alias: AliasPath, page: Annotated[HistoryParameters, Query()], services: FromServices
) -> PageView[AliasMoveView]:
    """Every move, the last first, with what its gates showed; none is ever changed or removed."""
    before = None if page.cursor is None else int(page.cursor)
    found = services.aliases.moves(alias, limit=page.limit, before=before)
    return PageView(items=[AliasMoveView.of(move) for move in found.rows], next_cursor=found.next_cursor)


@router.put(
    "/{alias}/shadow",
    summary="Shadow an alias",
    response_model=ShadowView,
    responses=problems(404, 409, 413, 415, 507),
)
def put_shadow(alias: AliasPath, body: ShadowBody, services: FromServices) -> ShadowView:
    """Have a challenger answer a share of the alias's neighbours and recommendations too, off the way of the answers.

    Clients are answered by the alias alone. A former shadow's figures are forgotten.
    """
    shadow = services.shadows.put(alias, model_id=body.model_id, challenger=body.alias, share=body.share)
    services.poke()
    return ShadowView.of(shadow)


@router.get(
    "/{alias}/shadow",
    summary="See what an alias's shadow showed",
    response_model=ShadowReportView,
    responses=problems(404),
)
def get_shadow(alias: AliasPath, services: FromServices) -> ShadowReportView:
    """How much its lists share with those that were answered, and how long both took, over all servers."""
    return ShadowReportView.of(services.shadows.report(alias))


@router.delete(
    "/{alias}/shadow",
    summary="Shadow an alias no longer",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problems(404, 507),
)
def delete_shadow(alias: AliasPath, services: FromServices) -> None:
    """Servers stop within seconds; what it showed is forgotten."""
    services.shadows.remove(alias)
    services.poke()


def _moved(alias: Alias, services: Services, response: Response) -> AliasView:
    services.poke()  # this server need not wait for its next look
    return _tagged(alias, response)


def _tagged(alias: Alias, response: Response) -> AliasView:
    response.headers["ETag"] = f'"{alias.generation}"'
    return AliasView.of(alias)
