"""Serving: neighbours and songs from whichever model is live. None of it touches the database."""

import base64
import binascii

from app.domain.errors import InvalidRequest, NotFound
from app.domain.recommending import check_k
from app.domain.serving import Live, LiveModels, NeighboursAnswer, SongAnswer, SongsAnswer

DEFAULT_ALIAS = "production"

MAX_QUERY_LENGTH = 256
MAX_SONGS_PER_PAGE = 100


class ServingService:
    """What the player asks of a model alone."""

    def __init__(self, live: LiveModels) -> None:
        self._live = live

    def neighbours(
        self, song_id: str, *, k: int = 10, alias: str = DEFAULT_ALIAS, segment: str | None = None
    ) -> NeighboursAnswer:
        """The song's k nearest by the live model, a segment's own if it has one.

        Raises: InvalidRequest, NothingLive, NotFound.
        """
        check_k(k)
        live = self._live.get(alias)
        if segment is not None:
            live = live.of(segment)
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


def _row(live: Live, song_id: str) -> int:
    row = live.model.row(song_id)
    if row is None:
        raise NotFound("song", song_id)
    return row


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
