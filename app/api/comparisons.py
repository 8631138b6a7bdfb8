"""Comparisons: a study's trials segment by segment, and on the front between two objectives."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromKey, FromServices, SegmentPath, StudyPath, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters
from app.api.schemas.comparisons import FrontView, SegmentParameters, SegmentReportView
from app.api.schemas.studies import StudySummaryView

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)


@router.get(
    "/{study_id}/segments",
    summary="See what each segment gives up",
    response_model=SegmentReportView,
    responses=problems(404, 409),
)
def see_segments(
    study_id: StudyPath, asked: Annotated[SegmentParameters, Query()], services: FromServices
) -> SegmentReportView:
    """For each segment its best trial, the study's winner there, how they differ, and whether a model of its own pays.

    Both were trained on every session; the difference is measured on the same pairs, and allows for having picked the
    best of many.
    """
    return SegmentReportView.of(services.comparisons.segments(study_id, min_effect=asked.min_effect))


@router.post(
    "/{study_id}/segments/{segment}/study",
    status_code=HTTPStatus.ACCEPTED,
    summary="Run the study on one segment",
    response_model=StudySummaryView,
    responses={**problems(404, 409, 507), 202: LOCATION},
)
def study_segment(study_id: StudyPath, segment: SegmentPath, services: FromServices, key: FromKey) -> Response:
    """Ask for the same study on this segment's sessions alone. It begins with the points that were best there."""
    study = services.comparisons.study_segment(
        study_id, segment, idempotency=None if key is None else key.once(StudySummaryView.of)
    )
    return answered(study, StudySummaryView.of, status=HTTPStatus.ACCEPTED, collection="/v1/studies")


@router.get(
    "/{study_id}/pareto",
    summary="See the front between two objectives",
    response_model=FrontView,
    responses=problems(404, 409),
)
def see_front(study_id: StudyPath, page: Annotated[PageParameters, Query()], services: FromServices) -> FrontView:
    """The trials so far that no other beats in both objectives, as measured; promote one by naming its `trial_id`."""
    return FrontView.of(services.comparisons.front(study_id, limit=page.limit, cursor=page.cursor))
