"""Recommending: songs for a user, by the plays of a model's dataset and those sent since, or for plays given."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from app.domain.attribution import Attribution
from app.domain.errors import InvalidRequest
from app.domain.filtering import SongFilter
from app.domain.plays import EVENT_NUMBERS, EventType, HeardSong, RecentPlays, check_id, heard_plays
from app.domain.ports import Clock
from app.domain.recommending import (
    MAX_HISTORY_LENGTH,
    MAX_SESSION_LENGTH,
    RecommendationOptions,
    Wishes,
    epoch_ms,
    last_session,
    wished,
)
from app.domain.serving import (
    BatchAnswer,
    FallbackReason,
    Live,
    LiveModel,
    LiveModels,
    NeighboursAnswer,
    Recommendation,
    RecommendationsAnswer,
    Recommended,
    UserRefused,
    WrittenRecommendations,
)
from app.services.drafting import drafted
from app.services.hearing import Heard, Hearing, given
from app.services.histories import Found, UserHistories
from app.services.ranking import (
    CANDIDATES_PER_SONG,
    Search,
    Tell,
    Weighed,
    explained,
    narrows,
    ranked,
    segment_of,
    told,
    weighed,
    weighed_session,
    written,
)
from app.services.serving import DEFAULT_ALIAS

MAX_USERS_PER_BATCH = 1_000

USERS_SEARCHED_AT_ONCE = 256
"""Users whose songs are searched in one product: more are no quicker, and take more memory."""

PLAY = EVENT_NUMBERS[EventType.PLAY]

EVERY_SONG = SongFilter()

T = TypeVar("T")

By = Literal["profile", "session"]
"""Whether all of the history counts, or its last session alone."""


class RecommendingService:
    """Recommendations.

    While the database is away they go by the cache, or by the dataset's history alone, and say so; who is in neither
    is refused, for nothing tells a new user from one whose plays cannot be read.
    """

    def __init__(
        self,
        histories: UserHistories,
        *,
        live: LiveModels,
        clock: Clock,
        defaults: RecommendationOptions,
        new_nonce: Callable[[], str] = lambda: f"{random.getrandbits(96):024x}",  # no secret: see `attribution`
        draws: np.random.Generator | None = None,
    ) -> None:
        self._histories = histories
        self._hearing = Hearing(histories)
        self._live = live
        self._clock = clock
        self._defaults = defaults
        self._new_nonce = new_nonce
        self._draws = np.random.default_rng() if draws is None else draws

    def recommendations(
        self,
        user_id: str,
        *,
        alias: str = DEFAULT_ALIAS,
        by: By = "profile",
        wanted: SongFilter = EVERY_SONG,
        explain: bool = False,
        **wishes: Unpack[Wishes],
    ) -> RecommendationsAnswer:
        """Songs for a user, by the plays of the model's dataset and those sent since.

        Raises: InvalidRequest, NothingLive, Unavailable.
        """
        return self._for_user(user_id, alias=alias, by=by, wanted=wanted, tell=_telling(explain), wishes=wishes)

    def written_recommendations(self, user_id: str, *, alias: str = DEFAULT_ALIAS, k: int) -> WrittenRecommendations:
        """The same where nothing else is wished for, the songs written. Raises: as `recommendations`."""
        return self._for_user(user_id, alias=alias, by="profile", wanted=EVERY_SONG, tell=written, wishes={"k": k})

    def _for_user(
        self, user_id: str, *, alias: str, by: By, wanted: SongFilter, tell: Tell[T], wishes: Wishes
    ) -> Recommended[T]:
        check_id(user_id, pointer="user_id")
        options = wished(self._defaults, wishes)
        live = self._live.get(alias)
        wanted.demand_columns(live.model.columns)
        now_ms = epoch_ms(self._clock.now())
        found = self._histories.recent(user_id, limit=options.history_length)
        live, heard = _by_segment(
            live,
            wanted,
            lambda model: self._hearing.of_user(model, user_id, found, options=options, wanted=wanted, now_ms=now_ms),
        )
        return self._answered(live, heard, by=by, options=options, tell=tell, now_ms=now_ms)

    def recommendations_of(
        self,
        user_ids: Sequence[str],
        *,
        alias: str = DEFAULT_ALIAS,
        wanted: SongFilter = EVERY_SONG,
        **wishes: Unpack[Wishes],
    ) -> BatchAnswer:
        """The same for up to 1,000 users, as one alias is at one moment, each answered or refused.

        Raises: InvalidRequest, NothingLive, Unavailable.
        """
        if not 1 <= len(user_ids) <= MAX_USERS_PER_BATCH:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_USERS_PER_BATCH} users, not {len(user_ids)}.", pointer="/user_ids"
            )
        options = wished(self._defaults, wishes)
        live = self._live.get(alias)
        wanted.demand_columns(live.model.columns)
        refused = _refused(user_ids)
        taken = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in refused]
        answers: dict[str, RecommendationsAnswer | UserRefused] = dict(refused)
        for start in range(0, len(taken), USERS_SEARCHED_AT_ONCE):
            some = taken[start : start + USERS_SEARCHED_AT_ONCE]
            answers |= self._answered_together(live, some, options=options, wanted=wanted)
        return BatchAnswer(
            alias=live.alias,
            model_id=live.model.model_id,
            generation=live.generation,
            answers=[answers[user_id] for user_id in user_ids],
        )

    def recommendations_for(
        self,
        history: Sequence[HeardSong],
        *,
        alias: str = DEFAULT_ALIAS,
        wanted: SongFilter = EVERY_SONG,
        explain: bool = False,
        **wishes: Unpack[Wishes],
    ) -> RecommendationsAnswer:
        """Songs for whoever heard these; nothing stored is looked at. Raises: InvalidRequest, NothingLive."""
        if not 1 <= len(history) <= MAX_HISTORY_LENGTH:
            raise InvalidRequest(
                f"A history has between 1 and {MAX_HISTORY_LENGTH} plays, not {len(history)}.", pointer="/history"
            )
        options = wished(self._defaults, wishes)
        now_ms = epoch_ms(self._clock.now())
        plays = heard_plays(history, now_ms=now_ms)
        return self._by_given(
            plays, by="profile", alias=alias, wanted=wanted, explain=explain, options=options, now_ms=now_ms
        )

    def recommendations_in(
        self,
        session: Sequence[str],
        *,
        alias: str = DEFAULT_ALIAS,
        wanted: SongFilter = EVERY_SONG,
        explain: bool = False,
        **wishes: Unpack[Wishes],
    ) -> RecommendationsAnswer:
        """Songs that go on with a session, given in the order it was heard. Raises: InvalidRequest, NothingLive."""
        if not 1 <= len(session) <= MAX_SESSION_LENGTH:
            raise InvalidRequest(
                f"A session has between 1 and {MAX_SESSION_LENGTH} songs, not {len(session)}.", pointer="/session"
            )
        options = wished(self._defaults, wishes)
        now_ms = epoch_ms(self._clock.now())
        # A millisecond apart, so that no song that was heard twice is taken for one play, and their order is kept.
        plays = heard_plays(
            [HeardSong(song_id, now_ms - place) for place, song_id in enumerate(reversed(session))], now_ms=now_ms
        )
        return self._by_given(
            plays, by="session", alias=alias, wanted=wanted, explain=explain, options=options, now_ms=now_ms
        )

    def drafted(
        self, experiment_id: str, first: RecommendationsAnswer, second: RecommendationsAnswer, *, k: int
    ) -> RecommendationsAnswer:
        """One answer of two variants', each song with the token of whose it is."""
        return drafted(first, second, experiment_id=experiment_id, k=k, draws=self._draws)

    def attribution(self, answer: NeighboursAnswer) -> str:
        """The token by which plays name an answer of neighbours, given now."""
        return self._token(answer["alias"], answer["model_id"], answer["generation"], epoch_ms(self._clock.now()))

    def _token(self, alias: str, model_id: str, generation: int, now_ms: int) -> str:
        return Attribution(alias, model_id, generation, issued_at_ms=now_ms, nonce=self._new_nonce()).token

    # Answers

    def _by_given(
        self,
        plays: RecentPlays,
        *,
        by: By,
        alias: str,
        wanted: SongFilter,
        explain: bool,
        options: RecommendationOptions,
        now_ms: int,
    ) -> RecommendationsAnswer:
        live = self._live.get(alias)
        wanted.demand_columns(live.model.columns)
        live, heard = _by_segment(
            live, wanted, lambda model: given(model, plays, wanted, options=options, now_ms=now_ms)
        )
        return self._answered(live, heard, by=by, options=options, tell=_telling(explain), now_ms=now_ms)

    def _answered(
        self, live: Live, heard: Heard, *, by: By, options: RecommendationOptions, tell: Tell[T], now_ms: int
    ) -> Recommended[T]:
        asked = (
            weighed(live.model, heard.history, options=options, now_ms=now_ms)
            if by == "profile"
            else weighed_session(live.model, last_session(heard.history))
        )
        return self._ranked(live, heard, asked, options=options, tell=tell, now_ms=now_ms)

    def _ranked(
        self,
        live: Live,
        heard: Heard,
        asked: Weighed,
        *,
        options: RecommendationOptions,
        tell: Tell[T],
        now_ms: int,
        search: Search | None = None,
    ) -> Recommended[T]:
        model = live.model
        segment = segment_of(model, heard.history)
        found, used = ranked(
            model,
            asked,
            heard.history,
            excluded=heard.excluded,
            wanted=heard.wanted,
            segment=segment,
            options=options,
            search=search,
        )
        first = found.steps[0][0] if found.steps else asked.basis if used is not None else "popular"
        fallback = None if first in {asked.basis, "profile"} else first
        reason: FallbackReason | None = None
        if fallback is not None:
            reason = "history_cancels_out" if len(heard.history) else heard.reason_if_empty
        return Recommended(
            alias=live.alias,
            model_id=model.model_id,
            generation=live.generation,
            user_id=heard.user_id,
            recommendations=tell(model, found, used),
            steps=[{"basis": basis, "n_songs": n_songs} for basis, n_songs in found.steps],
            fallback=fallback,
            reason=reason,
            history=heard.source,
            segment=None if segment is None else model.segments[segment],
            n_plays_used=0 if used is None else len(used.songs),
            unknown_song_ids=heard.unknown_song_ids,
            attribution=self._token(live.alias, model.model_id, live.generation, now_ms),
        )

    def _answered_together(
        self, live: Live, user_ids: Sequence[str], *, options: RecommendationOptions, wanted: SongFilter
    ) -> dict[str, RecommendationsAnswer]:
        """Each user's answer: one read of SQL, and by each model that some of them have one search."""
        now_ms = epoch_ms(self._clock.now())
        found = {
            user_id: Found(plays, "complete")
            for user_id, plays in self._histories.recent_of(user_ids, limit=options.history_length).items()
        }
        asked = partial(self._hearing.of_users, found=found, options=options, wanted=wanted, now_ms=now_ms)
        heard_by = asked(live.model, user_ids)
        users_of: dict[str | None, list[str]] = {}
        for user_id, heard in heard_by.items():
            number = segment_of(live.model, heard.history) if live.segments else None
            segment = None if number is None else live.model.segments[number]
            users_of.setdefault(segment if segment in live.segments else None, []).append(user_id)
        answers: dict[str, RecommendationsAnswer] = {}
        for segment, users in users_of.items():
            own = live.of(segment)
            wanted.demand_columns(own.model.columns)
            theirs = {user_id: heard_by[user_id] for user_id in users} if own is live else asked(own.model, users)
            answers |= self._ranked_together(own, theirs, options=options, wanted=wanted, now_ms=now_ms)
        return answers

    def _ranked_together(
        self,
        live: Live,
        heard_by: Mapping[str, Heard],
        *,
        options: RecommendationOptions,
        wanted: SongFilter,
        now_ms: int,
    ) -> dict[str, RecommendationsAnswer]:
        asked_by = {
            user_id: weighed(live.model, heard.history, options=options, now_ms=now_ms)
            for user_id, heard in heard_by.items()
        }
        searches = {} if narrows(wanted) else _searched_together(live.model, heard_by, asked_by, options=options)
        return {
            user_id: self._ranked(
                live,
                heard,
                asked_by[user_id],
                options=options,
                tell=told,
                now_ms=now_ms,
                search=searches.get(user_id),
            )
            for user_id, heard in heard_by.items()
        }


def _searched_together(
    model: LiveModel,
    heard_by: Mapping[str, Heard],
    asked_by: Mapping[str, Weighed],
    *,
    options: RecommendationOptions,
) -> dict[str, Search]:
    """The searches of all users who have a profile, done at once."""
    directed = {user_id: asked.vector for user_id, asked in asked_by.items() if asked.vector is not None}
    if not directed:
        return {}
    n_candidates = options.k if options.mmr_lambda == 1 else options.k * CANDIDATES_PER_SONG
    widest = max(len(heard_by[user_id].excluded) for user_id in directed)
    rows, scores = model.search_many(
        np.stack([vector for vector in directed.values()]), min(n_candidates + widest, model.n_songs)
    )
    return {user_id: _done(rows[place], scores[place]) for place, user_id in enumerate(directed)}


def _done(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> Search:
    """A search that was done already."""
    return lambda _vector, k: (rows[:k], scores[:k])


def _telling(explain: bool) -> Tell[list[Recommendation]]:
    return explained if explain else told


def _by_segment(live: Live, wanted: SongFilter, heard_by: Callable[[LiveModel], Heard]) -> tuple[Live, Heard]:
    """The model that the user's segment has of its own under the alias, if it has one, and what it knows of the user.

    The segment is that of the default model's songs.
    """
    heard = heard_by(live.model)
    number = segment_of(live.model, heard.history) if live.segments else None
    own = live if number is None else live.of(live.model.segments[number])
    if own is live:
        return live, heard
    wanted.demand_columns(own.model.columns)
    return own, heard_by(own.model)


def _refused(user_ids: Sequence[str]) -> dict[str, UserRefused]:
    """What cannot be the id of a user."""
    refused: dict[str, UserRefused] = {}
    for user_id in user_ids:
        try:
            check_id(user_id, pointer="user_id")
        except InvalidRequest as error:
            refused[user_id] = UserRefused(user_id=user_id, code=error.code, detail=str(error))
    return refused
