"""Serving: neighbours, songs and recommendations from whichever model is live, and the plays that players send."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import InvalidRequest, NotFound, Unavailable
from app.domain.ports import Clock
from app.domain.recommending import (
    MILLISECONDS_PER_DAY,
    HeardSong,
    History,
    Play,
    PlayVerdict,
    RecommendationOptions,
    check_id,
    check_k,
    merged,
    not_heard,
    profile,
    recency_weights,
)
from app.domain.repositories import UnitsOfWork
from app.domain.serving import (
    AliasTarget,
    FallbackReason,
    HistorySource,
    Live,
    LiveModels,
    NeighboursAnswer,
    PlaysAnswer,
    Recommendation,
    RecommendationsAnswer,
    SongAnswer,
    SongsAnswer,
)
from app.services.leasing import artifact_name

DEFAULT_ALIAS = "production"

MAX_PLAYS_PER_BATCH = 1_000
MAX_QUERY_LENGTH = 256
MAX_SONGS_PER_PAGE = 100

CLOCK_SKEW_MS = int(MILLISECONDS_PER_DAY)
"""How far ahead of our clock a play may be: a player's clock errs by a time zone, not by years."""


def alias_targets(units: UnitsOfWork) -> Callable[[], list[AliasTarget]]:
    """What live indexes follow: every alias, its model and where that model's files are."""

    def read() -> list[AliasTarget]:
        with units.reading() as unit:
            return [
                AliasTarget(
                    alias=alias.name,
                    generation=alias.generation,
                    model_id=alias.model_id,
                    files=artifact_name(alias.model_id, unit.models.get(alias.model_id).attempt),
                )
                for alias in unit.aliases.all()
            ]

    return read


class ServingService:
    """What the player asks and tells.

    Loaded models answer without the database. Only a user's plays since the import are in it: while it is away,
    recommendations go by the dataset's history and say so, and new plays are refused.
    """

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        live: LiveModels,
        clock: Clock,
        defaults: RecommendationOptions,
    ) -> None:
        self._units = units
        self._live = live
        self._clock = clock
        self._defaults = defaults

    def neighbours(self, song_id: str, *, k: int = 10, alias: str = DEFAULT_ALIAS) -> NeighboursAnswer:
        """The song's k nearest by the live model. Raises: InvalidRequest, NothingLive, NotFound."""
        check_k(k)
        live = self._live.get(alias)
        return {
            "song_id": song_id,
            "alias": alias,
            "model_id": live.model.model_id,
            "generation": live.generation,
            "neighbours": live.model.neighbours(_row(live, song_id), k),
        }

    def song(self, song_id: str, *, alias: str = DEFAULT_ALIAS) -> SongAnswer:
        """What the live model knows of a song. Raises: NothingLive, NotFound."""
        live = self._live.get(alias)
        return SongAnswer(
            alias=alias,
            model_id=live.model.model_id,
            generation=live.generation,
            song=live.model.song(_row(live, song_id)),
        )

    def songs(
        self, query: str | None = None, *, limit: int = 20, cursor: str | None = None, alias: str = DEFAULT_ALIAS
    ) -> SongsAnswer:
        """Songs with all words of the query in title or artist, most played first; all songs without a query.

        Raises: InvalidRequest, NothingLive.
        """
        if not 1 <= limit <= MAX_SONGS_PER_PAGE:
            raise InvalidRequest(f"limit must be between 1 and {MAX_SONGS_PER_PAGE}, not {limit}.", pointer="limit")
        words = query or ""
        if len(words) > MAX_QUERY_LENGTH:
            raise InvalidRequest(f"query has at most {MAX_QUERY_LENGTH} characters.", pointer="query")
        live = self._live.get(alias)
        start = 0 if cursor is None else _start_of(cursor, live.model.model_id)
        rows = live.model.find(words, start=start, limit=limit + 1)
        has_more = len(rows) > limit
        return SongsAnswer(
            alias=alias,
            model_id=live.model.model_id,
            generation=live.generation,
            songs=[live.model.song(row) for row in rows[:limit]],
            next_cursor=_cursor(live.model.model_id, rows[limit]) if has_more else None,
        )

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
        source: HistorySource = "complete"
        try:
            with self._units.reading() as unit:
                sent = unit.plays.recent(user_id, limit=options.history_length)
        except Unavailable:
            source, sent = "dataset_only", []
        later, unknown = _known(live, sent, now=now)
        histories = [later] if stored is None else [stored, later]
        history = merged(histories, length=options.history_length)
        reason: FallbackReason = "no_known_songs" if unknown else "unknown_user"
        answer = self._recommend(live, history, options=options, now=now, reason_if_empty=reason)
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
        options = self._options(k=k, half_life_days=half_life_days, history_length=history_length)
        live = self._live.get(alias)
        now = self._clock.now()
        heard, unknown = _known(live, history, now=now)
        answer = self._recommend(
            live,
            merged([heard], length=options.history_length),
            options=options,
            now=now,
            reason_if_empty="no_known_songs",
        )
        return replace(answer, unknown_song_ids=unknown)

    def add_plays(self, plays: Sequence[Play]) -> PlaysAnswer:
        """Store plays, each once by its event id, however late or out of order; they count in the next request.

        Raises: InvalidRequest for an empty or too long batch or a play from the future, Unavailable.
        """
        raise NotImplementedError
