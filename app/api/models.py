"""Models: what serves."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, ModelPath
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.models import ModelView

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=ScopedRoute)


@router.get("", summary="List the models", response_model=PageView[ModelView])
def list_models(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[ModelView]:
    """Every model, the newest first."""
    found = services.models.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[ModelView.of(model) for model in found.rows], next_cursor=found.next_cursor)


@router.get("/{model_id}", summary="See a model", response_model=ModelView, responses=problems(404))
def get_model(model_id: ModelPath, services: FromServices) -> ModelView:
    """Where it comes from, what it measured, and its files with sizes and checksums."""
    return ModelView.of(services.models.get(model_id))
