"""Ask and tell: a team's own trainer asks for trials and reports what it measured."""

from typing import Annotated

from fastapi import APIRouter, Header

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, StudyPath, TrialPath
from app.api.problems import problems
from app.api.schemas.asking import (
    AliveView,
    AskBody,
    AskedTrialView,
    CompletionBody,
    EpochBody,
    FailBody,
    HeartbeatBody,
    LeaseToken,
)
from app.api.schemas.trials import TrialView
from app.domain.tuning.retry import FailureKind

router = APIRouter(prefix="/v1", tags=["trials"], route_class=StrictRoute)

TokenHeader = Annotated[
    LeaseToken, Header(alias="Lease-Token", description="What the client was told when it asked for the trial.")
]

ALIVE = HeartbeatBody()

REFUSALS = problems(404, 409, 413, 415, 507)


@router.post(
    "/studies/{study_id}/trials/ask", summary="Ask for a trial", response_model=AskedTrialView, responses=REFUSALS
)
def ask_for_trial(study_id: StudyPath, body: AskBody, services: FromServices) -> AskedTrialView:
    """A point to train, leased to the client; only of a study whose trainer is `external`.

    A client has one trial at a time: asking again, it gets its unfinished one under a new token, and the former token
    is good no more. So asking may be repeated safely, and takes no `Idempotency-Key`: an answer that was kept would
    keep its token.

    409 with the code `budget_spent`: all trials are with other clients or have ended. Ask again after a while, for a
    client that is lost leaves its trial to the next. `conflict`: the study has ended, or is paused.
    """
    asked = services.asking.ask(study_id, client_id=body.client_id)
    return AskedTrialView.of(asked, services.studies.trial_facts(asked.trial.id))


@router.post(
    "/trials/{trial_id}/heartbeat", summary="Say that a trial goes on", response_model=AliveView, responses=REFUSALS
)
def heartbeat(
    trial_id: TrialPath, token: TokenHeader, services: FromServices, body: HeartbeatBody = ALIVE
) -> AliveView:
    """Extend the lease, and hear whether to go on. 409 with the code `lost_lease`: the trial is another's by now."""
    return AliveView.of(services.asking.heartbeat(trial_id, token, body.of_training()))


@router.post("/trials/{trial_id}/measurements", summary="Report an epoch", response_model=AliveView, responses=REFUSALS)
def report_epoch(trial_id: TrialPath, token: TokenHeader, body: EpochBody, services: FromServices) -> AliveView:
    """Keep the scores after an epoch; extends the lease as a heartbeat does."""
    return AliveView.of(services.asking.measured(trial_id, token, body.reported_epoch()))


@router.post("/trials/{trial_id}/complete", summary="Complete a trial", response_model=TrialView, responses=REFUSALS)
def complete_trial(trial_id: TrialPath, token: TokenHeader, body: CompletionBody, services: FromServices) -> TrialView:
    """Report what the point measures. Told twice under the same token, it counts once, and the first time counts."""
    services.asking.complete(trial_id, token, body.report())
    return TrialView.of_facts(services.studies.trial_facts(trial_id))


@router.post("/trials/{trial_id}/fail", summary="Give a trial up", response_model=TrialView, responses=REFUSALS)
def fail_trial(trial_id: TrialPath, token: TokenHeader, body: FailBody, services: FromServices) -> TrialView:
    """Report that the attempt failed: the point is tried again unless it can never work or its attempts are used up."""
    kind = FailureKind(body.kind)
    services.asking.fail(trial_id, token, reason=body.reason, kind=kind, is_final=body.is_final)
    return TrialView.of_facts(services.studies.trial_facts(trial_id))
