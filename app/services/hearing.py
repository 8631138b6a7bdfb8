"""Hearing: what an answer rests on, by a model: the plays of songs that it knows, and the songs that are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import Unavailable
from app.domain.filtering import SongFilter
from app.domain.plays import EVENT_NUMBERS, NO_PLAYS, EventType, RecentPlays
from app.domain.recommending import MILLISECONDS_PER_DAY, History, RecommendationOptions, merged, strengths
from app.domain.serving import FallbackReason, HistorySource, LiveModel
from app.services.histories import Found, UserHistories

NO_HISTORY = History(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

PLAY = EVENT_NUMBERS[EventType.PLAY]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one answer rests on: the plays of songs that the model knows, and the rows that are left out."""

    history: History
    source: HistorySource
    unknown_song_ids: list[str]
    reason_if_empty: FallbackReason
    excluded: NDArray[np.int64]
    wanted: SongFilter
    user_id: str | None = None


class Hearing:
    """What is known of stored users, by the dataset of a model and the plays sent since.

    While the database is away it is what the cache holds, or the dataset's history alone; who is in neither is refused,
    for nothing tells a new user from one whose plays cannot be read.
    """

    def __init__(self, histories: UserHistories) -> None:
        self._histories = histories

    def of_users(
        self,
        model: LiveModel,
        user_ids: Sequence[str],
        *,
        found: Mapping[str, Found],
        options: RecommendationOptions,
        wanted: SongFilter,
        now_ms: int,
    ) -> dict[str, Heard]:
        """What the answer to each of them rests on, by one look-up of all songs. Raises: Unavailable."""
        told = (plays.plays for plays in found.values() if plays.plays is not None)
        song_ids = list({song_id for plays in told for song_id in plays.song_ids})
        row_of = dict(zip(song_ids, model.rows(song_ids).tolist(), strict=True))
        nothing = Found(NO_PLAYS, "complete")
        return {
            user_id: self.of_user(
                model,
                user_id,
                found.get(user_id, nothing),
                options=options,
                wanted=wanted,
                now_ms=now_ms,
                row_of=row_of,
            )
            for user_id in user_ids
        }

    def of_user(
        self,
        model: LiveModel,
        user_id: str,
        found: Found,
        *,
        options: RecommendationOptions,
        wanted: SongFilter,
        now_ms: int,
        row_of: Mapping[str, int] | None = None,
    ) -> Heard:
        """What an answer to a stored user rests on. Raises: Unavailable."""
        stored = self.of_dataset(model, user_id)
        if stored is not None:
            stored = stored.weighing(options.event_weights[PLAY])
        if found.plays is None and stored is None:
            raise Unavailable("The database cannot be reached, and nothing else is known of this user.")
        sent = NO_PLAYS if found.plays is None else found.plays
        later, unknown = known(model, sent, options=options, row_of=row_of)
        history = merged([later] if stored is None else [stored, later], length=options.history_length)
        return Heard(
            history=history,
            source=found.source,
            unknown_song_ids=unknown,
            reason_if_empty="unknown_user" if stored is None and not unknown else "no_known_songs",
            excluded=_with_unwanted(
                self._seen(model, user_id, history, stored, sent, options=options, now_ms=now_ms), model, wanted
            ),
            wanted=wanted,
            user_id=user_id,
        )

    def of_dataset(self, model: LiveModel, user_id: str) -> History | None:
        """The user's plays in the model's dataset, but for those before an erasure; None when it has none."""
        stored = model.history(user_id)
        if stored is None:
            return None
        erased_at_ms = self._histories.erased_at_ms(user_id)
        if erased_at_ms is None:
            return stored
        kept = stored.since(erased_at_ms)
        return kept if len(kept) else None

    def _seen(
        self,
        model: LiveModel,
        user_id: str,
        history: History,
        stored: History | None,
        sent: RecentPlays,
        *,
        options: RecommendationOptions,
        now_ms: int,
    ) -> NDArray[np.int64]:
        """The songs heard that are not recommended again."""
        seen = options.exclude_seen
        if seen == "recent":
            return history.songs[: options.recent_songs_excluded]
        if seen == "none":
            return np.empty(0, dtype=np.int64)
        since_ms = 0 if seen == "all" else now_ms - int(seen * MILLISECONDS_PER_DAY)
        imported = np.empty(0, dtype=np.int64) if stored is None else stored.since(since_ms - 1).songs
        song_ids = [sent.song_ids[place] for place in np.flatnonzero(sent.played_at_ms >= since_ms).tolist()]
        if not sent.is_whole and len(song_ids) == len(sent):
            # While the database is away, what is remembered of the user has to do.
            found = self._histories.songs_since(user_id, since_ms=since_ms)
            song_ids = song_ids if found is None else found
        return np.unique(np.concatenate([imported, _known_rows(model, song_ids)]))


def given(
    model: LiveModel, plays: RecentPlays, wanted: SongFilter, *, options: RecommendationOptions, now_ms: int
) -> Heard:
    """What an answer to plays that the request gives itself rests on."""
    heard, unknown = known(model, plays, options=options)
    history = merged([heard], length=options.history_length)
    seen = options.exclude_seen
    if seen == "recent":
        excluded = history.songs[: options.recent_songs_excluded]
    elif seen == "none":
        excluded = np.empty(0, dtype=np.int64)
    else:
        excluded = heard.since(-1 if seen == "all" else now_ms - int(seen * MILLISECONDS_PER_DAY) - 1).songs
    return Heard(
        history=history,
        source="request",
        unknown_song_ids=unknown,
        reason_if_empty="no_known_songs",
        excluded=_with_unwanted(excluded, model, wanted),
        wanted=wanted,
    )


def known(
    model: LiveModel,
    plays: RecentPlays,
    *,
    options: RecommendationOptions,
    row_of: Mapping[str, int] | None = None,
) -> tuple[History, list[str]]:
    """The plays of songs that the model knows, and the ids of the other songs, each once, as they come."""
    if len(plays) == 0:
        return NO_HISTORY, []
    rows = (
        model.rows(plays.song_ids)
        if row_of is None
        else np.array([row_of[song_id] for song_id in plays.song_ids], dtype=np.int64)
    )
    weights = strengths(plays, durations_s=model.durations_s(rows), options=options)
    is_known = rows >= 0
    unknown = dict.fromkeys(plays.song_ids[place] for place in np.flatnonzero(~is_known).tolist())
    return History(rows[is_known], plays.played_at_ms[is_known], plays.events[is_known], weights[is_known]), list(
        unknown
    )


def _with_unwanted(seen: NDArray[np.int64], model: LiveModel, wanted: SongFilter) -> NDArray[np.int64]:
    return np.concatenate([seen, _known_rows(model, wanted.exclude)]) if wanted.exclude else seen


def _known_rows(model: LiveModel, song_ids: Sequence[str]) -> NDArray[np.int64]:
    if not song_ids:
        return np.empty(0, dtype=np.int64)
    rows = model.rows(song_ids)
    return rows[rows >= 0]
