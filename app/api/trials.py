"""Trials: one point of a study's space, trained and measured."""

from fastapi import APIRouter

from app.api.authorizing import ScopedRoute
from app.api.dependencies import FromServices, TrialPath
from app.api.problems import problems
from app.api.schemas.trials import TrialView

router = APIRouter(prefix="/v1/trials", tags=["trials"], route_class=ScopedRoute)


@router.get("/{trial_id}", summary="See a trial", response_model=TrialView, responses=problems(404))
def get_trial(trial_id: TrialPath, services: FromServices) -> TrialView:
    """Its hyperparameters, times, and measurements after each epoch and at the end; if it failed or was pruned, why."""
    return TrialView.of_facts(services.studies.trial_facts(trial_id))
