"""Listening: one day of all listeners at once.

Sessions of a listener follow each other with silence of more than half an hour between, so that whoever cuts plays at
that silence finds the sessions that were meant. A day that is too full runs into the next one. Nothing is cut short, so
that a lift of a mean is the true lift of what is measured: songs of a session are geometric, sessions a Poisson number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.simulation.listeners import FOREIGN, MOOD_SD, REACH, Floats, Lifts, Listeners, Numbers, Songs

DAY_MS = 86_400_000

SILENCE_MS = 31 * 60_000
"""Before each session, at least."""

PAUSE_MS = 1_000
"""Between two songs of a session."""

ENDED = 0.85
"""The share of songs not skipped that are heard to the end; the others are left in their second half."""


@dataclass(frozen=True, slots=True)
class Plays:
    """Plays in the order of listeners and instants.

    Of each play `(n,)`: `user` and `song` are places, `session` a place among the sessions; `at_ms` epoch milliseconds;
    `is_recommended` whether the song was played because it was recommended. Of each session `(n_sessions,)`: its
    `session_user` and `session_at_ms`.
    """

    user: Numbers
    song: Numbers
    session: Numbers
    at_ms: Numbers
    seconds: Floats
    is_skip: NDArray[np.bool_]
    is_recommended: NDArray[np.bool_]
    session_user: Numbers
    session_at_ms: Numbers

    def __len__(self) -> int:
        return len(self.user)


def sessions_of(draws: np.random.Generator, listeners: Listeners, lifted: Floats | float = 1.0) -> Numbers:
    """How many sessions each listener has today, int64 `(n_users,)`; `lifted` multiplies the means."""
    rate = listeners.sessions_a_day * np.exp(listeners.mood - MOOD_SD**2 / 2) * lifted
    return draws.poisson(rate).astype(np.int64)


def day_of(
    draws: np.random.Generator,
    listeners: Listeners,
    songs: Songs,
    *,
    n_sessions: Numbers,
    lifts: Lifts,
    begins_ms: int,
    ends_ms: int,
) -> Plays:
    """The sessions that begin on a day of each listener's own; those that begin at `ends_ms` or later are left out.

    `begins_ms` is the UTC midnight to which each adds `day_begins_ms`.
    """
    session_user = np.repeat(np.arange(len(listeners)), n_sessions)
    n_songs = draws.geometric(1.0 / (listeners.songs_a_session * lifts.songs)[session_user])
    session = np.repeat(np.arange(len(session_user)), n_songs)
    user = session_user[session]
    song = _chosen(draws, listeners, songs, user)
    is_skip = draws.random(len(user)) < (listeners.skipped * lifts.skipped)[user]
    seconds = np.round(songs.durations_s[song] * _heard(draws, is_skip), 1)
    song_ms = np.round(seconds * 1000).astype(np.int64) + PAUSE_MS
    length_ms = np.bincount(session, song_ms, minlength=len(session_user)).astype(np.int64)
    session_at_ms = _begun(draws, listeners, session_user, length_ms, begins_ms=begins_ms)
    at_ms = session_at_ms[session] + _before(song_ms, session)
    plays = Plays(
        user=user,
        song=song,
        session=session,
        at_ms=at_ms,
        seconds=seconds,
        is_skip=is_skip,
        is_recommended=draws.random(len(user)) < (listeners.recommended * lifts.recommended)[user],
        session_user=session_user,
        session_at_ms=session_at_ms,
    )
    return _begun_before(plays, ends_ms)


def _chosen(draws: np.random.Generator, listeners: Listeners, songs: Songs, user: Numbers) -> Numbers:
    """Songs near each listener's place on the ring of the language; a few from anywhere."""
    chosen = draws.integers(len(songs.ids), size=len(user))
    is_own = draws.random(len(user)) >= FOREIGN
    language = listeners.language[user]
    for number in np.unique(language[is_own]).tolist():
        ring = songs.of_language(number)
        which = np.flatnonzero(is_own & (language == number))
        place = listeners.taste[user[which]] + REACH * draws.standard_exponential(len(which))
        chosen[which] = ring[(place * len(ring)).astype(np.int64) % len(ring)]
    return chosen


def _heard(draws: np.random.Generator, is_skip: NDArray[np.bool_]) -> Floats:
    """The share of each song that was heard."""
    n = len(is_skip)
    to_the_end = np.where(draws.random(n) < ENDED, 1.0, draws.uniform(0.5, 1.0, n))
    return np.where(is_skip, draws.beta(1.0, 6.0, n), to_the_end)


def _begun(
    draws: np.random.Generator, listeners: Listeners, session_user: Numbers, length_ms: Numbers, *, begins_ms: int
) -> Numbers:
    """When each session begins: silence before each, what is left of the day shared out at random.

    Moves on until when each listener is busy.
    """
    n = len(listeners)
    n_sessions = np.bincount(session_user, minlength=n)
    taken_ms = np.bincount(session_user, length_ms, minlength=n).astype(np.int64) + n_sessions * SILENCE_MS
    left_ms = np.maximum(DAY_MS - taken_ms, 0)
    parts = draws.standard_exponential(len(session_user))
    whole = np.bincount(session_user, parts, minlength=n) + draws.standard_exponential(n)
    gap_ms = SILENCE_MS + (parts / whole[session_user] * left_ms[session_user]).astype(np.int64)
    from_ms = np.maximum(begins_ms + listeners.day_begins_ms, listeners.busy_until_ms)
    at_ms: Numbers = from_ms[session_user] + _before(gap_ms + length_ms, session_user) + gap_ms
    ends_ms = at_ms + length_ms
    np.maximum.at(listeners.busy_until_ms, session_user, ends_ms)
    return at_ms


def _before(values: Numbers, group: Numbers) -> Numbers:
    """The sum of the values before each one in its group; members of a group stand together."""
    if not len(group):
        return values
    before: Numbers = np.cumsum(values) - values
    is_first = np.ones(len(group), dtype=np.bool_)
    is_first[1:] = group[1:] != group[:-1]
    counted = np.flatnonzero(is_first)
    which = np.cumsum(is_first) - 1
    found: Numbers = before - before[counted[which]]
    return found


def _begun_before(plays: Plays, ends_ms: int) -> Plays:
    kept = plays.session_at_ms < ends_ms
    if kept.all():
        return plays
    number = np.cumsum(kept) - 1
    of_play = kept[plays.session]
    return Plays(
        user=plays.user[of_play],
        song=plays.song[of_play],
        session=number[plays.session[of_play]],
        at_ms=plays.at_ms[of_play],
        seconds=plays.seconds[of_play],
        is_skip=plays.is_skip[of_play],
        is_recommended=plays.is_recommended[of_play],
        session_user=plays.session_user[kept],
        session_at_ms=plays.session_at_ms[kept],
    )
