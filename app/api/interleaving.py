"""Interleaving experiments: what users prefer of lists drafted from two models."""

from fastapi import APIRouter

from app.api.bodies import StrictRoute
from app.api.dependencies import ExperimentPath, FromServices
from app.api.problems import problems
from app.api.schemas.interleaving import PreferencesView

router = APIRouter(prefix="/v1/experiments", tags=["experiments"], route_class=StrictRoute)


@router.get(
    "/{experiment_id}/preference",
    summary="See which model users prefer",
    response_model=PreferencesView,
    responses=problems(404, 409),
)
def see_preference(experiment_id: ExperimentPath, services: FromServices) -> PreferencesView:
    """Of an interleaving experiment: users by whose songs they played more, overall and by segment.

    The quicker, more sensitive first look: both models are in each user's one list, so what the user is like cancels
    out. It says which model's songs are played when both are offered, not how much longer anybody listens.
    """
    return PreferencesView.of(services.interleaving.preferences(experiment_id))
