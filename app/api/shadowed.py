"""The two questions that a shadow answers too: neighbours of a song, and recommendations for a user or a history."""

from collections.abc import Callable

from app.api.dependencies import Services
from app.domain.serving import NeighboursAnswer, RecommendationsAnswer
from app.services.serving import DEFAULT_ALIAS


def shadowed_neighbours(
    services: Services, song_id: str, *, k: int, alias: str = DEFAULT_ALIAS, segment: str | None = None
) -> NeighboursAnswer:
    """The song's neighbours; its alias's shadow may be asked the same later."""
    return shadowed_neighbours_by(
        services,
        lambda asked: services.serving.neighbours(song_id, k=k, alias=asked, segment=segment),
        alias=alias,
    )


def shadowed_neighbours_by(
    services: Services, ask: Callable[[str], NeighboursAnswer], *, alias: str
) -> NeighboursAnswer:
    """What `ask` answers by an alias; that alias's shadow may be asked the same later."""
    return services.shadows.answered(alias, ask, lambda answer: [near["song_id"] for near in answer["neighbours"]])


def shadowed_recommendations(
    services: Services, ask: Callable[[str], RecommendationsAnswer], *, alias: str
) -> RecommendationsAnswer:
    """What `ask` recommends by an alias; that alias's shadow may be asked the same later."""
    return services.shadows.answered(alias, ask, lambda answer: [song["song_id"] for song in answer.recommendations])
