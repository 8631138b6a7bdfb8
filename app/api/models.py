"""Models: what serves."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromKey, FromServices, ModelPath, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.models import ModelView
from app.api.schemas.neighbour_tables import TableBody

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

DEFAULT_TABLE = TableBody()


@router.get("", summary="List the models", response_model=PageView[ModelView])
def list_models(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[ModelView]:
    """Every model, the newest first."""
    found = services.models.list(limit=page.limit, cursor=page.cursor)
    tabled = services.tables.of_models(found.rows)
    return PageView(items=[ModelView.of_tabled(each) for each in tabled], next_cursor=found.next_cursor)


@router.get("/{model_id}", summary="See a model", response_model=ModelView, responses=problems(404))
def get_model(model_id: ModelPath, services: FromServices) -> ModelView:
    """Where it comes from, what it measured, its files with sizes and checksums, and how its neighbours are found."""
    return ModelView.of_tabled(services.tables.of_model(model_id))


@router.post(
    "/{model_id}/neighbours",
    status_code=HTTPStatus.ACCEPTED,
    summary="Compute a model's neighbours",
    response_model=ModelView,
    responses={**problems(404, 409, 413, 415, 507), 202: LOCATION},
)
def compute_neighbours(
    model_id: ModelPath, services: FromServices, key: FromKey, body: TableBody = DEFAULT_TABLE
) -> Response:
    """Ask for the table of a ready model that has none, or whose table failed; it serves on by search meanwhile.

    A worker builds it once no dataset, model or trial waits, and every server takes it up by itself. Asking again
    changes nothing while it waits or is ready, and is refused while it is being built.
    """
    tabled = services.tables.ask(
        model_id, is_rebuilt=body.rebuild, idempotency=None if key is None else key.once(ModelView.of_tabled)
    )
    return answered(tabled, ModelView.of_tabled, status=HTTPStatus.ACCEPTED, collection="/v1/models")
