"""What experiments show: results, what it takes to see a lift, and what to decide."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import ExperimentPath, FromServices
from app.api.problems import problems
from app.api.schemas.experiment_results import (
    AdviceView,
    PowerParameters,
    PowerView,
    ResultsParameters,
    ResultsView,
)

router = APIRouter(prefix="/v1/experiments", tags=["experiments"], route_class=StrictRoute)


@router.get(
    "/{experiment_id}/results",
    summary="See what an experiment shows",
    response_model=ResultsView,
    responses=problems(404, 409),
)
def see_results(
    experiment_id: ExperimentPath, asked: Annotated[ResultsParameters, Query()], services: FromServices
) -> ResultsView:
    """By metric how each treatment differs from the control: overall, by segment, day by day.

    Whole UTC days are read, and only what users played after their exposure. Health comes first: where a check fails
    there is no effect, and the reason.
    """
    return ResultsView.of(services.experiment_results.results(experiment_id, cut=asked.cut))


@router.get(
    "/{experiment_id}/power",
    summary="See what it takes to show a lift",
    response_model=PowerView,
    responses=problems(404, 409),
)
def see_power(
    experiment_id: ExperimentPath, asked: Annotated[PowerParameters, Query()], services: FromServices
) -> PowerView:
    """Users and days by metric, from what users played before the start, or before today."""
    return PowerView.of(services.experiment_results.power(experiment_id, lift=asked.lift), lift=asked.lift)


@router.get(
    "/{experiment_id}/decision",
    summary="See what the results advise",
    response_model=AdviceView,
    responses=problems(404, 409),
)
def see_advice(experiment_id: ExperimentPath, services: FromServices) -> AdviceView:
    """Ship, roll back, keep running, or a model by segment, by the rule in the answer. Nothing is moved."""
    return AdviceView.of(services.experiment_results.decision(experiment_id))
