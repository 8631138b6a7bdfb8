"""A model whose geometry is known, users who listen, and the services that take and use what they heard."""

from collections.abc import Callable

import numpy as np

from app.domain.errors import Unavailable
from app.domain.plays import HeardSong, Play, RecentPlays
from app.domain.ports import FollowedListeners
from app.domain.recommending import RecommendationOptions
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import Detail, RecommendationsAnswer, Song
from app.services.histories import UserHistories
from app.services.plays import PlayService
from app.services.recommending import RecommendingService
from tests.fakes.history_cache import DictHistories, FixedListeners
from tests.fakes.live_models import BruteForceModel, FixedModels
from tests.values import NOON, FakeClock

NOW_MS = int(NOON.timestamp() * 1000)
DAY_MS = 86_400_000
N_SONGS = 12


def details(row: int) -> dict[str, Detail]:
    """A third of the songs are in no language, and only the first say how long they are."""
    return {"language": (None, "en", "fr")[0 if row % 3 == 0 else 1 + row % 2], "duration_s": 100 if row < 5 else None}


def angle_model(
    model_id: str = "mdl_a", *, segment_by: str | None = None, **histories: list[HeardSong]
) -> BruteForceModel:
    """Song i lies at 10 i + 0.1 i^2 degrees on a circle: nearest to a song is the one before it, then the one after."""
    angles = np.deg2rad(10.0 * np.arange(N_SONGS) + 0.1 * np.arange(N_SONGS) ** 2)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    songs = [
        Song(
            song_id=f"s{row}",
            title=f"Title {row}",
            artist="Björk" if row % 2 else None,
            n_plays=100 - row,
            details=details(row),
        )
        for row in range(N_SONGS)
    ]
    return BruteForceModel(model_id, songs, vectors, histories=histories, segment_by=segment_by)


class Units:
    """Units of work that can be cut off, and count how often they were asked for."""

    def __init__(self, inner: UnitsOfWork) -> None:
        self.inner = inner
        self.is_away = False
        self.n_asked = 0

    def __call__(self) -> UnitOfWork:
        return self._checked(self.inner)

    def reading(self) -> UnitOfWork:
        return self._checked(self.inner.reading)

    def recent_plays(self, user_id: str, *, limit: int) -> RecentPlays:
        self._check()
        return self.inner.recent_plays(user_id, limit=limit)

    def _checked(self, open_unit: Callable[[], UnitOfWork]) -> UnitOfWork:
        self._check()
        return open_unit()

    def _check(self) -> None:
        self.n_asked += 1
        if self.is_away:
            raise Unavailable("The database cannot be reached.")


class Player:
    """The services that a player talks to, on one model and one database."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        model: BruteForceModel | None = None,
        options: RecommendationOptions | None = None,
        clock: FakeClock | None = None,
        monotonic: Callable[[], float] = lambda: 100.0,
        cache: DictHistories | None = None,
        listeners: FollowedListeners | None = None,
    ) -> None:
        clock = clock or FakeClock()
        live = FixedModels(production=model or angle_model())
        self.models = live
        self.histories = histories = UserHistories(
            units, listeners=listeners or FixedListeners(), cache=cache, monotonic=monotonic, sleep=lambda _s: None
        )
        self.recommending = RecommendingService(
            histories, live=live, clock=clock, defaults=options or RecommendationOptions()
        )
        self.plays = PlayService(histories, clock=clock)

        self.recommendations = self.recommending.recommendations
        self.recommendations_for = self.recommending.recommendations_for
        self.recommendations_in = self.recommending.recommendations_in
        self.add_plays = self.plays.add


def play(event_id: str, song_id: str, *, days_ago: float = 0.0, user_id: str = "u") -> Play:
    return Play(event_id=event_id, user_id=user_id, song_id=song_id, played_at_ms=NOW_MS - int(days_ago * DAY_MS))


def heard(song_id: str, days_ago: float = 0.0) -> HeardSong:
    return HeardSong(song_id, NOW_MS - int(days_ago * DAY_MS))


def ids(answer: RecommendationsAnswer) -> list[str]:
    return [song["song_id"] for song in answer.recommendations]
