"""Serving: neighbours, songs and recommendations from whichever model is live, and the plays that players send."""

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from app.domain.errors import InvalidRequest, NotFound, Unavailable
from app.domain.ports import Clock
from app.domain.recommending import (
    MAX_HISTORY_LENGTH,
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
    FallbackReason,
    HistorySource,
    Live,
    LiveModel,
    LiveModels,
    NeighboursAnswer,
    PlaysAnswer,
    Recommendation,
    RecommendationsAnswer,
    SongAnswer,
    SongsAnswer,
)

DEFAULT_ALIAS = "production"

MAX_PLAYS_PER_BATCH = 1_000
MAX_QUERY_LENGTH = 256
MAX_SONGS_PER_PAGE = 100

CLOCK_SKEW_MS = int(MILLISECONDS_PER_DAY)
"""How far ahead of our clock a play may be: a player's clock errs by a time zone, not by years."""

DATABASE_PAUSE_S = 1.0
"""How long no request waits for a database that was just found away."""

SCORE_DECIMALS = 6
"""Decimals of a score in an answer: what a float32 holds."""


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._units = units
        self._live = live
        self._clock = clock
        self._defaults = defaults
        self._monotonic = monotonic
        self._database_away_until = 0.0

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
        sent = self._plays_sent(user_id, limit=options.history_length)
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

    def add_plays(self, plays: Sequence[Play]) -> PlaysAnswer:
        """Store plays, each once by its event id, however late or out of order; they count in the next request.

        Raises: InvalidRequest for an empty or too long batch or a play from the future, Unavailable.
        """
        if not 1 <= len(plays) <= MAX_PLAYS_PER_BATCH:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_PLAYS_PER_BATCH} plays, not {len(plays)}.", pointer="/plays"
            )
        now = self._clock.now()
        latest_ms = _ms(now) + CLOCK_SKEW_MS
        for position, play in enumerate(plays):
            if play.played_at_ms > latest_ms:
                raise InvalidRequest(
                    "played_at is more than a day ahead of the service's clock.", pointer=f"/plays/{position}/played_at"
                )
        with self._units() as unit:
            verdicts = unit.plays.add(plays, received_at=now)
            unit.commit()
        self._database_away_until = 0.0
        n_accepted = sum(verdict is PlayVerdict.ACCEPTED for verdict in verdicts)
        return PlaysAnswer(verdicts=verdicts, n_accepted=n_accepted, n_duplicate=len(verdicts) - n_accepted)

    def _options(self, *, k: int, half_life_days: float | None, history_length: int | None) -> RecommendationOptions:
        return replace(
            self._defaults,
            k=k,
            half_life_days=self._defaults.half_life_days if half_life_days is None else half_life_days,
            history_length=self._defaults.history_length if history_length is None else history_length,
        )

    def _plays_sent(self, user_id: str, *, limit: int) -> list[HeardSong] | None:
        """The user's plays since the import, newest first; None while the database is away."""
        if self._monotonic() < self._database_away_until:
            return None
        try:
            with self._units.reading() as unit:
                return unit.plays.recent(user_id, limit=limit)
        except Unavailable:
            self._database_away_until = self._monotonic() + DATABASE_PAUSE_S
            return None


def _recommend(
    live: Live, history: History, *, options: RecommendationOptions, now: datetime, reason_if_empty: FallbackReason
) -> RecommendationsAnswer:
    model = live.model
    weights = recency_weights(history.played_at_ms, now_ms=_ms(now), half_life_days=options.half_life_days)
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
    now_ms = _ms(now)
    times = [now_ms if play.played_at_ms is None else play.played_at_ms for play in heard]
    played_at_ms = np.array(times, dtype=np.int64)
    is_known = rows >= 0
    unknown = dict.fromkeys(play.song_id for play, known in zip(heard, is_known.tolist(), strict=True) if not known)
    return History(rows[is_known], played_at_ms[is_known]), list(unknown)


def _row(live: Live, song_id: str) -> int:
    row = live.model.row(song_id)
    if row is None:
        raise NotFound("song", song_id)
    return row


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _cursor(model_id: str, row: int) -> str:
    return base64.urlsafe_b64encode(f"{row} {model_id}".encode()).decode()


def _start_of(cursor: str, model_id: str) -> int:
    """The row that a page starts from. Raises: InvalidRequest, also when another model went live between pages."""
    try:
        row, _, of_model = base64.b64decode(cursor[:256], altchars=b"-_", validate=True).decode().partition(" ")
        start = int(row)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("cursor is not one that this list gave.", pointer="cursor") from error
    if of_model != model_id:
        raise InvalidRequest("Another model is live since that page: start from the first.", pointer="cursor")
    return max(0, start)
