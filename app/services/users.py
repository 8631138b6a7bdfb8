"""Users: what is known of one, and how one is forgotten."""

import base64
import binascii
from collections import Counter
from datetime import datetime

from app.domain.errors import InvalidRequest, NotFound
from app.domain.listeners import (
    ErasedUser,
    HeardArtist,
    HeardPage,
    HeardPlay,
    HeardSongCount,
    StoredPlay,
    UserSummary,
)
from app.domain.plays import EventType, check_id
from app.domain.ports import Clock, FollowedListeners
from app.domain.recommending import RecommendationOptions, merged
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import LiveModel, LiveModels
from app.services.hearing import Hearing, known
from app.services.histories import UserHistories
from app.services.ranking import segment_of
from app.services.serving import DEFAULT_ALIAS

N_TOP = 10
"""Songs and artists of a summary."""

MOST_SONGS = 10_000
"""Songs that a summary counts, the most played ones."""

MAX_PLAYS_PER_PAGE = 200


class UserService:
    """Users of the live models and of the plays that were sent."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        histories: UserHistories,
        listeners: FollowedListeners,
        live: LiveModels,
        clock: Clock,
        options: RecommendationOptions,
    ) -> None:
        self._units = units
        self._histories = histories
        self._hearing = Hearing(histories)
        self._listeners = listeners
        self._live = live
        self._clock = clock
        self._options = options

    def summary(self, user_id: str, *, alias: str = DEFAULT_ALIAS) -> UserSummary:
        """What is known of a user. Raises: InvalidRequest, NotFound when nothing is, NothingLive, Unavailable."""
        check_id(user_id, pointer="user_id")
        live = self._live.get(alias)
        model = live.model
        with self._units.reading() as unit:
            counts = unit.plays.counts(user_id, limit=MOST_SONGS)
            n_sent = unit.plays.n_of(user_id)
            recent = unit.plays.recent(user_id, limit=self._options.history_length)
            imported = self._imported(unit, model, user_id)
        if n_sent == 0 and not imported:
            raise NotFound("user", user_id)
        n_by_song = Counter({count.song_id: count.n_plays for count in counts})
        n_by_song.update(play.song_id for play in imported)
        later, _ = known(model, recent, options=self._options)
        stored = self._hearing.of_dataset(model, user_id)
        history = merged([later] if stored is None else [stored, later], length=self._options.history_length)
        segment = segment_of(model, history)
        return UserSummary(
            user_id=user_id,
            alias=live.alias,
            model_id=model.model_id,
            generation=live.generation,
            n_plays=n_sent + len(imported),
            n_plays_sent=n_sent,
            n_plays_of_dataset=len(imported),
            last_played_at_ms=max(
                [count.last_played_at_ms for count in counts] + [play.played_at_ms for play in imported], default=None
            ),
            segment=None if segment is None else model.segments[segment],
            top_songs=_top_songs(model, n_by_song),
            top_artists=_top_artists(model, n_by_song),
        )

    def history(
        self, user_id: str, *, limit: int = 50, cursor: str | None = None, alias: str = DEFAULT_ALIAS
    ) -> HeardPage:
        """A page of the user's plays, those sent and those of the live model's dataset, newest first.

        Raises: InvalidRequest, NothingLive, Unavailable.
        """
        check_id(user_id, pointer="user_id")
        if not 1 <= limit <= MAX_PLAYS_PER_PAGE:
            raise InvalidRequest(f"limit must be between 1 and {MAX_PLAYS_PER_PAGE}, not {limit}.", pointer="limit")
        before = None if cursor is None else _place_of(cursor)
        model = self._live.get(alias).model
        with self._units.reading() as unit:
            sent = unit.plays.page(user_id, limit=limit + 1, before=None if before is None else _sent_before(before))
            imported = self._imported(unit, model, user_id)
        plays = [_told(model, play) for play in sent]
        plays += [play for play in imported if before is None or _place(play) < before]
        plays.sort(key=_place, reverse=True)
        page = plays[:limit]
        return HeardPage(plays=page, next_cursor=_cursor(page[-1]) if len(plays) > limit else None)

    def erase(self, user_id: str) -> ErasedUser:
        """Forget a user: every play and exposure, what is cached, and the history in every model, now and later.

        Doing it again is harmless. Plays after this instant count as those of a new user. Raises: InvalidRequest,
        Unavailable.
        """
        check_id(user_id, pointer="user_id")
        at = self._clock.now()
        n_plays, n_exposures = self._histories.change({user_id}, lambda unit: _erase(unit, user_id, at), alone=True)
        self._listeners.look()
        return ErasedUser(user_id=user_id, erased_at=at, n_plays_erased=n_plays, n_exposures_erased=n_exposures)

    def _imported(self, unit: UnitOfWork, model: LiveModel, user_id: str) -> list[HeardPlay]:
        """The plays of the model's dataset that were not sent too, newest first."""
        stored = self._hearing.of_dataset(model, user_id)
        if stored is None:
            return []
        plays: list[HeardPlay] = []
        for row, at_ms in zip(stored.songs[::-1].tolist(), stored.played_at_ms[::-1].tolist(), strict=True):
            song_id, title, artist = model.names(row)
            plays.append(
                HeardPlay(song_id=song_id, title=title, artist=artist, played_at_ms=at_ms, event_type=EventType.PLAY)
            )
        sent_too = unit.plays.among(user_id, {(play.song_id, play.played_at_ms) for play in plays})
        return [play for play in plays if (play.song_id, play.played_at_ms) not in sent_too]


def _erase(unit: UnitOfWork, user_id: str, at: datetime) -> tuple[int, int]:
    """How many plays and how many exposures there were."""
    unit.listeners.erase(user_id, at=at)
    return unit.plays.delete_of(user_id), unit.exposures.delete_of(user_id)


def _top_songs(model: LiveModel, n_by_song: Counter[str]) -> list[HeardSongCount]:
    top = sorted(n_by_song.items(), key=lambda counted: (-counted[1], counted[0]))[:N_TOP]
    found: list[HeardSongCount] = []
    for song_id, n_plays in top:
        row = model.row(song_id)
        _, title, artist = (song_id, None, None) if row is None else model.names(row)
        found.append(HeardSongCount(song_id=song_id, title=title, artist=artist, n_plays=n_plays))
    return found


def _top_artists(model: LiveModel, n_by_song: Counter[str]) -> list[HeardArtist]:
    song_ids = list(n_by_song)
    n_by_artist: Counter[str] = Counter()
    for song_id, row in zip(song_ids, model.rows(song_ids).tolist(), strict=True):
        artist = None if row < 0 else model.names(row)[2]
        if artist is not None:
            n_by_artist[artist] += n_by_song[song_id]
    top = sorted(n_by_artist.items(), key=lambda counted: (-counted[1], counted[0]))[:N_TOP]
    return [HeardArtist(artist=artist, n_plays=n_plays) for artist, n_plays in top]


def _told(model: LiveModel, play: StoredPlay) -> HeardPlay:
    row = model.row(play.song_id)
    _, title, artist = (play.song_id, None, None) if row is None else model.names(row)
    return HeardPlay(
        song_id=play.song_id,
        title=title,
        artist=artist,
        played_at_ms=play.played_at_ms,
        event_type=EventType(play.event_type),
        event_id=play.event_id,
        seconds_streamed=play.seconds_streamed,
        duration_s=play.duration_s,
        attribution=play.attribution,
    )


# Pages: by instant, then plays sent before those of the dataset, then by event or song id, all descending

Place = tuple[int, int, str]


def _place(play: HeardPlay) -> Place:
    if play.event_id is None:
        return play.played_at_ms, 0, play.song_id
    return play.played_at_ms, 1, play.event_id


def _sent_before(before: Place) -> tuple[int, str]:
    """The instant and event id that plays sent come before: of the cursor's instant none follow a dataset's play."""
    at_ms, is_sent, identity = before
    return at_ms, identity if is_sent else ""


def _cursor(play: HeardPlay) -> str:
    at_ms, is_sent, identity = _place(play)
    return base64.urlsafe_b64encode(f"{at_ms} {is_sent} {identity}".encode()).decode()


def _place_of(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor[:2048], altchars=b"-_", validate=True).decode()
        at_ms, is_sent, identity = text.split(" ", 2)
        return int(at_ms), int(is_sent), identity
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("cursor is not one that this list gave.", pointer="cursor") from error
