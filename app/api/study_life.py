"""What an owner does to a study beside watching it: extend, change, clone and delete it."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import (
    LOCATION,
    VERSION_TAG,
    FromKey,
    FromServices,
    StudyMatchHeader,
    StudyPath,
    answered,
    generation_wanted,
)
from app.api.problems import problems
from app.api.schemas.studies import StudySummaryView
from app.api.schemas.study_life import CloneBody, ExtensionBody, StudyChangesBody

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)

SAME_AGAIN = CloneBody()


@router.post(
    "/{study_id}/extend",
    status_code=HTTPStatus.ACCEPTED,
    summary="Extend a study",
    response_model=StudySummaryView,
    responses={**problems(404, 409, 413, 415, 507), 202: LOCATION},
)
def extend_study(study_id: StudyPath, body: ExtensionBody, services: FromServices, key: FromKey) -> Response:
    """Have a study that is completed, or failed for want of a usable trial, run so many further trials.

    The stopping rule that ended it, and those that would at once, are set aside. Another winner is measured on the test
    pairs at the end, the same one not again. Refused while a model is built from the study.
    """
    study = services.life.extend(
        study_id,
        n_iterations=body.n_iterations,
        idempotency=None if key is None else key.once(StudySummaryView.of),
    )
    return answered(study, StudySummaryView.of, status=HTTPStatus.ACCEPTED, collection="/v1/studies")


@router.patch(
    "/{study_id}",
    summary="Change a study",
    response_model=StudySummaryView,
    responses={**problems(404, 409, 412, 413, 415, 507), 200: VERSION_TAG},
)
def change_study(
    study_id: StudyPath,
    body: StudyChangesBody,
    services: FromServices,
    response: Response,
    if_match: StudyMatchHeader = None,
) -> StudySummaryView:
    """Change its name, parallelism, budgets, stopping rules or search space, for trials begun from now on.

    Another search space is a new revision: trials name theirs, and the best is the best of all. What was measured
    before informs the search where the new space holds it; other points are left out rather than moved to its edge.
    """
    wanted = generation_wanted(if_match, of="study")
    with body.changes() as changes:
        study = services.life.change(study_id, changes, if_match=wanted)
    response.headers["ETag"] = f'"{study.version}"'
    return StudySummaryView.of(study)


@router.post(
    "/{study_id}/clone",
    status_code=HTTPStatus.ACCEPTED,
    summary="Clone a study",
    response_model=StudySummaryView,
    responses={**problems(404, 409, 413, 415, 507), 202: LOCATION},
)
def clone_study(study_id: StudyPath, services: FromServices, key: FromKey, body: CloneBody = SAME_AGAIN) -> Response:
    """Ask for a new study, as yet without trials, with this one's present specification but for what the body says."""
    study = services.life.clone(
        study_id,
        overrides=body.overrides(),
        idempotency=None if key is None else key.once(StudySummaryView.of),
    )
    return answered(study, StudySummaryView.of, status=HTTPStatus.ACCEPTED, collection="/v1/studies")


@router.delete(
    "/{study_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete a study",
    responses={**problems(404, 409, 507), 204: {"description": "It is gone, with its trials and their embeddings."}},
)
def delete_study(study_id: StudyPath, services: FromServices) -> None:
    """Remove a study that has ended. One from which a model was promoted stays: models tell where they come from."""
    services.life.delete(study_id)
