"""Recommendations for users, and for whoever heard some songs."""

from dataclasses import fields
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response

from app.api.authorizing import ScopedRoute
from app.api.bodies import StrictRoute
from app.api.dependencies import FromServices, Services, UserPath
from app.api.problems import problems
from app.api.schemas.recommendations import (
    BatchView,
    RecommendationBody,
    RecommendationParameters,
    RecommendationsView,
    UsersBody,
)
from app.api.shadowed import shadowed_recommendations
from app.domain.experiments.experiment import Serving
from app.domain.serving import BatchAnswer, ExperimentRecommendations, RecommendationsAnswer
from app.services.serving import DEFAULT_ALIAS

router = APIRouter(prefix="/v1", tags=["recommendations"], route_class=StrictRoute)


@router.get(
    "/users/{user_id:path}/recommendations",
    summary="Recommend songs for a user",
    response_model=RecommendationsView,
    responses=problems(404, 503),
)
def recommend_for_user(
    user_id: UserPath, which: Annotated[RecommendationParameters, Query()], services: FromServices
) -> Response:
    """Songs near what the user heard, newer plays weighing more; songs heard recently are left out.

    The plays are those of the model's dataset and those sent since. Users that nothing is known of get songs that are
    popular, and the answer says so. Within an `experiment` the user's variant answers, and it is on record that the
    user has seen it; who is not in it gets what everybody gets.
    """
    experiment_id = which.within()
    if experiment_id is not None:
        return _rendered(recommended_within(services, experiment_id, user_id, which))
    answer = shadowed_recommendations(
        services,
        lambda alias: services.recommending.recommendations(
            user_id, alias=alias, by=which.by, wanted=which.wanted(), explain=which.explain, **which.wishes()
        ),
        alias=which.alias,
    )
    return _rendered(answer)


def recommended_within(
    services: Services, experiment_id: str, user_id: str, which: RecommendationParameters
) -> ExperimentRecommendations:
    """What a user is answered in an experiment; what the variant says of serving wins over the request."""
    wishes, wanted = which.wishes(), which.wanted()

    def ask(alias: str, serving: Serving) -> RecommendationsAnswer:
        return services.recommending.recommendations(
            user_id, alias=alias, by=which.by, wanted=wanted, explain=which.explain, **serving.over(wishes)
        )

    found = services.exposing.answered(
        experiment_id,
        user_id,
        ask,
        is_cut_off=lambda answer: answer.history in {"cached", "dataset_only"},
        draft=partial(services.recommending.drafted, k=which.k),
    )
    told = {each.name: getattr(found.answer, each.name) for each in fields(found.answer)}
    return ExperimentRecommendations(**told, experiment=found.experiment)


def written_recommendations(services: Services, user_id: str, k: int) -> bytes:
    """What the route answers a user by the usual alias when nothing but k is said, as JSON."""
    answer = services.shadows.answered(
        DEFAULT_ALIAS,
        lambda alias: services.recommending.written_recommendations(user_id, alias=alias, k=k),
        lambda answer: [song["song_id"] for song in orjson.loads(answer.recommendations)],
    )
    return orjson.dumps(answer, default=orjson.Fragment)


def route_for_users() -> ScopedRoute:
    """The route of `recommend_for_user`."""
    (route,) = (
        route for route in router.routes if isinstance(route, ScopedRoute) and route.endpoint is recommend_for_user
    )
    return route


@router.post(
    "/recommendations",
    summary="Recommend songs for a history or a session",
    response_model=RecommendationsView,
    responses=problems(413, 415, 503),
)
def recommend_for_history(body: RecommendationBody, services: FromServices) -> Response:
    """Songs near those of the history, newer plays weighing more, or of a session, later songs weighing more.

    Nothing is stored, and nothing stored is looked at.
    """
    recommending = services.recommending
    session = body.session

    def ask(alias: str) -> RecommendationsAnswer:
        wanted, explain = body.wanted(), body.explain
        if session is not None:
            return recommending.recommendations_in(
                session, alias=alias, wanted=wanted, explain=explain, **body.wishes()
            )
        return recommending.recommendations_for(
            body.heard(), alias=alias, wanted=wanted, explain=explain, **body.wishes()
        )

    return _rendered(shadowed_recommendations(services, ask, alias=body.alias))


@router.post(
    "/recommendations/batch",
    summary="Recommend songs for many users",
    response_model=BatchView,
    responses=problems(413, 415, 503),
)
def recommend_for_users(body: UsersBody, services: FromServices) -> Response:
    """The same for up to 1,000 users in one answer: each is answered by the model of their segment, or refused."""
    return _rendered(
        services.recommending.recommendations_of(body.user_ids, alias=body.alias, wanted=body.wanted(), **body.wishes())
    )


def _rendered(answer: RecommendationsAnswer | BatchAnswer) -> Response:
    """The answer as its view has it, without building one: that takes longer than all else but the search."""
    return Response(orjson.dumps(answer), media_type="application/json")
