"""Warm starts: what a study took over from earlier ones."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, StudyPath
from app.api.problems import problems
from app.api.schemas.base import PageView
from app.api.schemas.warm_starts import InheritedParameters, InheritedView

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=ScopedRoute)


@router.get(
    "/{study_id}/inherited",
    summary="See what a study took over",
    response_model=PageView[InheritedView],
    responses=problems(404),
)
def list_inherited(
    study_id: StudyPath, page: Annotated[InheritedParameters, Query()], services: FromServices
) -> PageView[InheritedView]:
    """Which trials of which earlier studies gave it a measurement or a point to try; kept when those are deleted."""
    after = None if page.cursor is None else int(page.cursor)
    found = services.warm_starts.inherited(study_id, limit=page.limit, after=after)
    return PageView(items=[InheritedView.of(inherited) for inherited in found.rows], next_cursor=found.next_cursor)
