"""Own trials: points that a client gives a study, to be tried next or already measured."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromKey, FromServices, StudyPath, answered_in
from app.api.problems import problems
from app.api.schemas.own_trials import OwnTrialsBody, OwnTrialsView

router = APIRouter(prefix="/v1/studies", tags=["trials"], route_class=StrictRoute)


@router.post(
    "/{study_id}/trials",
    status_code=HTTPStatus.CREATED,
    summary="Give a study points of your own",
    response_model=OwnTrialsView,
    responses={**problems(404, 409, 413, 415, 507), 201: LOCATION},
)
def add_trials(study_id: StudyPath, body: OwnTrialsBody, services: FromServices, key: FromKey) -> Response:
    """Points to try before the next suggestion, or finished trials to learn from; all of them or none.

    A point to try takes the place of a suggestion and so counts towards the budget; one with a measurement does not.
    Every point must lie in the study's search space.
    """
    added = services.own_trials.add(
        study_id, body.own_trials(), idempotency=None if key is None else key.once(OwnTrialsView.of)
    )
    return answered_in(added, OwnTrialsView.of, status=HTTPStatus.CREATED, collection=f"/v1/studies/{study_id}/trials")
