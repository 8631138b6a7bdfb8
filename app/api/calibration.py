"""The ledger: what offline differences foretold of online lifts."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices
from app.api.schemas.calibration import LedgerParameters, LedgerView

router = APIRouter(prefix="/v1", tags=["experiments"], route_class=StrictRoute)


@router.get("/calibration", summary="See what offline differences foretell", response_model=LedgerView)
def see_calibration(asked: Annotated[LedgerParameters, Query()], services: FromServices) -> LedgerView:
    """Every finished experiment's offline difference on identical test pairs beside the online lift of its goal.

    Overall and by segment, with the rank correlation over all of them and its uncertainty. With too few experiments
    nothing is predicted, and it is said how many it takes.
    """
    return LedgerView.of(services.calibration.ledger(limit=asked.limit, cursor=asked.cursor), asked)
