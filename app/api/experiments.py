"""Experiments: variants on live listeners, from the draft to the decision."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import (
    LOCATION,
    ExperimentMatchHeader,
    ExperimentPath,
    FromCaller,
    FromKey,
    FromServices,
    Services,
    answered,
    generation_wanted,
    version_tag,
)
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.experiments import (
    DecisionBody,
    ExperimentBody,
    ExperimentChangesBody,
    ExperimentDetailView,
    ExperimentView,
)
from app.api.schemas.exposures import AssignmentParameters, AssignmentView, ExposuresBody, ExposuresView
from app.domain.experiments.experiment import Experiment

router = APIRouter(prefix="/v1/experiments", tags=["experiments"], route_class=StrictRoute)

TAGGED = version_tag("experiment")


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Draft an experiment",
    response_model=ExperimentView,
    responses={**problems(409, 413, 415, 507), 201: LOCATION},
)
def create_experiment(body: ExperimentBody, services: FromServices, key: FromKey, caller: FromCaller) -> Response:
    """Say what is to be tried on whom, and what is measured; nobody is in it before its start.

    The first variant is the control that the others are compared with.
    """
    experiment = services.experiments.create(
        body.spec(), kind=body.kind, created_by=caller, idempotency=None if key is None else key.once(ExperimentView.of)
    )
    return answered(experiment, ExperimentView.of, status=HTTPStatus.CREATED, collection="/v1/experiments")


@router.get("", summary="List the experiments", response_model=PageView[ExperimentView])
def list_experiments(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[ExperimentView]:
    """Every experiment, the newest first."""
    found = services.experiments.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[ExperimentView.of(each) for each in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{experiment_id}",
    summary="See an experiment",
    response_model=ExperimentDetailView,
    responses={**problems(404), 200: TAGGED},
)
def get_experiment(experiment_id: ExperimentPath, services: FromServices, response: Response) -> ExperimentDetailView:
    """What it tries, who gets what, and how many users have seen each variant."""
    facts = services.experiments.get(experiment_id)
    response.headers["ETag"] = f'"{facts.experiment.version}"'
    return ExperimentDetailView.of_facts(facts)


@router.patch(
    "/{experiment_id}",
    summary="Change an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 413, 415, 507), 200: TAGGED},
)
def change_experiment(
    experiment_id: ExperimentPath,
    body: ExperimentChangesBody,
    services: FromServices,
    response: Response,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """Change anything of a draft, or the traffic and weights of one that has started.

    Another share moves as few users as can be, and none who has seen a variant: that one stays.
    """
    wanted = generation_wanted(if_match, of="experiment")
    changed = services.experiments.change(experiment_id, body.changes(), if_match=wanted)
    return _told(changed, services, response)


@router.delete(
    "/{experiment_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Delete a draft",
    responses={**problems(404, 409, 507), 204: {"description": "It is gone."}},
)
def delete_experiment(experiment_id: ExperimentPath, services: FromServices) -> None:
    """Remove an experiment that was never started; others stay, for what they showed is kept."""
    services.experiments.delete(experiment_id)


@router.post(
    "/{experiment_id}/start",
    summary="Start an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 507), 200: TAGGED},
)
def start_experiment(
    experiment_id: ExperimentPath,
    services: FromServices,
    response: Response,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """Let users enter. From now on it is frozen, and serves the models that its variants name at this instant.

    Servers load them within seconds; until then everybody gets the alias. In a layer without enough free users: 409.
    """
    wanted = generation_wanted(if_match, of="experiment")
    return _told(services.experiments.start(experiment_id, if_match=wanted), services, response)


@router.post(
    "/{experiment_id}/pause",
    summary="Pause an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 507), 200: TAGGED},
)
def pause_experiment(
    experiment_id: ExperimentPath,
    services: FromServices,
    response: Response,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """Let nobody new enter; whoever has seen a variant keeps it."""
    wanted = generation_wanted(if_match, of="experiment")
    return _told(services.experiments.pause(experiment_id, if_match=wanted), services, response)


@router.post(
    "/{experiment_id}/resume",
    summary="Resume an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 507), 200: TAGGED},
)
def resume_experiment(
    experiment_id: ExperimentPath,
    services: FromServices,
    response: Response,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """Let users enter again."""
    wanted = generation_wanted(if_match, of="experiment")
    return _told(services.experiments.resume(experiment_id, if_match=wanted), services, response)


@router.post(
    "/{experiment_id}/stop",
    summary="Stop an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 507), 200: TAGGED},
)
def stop_experiment(
    experiment_id: ExperimentPath,
    services: FromServices,
    response: Response,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """End it for good: everybody gets the alias again, and it may be decided."""
    wanted = generation_wanted(if_match, of="experiment")
    return _told(services.experiments.stop(experiment_id, if_match=wanted), services, response)


@router.post(
    "/{experiment_id}/decide",
    summary="Decide an experiment",
    response_model=ExperimentView,
    responses={**problems(404, 409, 412, 413, 415, 507), 200: TAGGED},
)
def decide_experiment(
    experiment_id: ExperimentPath,
    body: DecisionBody,
    services: FromServices,
    response: Response,
    *,
    caller: FromCaller,
    if_match: ExperimentMatchHeader = None,
) -> ExperimentView:
    """Promote a variant of a stopped experiment, or roll back; the move of the alias names the experiment.

    A promotion passes the gates as every assignment does: where one fails, the answer is 409 with the whole table,
    unless there is an `override_reason`. It moves models alone: set how a variant recommended (`serving`) in the
    server's settings. A promotion may be rolled back later, as long as the alias has not moved since.
    """
    wanted = body.value(
        services.gates.defaults, decided_by=caller, if_match=generation_wanted(if_match, of="experiment")
    )
    return _told(services.experiments.decide(experiment_id, wanted), services, response)


@router.get(
    "/{experiment_id}/assignment",
    summary="See a user's assignment",
    response_model=AssignmentView,
    responses=problems(404),
)
def get_assignment(
    experiment_id: ExperimentPath, which: Annotated[AssignmentParameters, Query()], services: FromServices
) -> AssignmentView:
    """Which variant the user would be served, and the numbers by which any client can compute it. Exposes nobody."""
    return AssignmentView.of(services.exposures.assignment(experiment_id, which.user_id))


@router.post(
    "/{experiment_id}/exposures",
    summary="Tell exposures",
    response_model=ExposuresView,
    responses=problems(404, 413, 415, 507),
)
def tell_exposures(experiment_id: ExperimentPath, body: ExposuresBody, services: FromServices) -> ExposuresView:
    """For clients that serve their users themselves: who was shown which variant, up to 1,000 at once.

    The first of a user counts, so telling one again is safe. Whoever is told with another variant later has crossed,
    and is left out of results. A user who is not assigned the variant is rejected.
    """
    told = body.told()
    return ExposuresView.of(told, services.exposures.tell(experiment_id, told))


def _told(experiment: Experiment, services: Services, response: Response) -> ExperimentView:
    services.poke()  # this server need not wait for its next look
    response.headers["ETag"] = f'"{experiment.version}"'
    return ExperimentView.of(experiment)
