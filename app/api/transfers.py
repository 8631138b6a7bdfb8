"""Transfers: whether what is best on a sample of the sessions is best on all of them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromKey, FromServices, StudyPath, TransferPath, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.transfers import TransferBody, TransferSummaryView, TransferView

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)

BY_DEFAULT = TransferBody()


@router.post(
    "/{study_id}/transfer",
    status_code=HTTPStatus.ACCEPTED,
    summary="Measure a study's best points on samples",
    response_model=TransferSummaryView,
    responses={**problems(404, 409, 413, 415, 507), 202: LOCATION},
)
def create_transfer(
    study_id: StudyPath, services: FromServices, key: FromKey, body: TransferBody = BY_DEFAULT
) -> Response:
    """Have a completed study train its best trials and gensim's defaults again on nested samples of the sessions.

    All are measured on the same validation pairs. The study runs until that is done; look at the `Location`.
    """
    transfer = services.transfers.create(
        study_id, body.spec(), idempotency=None if key is None else key.once(TransferSummaryView.of)
    )
    return answered(
        transfer,
        TransferSummaryView.of,
        status=HTTPStatus.ACCEPTED,
        collection=f"/v1/studies/{study_id}/transfers",
    )


@router.get(
    "/{study_id}/transfers",
    summary="List a study's transfers",
    response_model=PageView[TransferSummaryView],
    responses=problems(404),
)
def list_transfers(
    study_id: StudyPath, page: Annotated[PageParameters, Query()], services: FromServices
) -> PageView[TransferSummaryView]:
    """Every transfer, the newest first."""
    found = services.transfers.list(study_id, limit=page.limit, cursor=page.cursor)
    return PageView(items=[TransferSummaryView.of(each) for each in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{study_id}/transfers/{transfer_id}",
    summary="See a transfer",
    response_model=TransferView,
    responses=problems(404),
)
def get_transfer(study_id: StudyPath, transfer_id: TransferPath, services: FromServices) -> TransferView:
    """How far it is, what each point scored on each sample, and how the samples agree about their order."""
    return TransferView.of_report(services.transfers.report(study_id, transfer_id))
