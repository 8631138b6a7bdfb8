"""Users: what is known of them, and how they are forgotten."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, UserPath
from app.api.problems import problems
from app.api.schemas.songs import AliasParameters
from app.api.schemas.users import ErasedUserView, HeardPageView, HistoryParameters, NoParameters, UserView

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=StrictRoute)


@router.get(
    "/{user_id:path}/plays", summary="List a user's plays", response_model=HeardPageView, responses=problems(404, 503)
)
def list_plays(
    user_id: UserPath, which: Annotated[HistoryParameters, Query()], services: FromServices
) -> HeardPageView:
    """The plays sent and those of the live model's dataset, newest first; none for a user that nothing is known of."""
    return HeardPageView.of(services.users.history(user_id, limit=which.limit, cursor=which.cursor, alias=which.alias))


@router.get("/{user_id:path}", summary="See a user", response_model=UserView, responses=problems(404, 503))
def get_user(user_id: UserPath, which: Annotated[AliasParameters, Query()], services: FromServices) -> UserView:
    """What is known of a user: how much was played and when last, the segment, the songs and artists played most."""
    return UserView.of(services.users.summary(user_id, alias=which.alias))


@router.delete("/{user_id:path}", summary="Erase a user", response_model=ErasedUserView, responses=problems(404, 503))
def erase_user(user_id: UserPath, _which: Annotated[NoParameters, Query()], services: FromServices) -> ErasedUserView:
    """Forget a user everywhere: plays sent, exposures, what is cached, and the history in every model, on every server.

    Doing it again is harmless. Models keep their files, but no server uses a user's plays of before the erasure again,
    whichever model or dataset they come with; plays of before that are sent later are rejected, later ones count.
    Delete the user from the files that datasets are made of too, for their next import.
    """
    return ErasedUserView.of(services.users.erase(user_id))
