"""Serving: neighbours and songs from whichever model is live. None of it touches the database."""

import base64
import binascii
import math
from collections.abc import Sequence

import numpy as np

from app.domain.errors import InvalidRequest, MixCancelsOut, NoKnownSongs, UnknownSong
from app.domain.filtering import Rows, Scores, SongFilter
from app.domain.recommending import LEAST_PROFILE, check_k
from app.domain.serving import (
    SCORE_DECIMALS,
    Live,
    LiveModel,
    LiveModels,
    MixAnswer,
    Neighbour,
    NeighboursAnswer,
    NeighboursBatchAnswer,
    SongAnswer,
    SongAsked,
    SongsAnswer,
    WeightedSong,
    WrittenNeighbours,
)

DEFAULT_ALIAS = "production"

MAX_QUERY_LENGTH = 256
MAX_SONGS_PER_PAGE = 100
MAX_SONGS_PER_BATCH = 1_000

MAX_WEIGHT = 1e6

ALL = SongFilter()


class ServingService:
    """What the player asks of a model alone."""

    def __init__(self, live: LiveModels) -> None:
        self._live = live

    def neighbours(
        self,
        song_id: str,
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        model_id: str | None = None,
        segment: str | None = None,
        wanted: SongFilter = ALL,
    ) -> NeighboursAnswer:
        """The song's k nearest of those wanted, by the live model or another that is live under some alias.

        A segment's own model answers for it if it has one.

        Raises: InvalidRequest, NothingLive, ModelNotLive, UnknownSong.
        """
        live = self._answering(alias, model_id, segment, k=k)
        near = _neighbours(live.model, _row(live, song_id), k=k, wanted=wanted)
        return {**_song_asked(live, song_id), "neighbours": near}

    def written_neighbours(
        self,
        song_id: str,
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        model_id: str | None = None,
        segment: str | None = None,
    ) -> WrittenNeighbours:
        """The same of all songs, written: the hottest path. Raises: as `neighbours`."""
        live = self._answering(alias, model_id, segment, k=k)
        near = live.model.written_neighbours(_row(live, song_id), k)
        return {**_song_asked(live, song_id), "neighbours": near}

    def _answering(self, alias: str, model_id: str | None, segment: str | None, *, k: int) -> Live:
        check_k(k)
        live = self._asked(alias, model_id)
        return live.of(segment) if segment is not None and model_id is None else live

    def neighbours_of(
        self,
        song_ids: Sequence[str],
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        model_id: str | None = None,
        wanted: SongFilter = ALL,
    ) -> NeighboursBatchAnswer:
        """The same of up to 1,000 songs, each once. Raises: InvalidRequest, NothingLive, ModelNotLive."""
        check_k(k)
        _check_batch(song_ids, pointer="/song_ids")
        live = self._asked(alias, model_id)
        asked = list(dict.fromkeys(song_ids))
        rows = live.model.rows(asked).tolist()
        return {
            "alias": live.alias,
            "model_id": live.model.model_id,
            "generation": live.generation,
            "items": [
                {"song_id": song_id, "neighbours": _neighbours(live.model, row, k=k, wanted=wanted)}
                for song_id, row in zip(asked, rows, strict=True)
                if row >= 0
            ],
            "missing_ids": [song_id for song_id, row in zip(asked, rows, strict=True) if row < 0],
        }

    def neighbours_of_mix(
        self,
        positive: Sequence[WeightedSong],
        negative: Sequence[WeightedSong] = (),
        *,
        k: int = 10,
        alias: str = DEFAULT_ALIAS,
        model_id: str | None = None,
        wanted: SongFilter = ALL,
    ) -> MixAnswer:
        """The k songs nearest to the weighted sum of the positive songs' query rows less that of the negative ones'.

        The sum is scaled to length 1. Raises: InvalidRequest, NoKnownSongs, MixCancelsOut, NothingLive, ModelNotLive.
        """
        check_k(k)
        mixed = [*positive, *negative]
        _check_batch(mixed, pointer="/positive")
        if any(not (math.isfinite(song.weight) and 0 < song.weight <= MAX_WEIGHT) for song in mixed):
            raise InvalidRequest(f"A weight is above 0 and at most {MAX_WEIGHT:.0f}.", pointer="/positive")
        live = self._asked(alias, model_id)
        found = live.model.rows([song.song_id for song in mixed])
        is_known = found >= 0
        rows = found[is_known]
        if len(rows) == 0:
            raise NoKnownSongs(f"Model {live.model.model_id!r} knows none of the songs.", pointer="/positive")
        signs = np.repeat([1.0, -1.0], [len(positive), len(negative)])
        weights = (signs * [song.weight for song in mixed])[is_known]
        vector = (weights @ live.model.query_rows(rows) / np.abs(weights).sum()).astype(np.float32)
        length = np.linalg.norm(vector)
        if length < LEAST_PROFILE:
            raise MixCancelsOut("The songs of the mix cancel each other out.", pointer="/positive")
        near, scores = live.model.search_within(vector / length, k, wanted=wanted, excluded=rows)
        return {
            "alias": live.alias,
            "model_id": live.model.model_id,
            "generation": live.generation,
            "neighbours": _told(live.model, near, scores),
            "missing_ids": list(
                dict.fromkeys(song.song_id for song, known in zip(mixed, is_known, strict=True) if not known)
            ),
        }

    def _asked(self, alias: str, model_id: str | None) -> Live:
        return self._live.get(alias) if model_id is None else self._live.of_model(model_id)

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


def _song_asked(live: Live, song_id: str) -> SongAsked:
    return {
        "song_id": song_id,
        "alias": live.alias,
        "model_id": live.model.model_id,
        "generation": live.generation,
    }


def _row(live: Live, song_id: str) -> int:
    row = live.model.row(song_id)
    if row is None:
        raise UnknownSong(song_id, model_id=live.model.model_id)
    return row


def _neighbours(model: LiveModel, row: int, *, k: int, wanted: SongFilter) -> list[Neighbour]:
    if wanted.lets_all_pass:
        return model.neighbours(row, k)
    itself = np.array([row], dtype=np.int64)
    return _told(model, *model.search_within(model.query_rows(itself)[0], k, wanted=wanted, excluded=itself))


def _told(model: LiveModel, rows: Rows, scores: Scores) -> list[Neighbour]:
    answer: list[Neighbour] = []
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        song_id, title, artist = model.names(row)
        told: Neighbour = {
            "song_id": song_id,
            "title": title,
            "artist": artist,
            "score": round(score, SCORE_DECIMALS),
        }
        if model.is_provisional(row):
            told["provisional"] = True
        answer.append(told)
    return answer


def _check_batch(songs: Sequence[object], *, pointer: str) -> None:
    if not 1 <= len(songs) <= MAX_SONGS_PER_BATCH:
        raise InvalidRequest(
            f"A request names between 1 and {MAX_SONGS_PER_BATCH} songs, not {len(songs)}.", pointer=pointer
        )


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
