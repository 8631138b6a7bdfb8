"""Studies: searches for the best hyperparameters on a dataset."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import LOCATION, VERSION_TAG, FromCaller, FromKey, FromServices, StudyPath, answered
from app.api.problems import problems
from app.api.schemas.base import PageParameters, PageView
from app.api.schemas.models import ModelView, PromotionBody
from app.api.schemas.studies import StudyBody, StudySummaryView, StudyView
from app.api.schemas.trials import TrialParameters, TrialSummaryView
from app.domain.models import Fit, TableTiming

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)

DEFAULT_PROMOTION = PromotionBody()


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Run a study",
    response_model=StudySummaryView,
    responses={**problems(409, 413, 415, 507), 202: LOCATION},
)
def create_study(body: StudyBody, services: FromServices, key: FromKey) -> Response:
    """Ask for a study of a dataset that is ready; the dataset alone runs the article's study.

    Workers train and measure one trial after another, or `parallelism` at once, and the baselines first. Look at the
    `Location` for the best so far.
    """
    study = services.studies.create(body.spec(), idempotency=None if key is None else key.once(StudySummaryView.of))
    return answered(study, StudySummaryView.of, status=HTTPStatus.ACCEPTED, collection="/v1/studies")


@router.get("", summary="List the studies", response_model=PageView[StudySummaryView])
def list_studies(page: Annotated[PageParameters, Query()], services: FromServices) -> PageView[StudySummaryView]:
    """Every study, the newest first."""
    found = services.studies.list(limit=page.limit, cursor=page.cursor)
    return PageView(items=[StudySummaryView.of(study) for study in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{study_id}", summary="See a study", response_model=StudyView, responses={**problems(404), 200: VERSION_TAG}
)
def get_study(study_id: StudyPath, services: FromServices, response: Response) -> StudyView:
    """Its state and progress, the best trial so far beside the baselines, and how long it may still take."""
    facts = services.studies.get(study_id)
    response.headers["ETag"] = f'"{facts.study.version}"'
    return StudyView.of_facts(facts, services.verdicts.of(study_id).verdict)


@router.get(
    "/{study_id}/trials",
    summary="List a study's trials",
    response_model=PageView[TrialSummaryView],
    responses=problems(404),
)
def list_trials(
    study_id: StudyPath, page: Annotated[TrialParameters, Query()], services: FromServices
) -> PageView[TrialSummaryView]:
    """Every trial in the order they were made: baselines, the search, and the confirmation of its winner."""
    found = services.studies.trials(study_id, limit=page.limit, cursor=page.cursor, role=page.role)
    study = services.studies.study(study_id)
    return PageView(items=[TrialSummaryView.of(trial, study) for trial in found.rows], next_cursor=found.next_cursor)


@router.post(
    "/{study_id}/cancel",
    summary="Cancel a study",
    response_model=StudySummaryView,
    responses=problems(404, 409, 507),
)
def cancel_study(study_id: StudyPath, services: FromServices) -> StudySummaryView:
    """End it now. Waiting trials are cancelled, running ones are stopped at their worker's next report.

    A study whose winner is confirmed already, and that runs for replicates or a transfer, is completed without them.
    """
    return StudySummaryView.of(services.studies.cancel(study_id))


@router.post(
    "/{study_id}/pause", summary="Pause a study", response_model=StudySummaryView, responses=problems(404, 409, 507)
)
def pause_study(study_id: StudyPath, services: FromServices) -> StudySummaryView:
    """Begin no further trial; those under way go on to their end."""
    return StudySummaryView.of(services.studies.pause(study_id))


@router.post(
    "/{study_id}/resume", summary="Resume a study", response_model=StudySummaryView, responses=problems(404, 409, 507)
)
def resume_study(study_id: StudyPath, services: FromServices) -> StudySummaryView:
    """Go on after a pause."""
    return StudySummaryView.of(services.studies.resume(study_id))


@router.post(
    "/{study_id}/promote",
    status_code=HTTPStatus.ACCEPTED,
    summary="Promote a study's best trial",
    response_model=ModelView,
    responses={**problems(404, 409, 413, 415, 507), 202: LOCATION},
)
def promote_study(
    study_id: StudyPath,
    services: FromServices,
    key: FromKey,
    caller: FromCaller,
    body: PromotionBody = DEFAULT_PROMOTION,
) -> Response:
    """Ask for a model of a completed study's best trial, or of another trial; the alias moves to it once it is built.

    It is checked before that, and must pass the gates: where one fails, the model is ready, the alias stays, and the
    model's `promotion` says why.
    """
    model = services.models.promote(
        study_id,
        alias=body.alias,
        segment=body.segment,
        fit=Fit(body.fit),
        trial_id=body.trial_id,
        gates=None if body.gates is None else body.gates.over(services.gates.defaults),
        override_reason=body.override_reason,
        asked_by=caller,
        neighbours=None if body.neighbours is None else TableTiming(body.neighbours),
        idempotency=None if key is None else key.once(ModelView.of),
    )
    return answered(model, ModelView.of, status=HTTPStatus.ACCEPTED, collection="/v1/models")
