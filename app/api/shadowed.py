"""The two questions that a shadow answers too: neighbours of a song, and recommendations for a user or a history."""

from collections.abc import Callable

import orjson

from app.api.dependencies import Services
from app.domain.serving import NeighboursAnswer, RecommendationsAnswer
from app.services.serving import DEFAULT_ALIAS


def written_neighbours(
    services: Services,
    song_id: str,
    *,
    k: int,
    alias: str = DEFAULT_ALIAS,
    model_id: str | None = None,
    segment: str | None = None,
) -> bytes:
    """The song's neighbours as JSON; its alias's shadow may be asked the same later."""
    answer = services.shadows.answered(
        alias,
        lambda asked: services.serving.written_neighbours(
            song_id, k=k, alias=asked, model_id=model_id, segment=segment
        ),
        lambda answer: [near["song_id"] for near in orjson.loads(answer["neighbours"])],
    )
    return orjson.dumps({**answer, "neighbours": orjson.Fragment(answer["neighbours"])})


def shadowed_neighbours(services: Services, ask: Callable[[str], NeighboursAnswer], *, alias: str) -> NeighboursAnswer:
    """What `ask` answers by an alias; that alias's shadow may be asked the same later."""
    return services.shadows.answered(alias, ask, lambda answer: [near["song_id"] for near in answer["neighbours"]])


def shadowed_recommendations(
    services: Services, ask: Callable[[str], RecommendationsAnswer], *, alias: str
) -> RecommendationsAnswer:
    """What `ask` recommends by an alias; that alias's shadow may be asked the same later."""
    return services.shadows.answered(alias, ask, lambda answer: [song["song_id"] for song in answer.recommendations])
