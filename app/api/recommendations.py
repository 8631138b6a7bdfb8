"""Recommendations for users, and for whoever heard some songs."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, UserPath
from app.api.problems import problems
from app.api.schemas.recommendations import RecommendationBody, RecommendationParameters, RecommendationsView
from app.api.shadowed import shadowed_recommendations

router = APIRouter(prefix="/v1", tags=["recommendations"], route_class=StrictRoute)


@router.get(
    "/users/{user_id:path}/recommendations",
    summary="Recommend songs for a user",
    response_model=RecommendationsView,
    responses=problems(503),
)
def recommend_for_user(
    user_id: UserPath, which: Annotated[RecommendationParameters, Query()], services: FromServices
) -> RecommendationsView:
    """Songs near what the user heard, newer plays weighing more; songs heard recently are left out.

    The plays are those of the model's dataset and those sent since. Users that nothing is known of get popular songs,
    and the answer says so.
    """
    answer = shadowed_recommendations(
        services,
        lambda alias: services.recommending.recommendations(
            user_id,
            k=which.k,
            alias=alias,
            half_life_days=which.half_life_days,
            history_length=which.history_length,
        ),
        alias=which.alias,
    )
    return RecommendationsView.of(answer)


@router.post(
    "/recommendations",
    summary="Recommend songs for a history",
    response_model=RecommendationsView,
    responses=problems(413, 415, 503),
)
def recommend_for_history(body: RecommendationBody, services: FromServices) -> RecommendationsView:
    """Songs near those of the history, newer plays weighing more; nothing is stored, nothing stored is looked at."""
    answer = shadowed_recommendations(
        services,
        lambda alias: services.recommending.recommendations_for(
            body.heard(),
            k=body.k,
            alias=alias,
            half_life_days=body.half_life_days,
            history_length=body.history_length,
        ),
        alias=body.alias,
    )
    return RecommendationsView.of(answer)
