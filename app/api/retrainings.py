"""Retrainings: a model's hyperparameters on new plays."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, FromCaller, FromKey, FromServices, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView, ResourceId
from app.api.schemas.retrainings import RetrainingBody, RetrainingView

router = APIRouter(prefix="/v1", tags=["retrainings"], route_class=StrictRoute)


@router.post(
    "/retrain",
    status_code=HTTPStatus.ACCEPTED,
    summary="Retrain a model",
    response_model=RetrainingView,
    responses={**problems(409, 413, 415, 507), 202: LOCATION},
)
def retrain(body: RetrainingBody, services: FromServices, key: FromKey, caller: FromCaller) -> Response:
    """Train a model's hyperparameters on new plays, and move the alias if the gates let it.

    The source of its dataset is read anew, with the plays sent since where it has `user_id` and `played_at` and neither
    `session_id` nor `position`. The hyperparameters are measured on the new dataset's test pairs by a training without
    its held-out songs, as is the live model with the vectors that it has; what goes live is a full fit.
    """
    retraining = services.retrainings.request(
        alias=body.alias,
        model_id=body.model_id,
        spec=body.spec(services.gates.defaults, asked_by=caller),
        idempotency=None if key is None else key.once(RetrainingView.of),
    )
    return answered(retraining, RetrainingView.of, status=HTTPStatus.ACCEPTED, collection="/v1/retrainings")


@router.get("/retrainings", summary="List the retrainings", response_model=PageView[RetrainingView])
def list_retrainings(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[RetrainingView]:
    """Every retraining, the newest first, those of the schedule included."""
    found = services.retrainings.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[RetrainingView.of(facts) for facts in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/retrainings/{retraining_id}",
    summary="See a retraining",
    response_model=RetrainingView,
    responses=problems(404),
)
def get_retraining(
    retraining_id: Annotated[ResourceId, Path(description="The retraining's id.")], services: FromServices
) -> RetrainingView:
    """How far it is, what it made so far, and what came of it."""
    return RetrainingView.of(services.retrainings.get(retraining_id))
