"""Recommending: songs for a user, by the plays of a model's dataset and those sent since, or for a history given."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from app.domain.errors import InvalidRequest
from app.domain.ports import Clock
from app.domain.recommending import (
    MAX_HISTORY_LENGTH,
    HeardSong,
    History,
    RecommendationOptions,
    check_id,
    epoch_ms,
    merged,
    not_heard,
    profile,
    recency_weights,
)
from app.domain.serving import (
    FallbackReason,
    HistorySource,
    Live,
    LiveModel,
    LiveModels,
    Recommendation,
    RecommendationsAnswer,
)
from app.services.histories import UserHistories
from app.services.serving import DEFAULT_ALIAS

SCORE_DECIMALS = 6
"""Decimals of a score in an answer: what a float32 holds."""


class RecommendingService:
    """Recommendations. While the database is away they go by the dataset's history and say so."""

    def __init__(
        self, histories: UserHistories, *, live: LiveModels, clock: Clock, defaults: RecommendationOptions
    ) -> None:
        self._histories = histories
        self._live = live
        self._clock = clock
        self._defaults = defaults

    def recommendations(
        self,
        user_id: str,
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        half_life_days: float | None = None,
        history_length: int | None = None,
    ) -> RecommendationsAnswer:
        """Songs for a user, by the plays of the model's dataset and those sent since.

        Raises: InvalidRequest, NothingLive.
        """
        check_id(user_id, pointer="user_id")
        options = self._options(k=k, half_life_days=half_life_days, history_length=history_length)
        live = self._live.get(alias)
        now = self._clock.now()
        stored = live.model.history(user_id)
        sent = self._histories.recent(user_id, limit=options.history_length)
        source: HistorySource = "dataset_only" if sent is None else "complete"
        later, unknown = _known(live, sent or [], now=now)
        histories = [later] if stored is None else [stored, later]
        history = merged(histories, length=options.history_length)
        reason: FallbackReason = "unknown_user" if stored is None and not unknown else "no_known_songs"
        answer = _recommend(live, history, options=options, now=now, reason_if_empty=reason)
        return replace(answer, user_id=user_id, history=source, unknown_song_ids=unknown)

    def recommendations_for(
        self,
        history: Sequence[HeardSong],
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        half_life_days: float | None = None,
        history_length: int | None = None,
    ) -> RecommendationsAnswer:
        """Songs for whoever heard these; nothing stored is looked at. Raises: InvalidRequest, NothingLive."""
        if not 1 <= len(history) <= MAX_HISTORY_LENGTH:
            raise InvalidRequest(
                f"A history has between 1 and {MAX_HISTORY_LENGTH} plays, not {len(history)}.", pointer="/history"
            )
        options = self._options(k=k, half_life_days=half_life_days, history_length=history_length)
        live = self._live.get(alias)
        now = self._clock.now()
        heard, unknown = _known(live, history, now=now)
        answer = _recommend(
            live,
            merged([heard], length=options.history_length),
            options=options,
            now=now,
            reason_if_empty="no_known_songs",
        )
        return replace(answer, unknown_song_ids=unknown)

    def _options(self, *, k: int, half_life_days: float | None, history_length: int | None) -> RecommendationOptions:
        return replace(
            self._defaults,
            k=k,
            half_life_days=self._defaults.half_life_days if half_life_days is None else half_life_days,
            history_length=self._defaults.history_length if history_length is None else history_length,
        )


def _recommend(
    live: Live, history: History, *, options: RecommendationOptions, now: datetime, reason_if_empty: FallbackReason
) -> RecommendationsAnswer:
    model = live.model
    weights = recency_weights(history.played_at_ms, now_ms=epoch_ms(now), half_life_days=options.half_life_days)
    vector = profile(model.query_rows(history.songs), weights)
    heard = history.songs[: options.recent_songs_excluded]
    reason: FallbackReason | None = None
    if vector is None:
        reason = "history_cancels_out" if len(history) else reason_if_empty
        popular = np.arange(min(options.k + len(heard), model.n_songs), dtype=np.int64)
        rows, _ = not_heard(popular, np.zeros(len(popular), dtype=np.float32), heard=heard, k=options.k)
        scores: list[float | None] = [None] * len(rows)
    else:
        found, found_scores = model.search(vector, min(options.k + len(heard), model.n_songs))
        rows, nearest = not_heard(found, found_scores, heard=heard, k=options.k)
        scores = [round(score, SCORE_DECIMALS) for score in nearest.tolist()]
    return RecommendationsAnswer(
        alias=live.alias,
        model_id=model.model_id,
        generation=live.generation,
        user_id=None,
        recommendations=[_recommendation(model, row, score) for row, score in zip(rows.tolist(), scores, strict=True)],
        fallback=None if reason is None else "popular",
        reason=reason,
        history="request",
        n_plays_used=0 if vector is None else len(history),
        unknown_song_ids=[],
    )


def _recommendation(model: LiveModel, row: int, score: float | None) -> Recommendation:
    song_id, title, artist = model.names(row)
    return Recommendation(song_id=song_id, title=title, artist=artist, score=score)


def _known(live: Live, heard: Sequence[HeardSong], *, now: datetime) -> tuple[History, list[str]]:
    """The plays of songs that the model knows, and the ids of the other songs, each once, as they come."""
    rows = live.model.rows([play.song_id for play in heard])
    now_ms = epoch_ms(now)
    times = [now_ms if play.played_at_ms is None else play.played_at_ms for play in heard]
    played_at_ms = np.array(times, dtype=np.int64)
    is_known = rows >= 0
    unknown = dict.fromkeys(play.song_id for play, known in zip(heard, is_known.tolist(), strict=True) if not known)
    return History(rows[is_known], played_at_ms[is_known]), list(unknown)
