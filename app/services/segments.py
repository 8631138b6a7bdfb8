"""Segments of users: the one that most of their recent plays have, by the model that is live under an alias.

Experiments note it at a user's first exposure, so it is always by the alias that everybody has and never by a variant:
what a variant does must not decide into which segment its users fall.
"""

from collections import Counter
from collections.abc import Sequence

from app.domain.filtering import text_of
from app.domain.plays import NO_PLAYS, RecentPlays
from app.domain.recommending import History, RecommendationOptions, merged
from app.domain.serving import LiveModel, LiveModels
from app.services.hearing import Hearing, known
from app.services.histories import UserHistories
from app.services.ranking import segment_of

LONGEST = 256
"""Characters of a segment that are kept."""


class UserSegments:
    """See the module header. `by` is the segments of the model's dataset (True), a column of its songs, or nothing."""

    def __init__(
        self,
        histories: UserHistories,
        *,
        live: LiveModels,
        options: RecommendationOptions,
    ) -> None:
        self._histories = histories
        self._hearing = Hearing(histories)
        self._live = live
        self._options = options

    def of(self, user_id: str, *, alias: str, by: bool | str, at_ms: int) -> str | None:
        """The user's segment by what was heard up to an instant; None without one. Raises: NothingLive, Unavailable."""
        if by is False:
            return None
        model = self._live.get(alias).model
        found = self._histories.recent(user_id, limit=self._options.history_length)
        plays = NO_PLAYS if found.plays is None else found.plays
        return self._segment(model, user_id, plays, by=by, at_ms=at_ms)

    def of_many(self, at_ms_of: dict[str, int], *, alias: str, by: bool | str) -> dict[str, str | None]:
        """The same of many users, each at an instant of their own. Raises: NothingLive, Unavailable."""
        if by is False:
            return dict.fromkeys(at_ms_of)
        model = self._live.get(alias).model
        plays_of = self._histories.recent_of(list(at_ms_of), limit=self._options.history_length)
        return {
            user_id: self._segment(model, user_id, plays_of.get(user_id, NO_PLAYS), by=by, at_ms=at_ms)
            for user_id, at_ms in at_ms_of.items()
        }

    def _segment(self, model: LiveModel, user_id: str, plays: RecentPlays, *, by: bool | str, at_ms: int) -> str | None:
        sent, _ = known(model, plays, options=self._options)
        stored = self._hearing.of_dataset(model, user_id)
        history = merged([sent] if stored is None else [stored, sent], length=self._options.history_length)
        history = _until(history, at_ms)
        if isinstance(by, str):
            found = _most_frequent(_values(model, history.songs.tolist(), by))
        else:
            number = segment_of(model, history)
            found = None if number is None else model.segments[number]
        return None if found is None else found[:LONGEST]


def _until(history: History, at_ms: int) -> History:
    is_earlier = history.played_at_ms <= at_ms
    return History(history.songs[is_earlier], history.played_at_ms[is_earlier])


def _values(model: LiveModel, rows: Sequence[int], column: str) -> list[str | None]:
    """What the songs have in a column, as filters write it."""
    value_of = {}
    for row in set(rows):
        song = model.song(row)
        value_of[row] = text_of(song.artist if column == "artist" else song.details.get(column))
    return [value_of[row] for row in rows]


def _most_frequent(values: Sequence[str | None]) -> str | None:
    """Of equally frequent ones the one heard last; values are newest first."""
    counts = Counter(value for value in values if value is not None)
    return max(counts, key=lambda value: counts[value], default=None)
