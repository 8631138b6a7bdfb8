"""Datasets: plays prepared and frozen."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, DatasetPath, FromKey, FromServices, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.datasets import DatasetBody, DatasetView

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Prepare a dataset",
    response_model=DatasetView,
    responses={**problems(409, 413, 415, 507), 202: LOCATION},
)
def create_dataset(body: DatasetBody, services: FromServices, key: FromKey) -> Response:
    """Ask for a dataset of plays, and of songs where titles or segments matter.

    A worker prepares it: cuts the plays into sessions, filters and samples them, holds out pairs to measure on, and
    compiles the result once for all trials. Look at the `Location` for its state and progress.
    """
    dataset = services.datasets.create(body.spec(), idempotency=None if key is None else key.once(DatasetView.of))
    return answered(dataset, DatasetView.of, status=HTTPStatus.ACCEPTED, collection="/v1/datasets")


@router.get("", summary="List the datasets", response_model=PageView[DatasetView])
def list_datasets(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[DatasetView]:
    """Every dataset, the newest first."""
    found = services.datasets.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[DatasetView.of(dataset) for dataset in found.rows], next_cursor=found.next_cursor)


@router.get("/{dataset_id}", summary="See a dataset", response_model=DatasetView, responses=problems(404))
def get_dataset(dataset_id: DatasetPath, services: FromServices) -> DatasetView:
    """Its state and progress; once it is ready, its statistics and fingerprint; if it failed, why."""
    return DatasetView.of(services.datasets.get(dataset_id))
