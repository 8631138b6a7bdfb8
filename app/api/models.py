"""Models: what serves."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, ModelPath
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.differences import DifferenceParameters, DifferenceView
from app.api.schemas.gates import GateReportView, PreviewParameters
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


@router.get(
    "/{model_id}/gates",
    summary="Judge a model beside what is live",
    response_model=GateReportView,
    responses=problems(404),
)
def preview_gates(
    model_id: ModelPath, which: Annotated[PreviewParameters, Query()], services: FromServices
) -> GateReportView:
    """Every gate, as the operator set them, were the alias to move to the model now; nothing moves."""
    report = services.gates.preview(model_id, alias=which.alias, segment=which.segment, limits=None)
    return GateReportView.of(report)


@router.get(
    "/{model_id}/diff",
    summary="Compare a model's neighbours with another's",
    response_model=DifferenceView,
    responses=problems(404, 409),
)
def compare_models(
    model_id: ModelPath, which: Annotated[DifferenceParameters, Query()], services: FromServices
) -> DifferenceView:
    """How many neighbours they share, overall and by segment, and the songs whose neighbours change most."""
    start = 0 if which.cursor is None else int(which.cursor)
    report = services.differences.of(model_id, against=which.against, k=which.k, limit=which.limit, start=start)
    return DifferenceView.of(report)
