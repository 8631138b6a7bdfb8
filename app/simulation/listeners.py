"""Listeners: who they are and what they hear when nobody experiments on them.

Notation: listener i of n has language s_i, and for life

    lambda_i   sessions a day       log-normal: a few listeners make most plays
    m_i        songs a session      2 + log-normal
    p_i, a_i   shares of songs skipped, and heard because they were recommended; both Beta
    t_i        place of taste on the ring of the language's songs
    u_i        second of the UTC day at which the listener's own day begins: sessions run past midnight

and from day to day a mood z_i, a stationary AR(1) of standard deviation MOOD_SD and correlation MOOD_KEPT, that
multiplies lambda_i by exp(z_i - MOOD_SD^2 / 2). So what a listener did before an experiment foretells what comes after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

SESSIONS_A_DAY = 0.4
"""Of the median listener."""

SESSIONS_SD = 1.4
SONGS_A_SESSION = 5.0
"""Above the two that everybody hears, of the median listener."""

SONGS_SD = 1.1
"""Standard deviations of the logarithms: the most active twentieth hears half of all songs."""

MOST_SONGS_A_DAY = 250.0
MOOD_SD = 0.4
MOOD_KEPT = 0.8
SKIPPED = (2.0, 6.0)
RECOMMENDED = (2.0, 4.0)
FOREIGN = 0.05
"""The share of songs that are of any language."""

REACH = 0.02
"""How far on the ring a taste reaches: the mean distance of a song heard, as a share of the language's songs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A segment of listeners: their share of all, and their sessions a day beside the median's."""

    name: str
    share: float
    activity: float = 1.0


@dataclass(frozen=True, slots=True)
class Songs:
    """What there is to hear: `language` int64 `(n,)`, -1 for none, `durations_s` float64 `(n,)`."""

    ids: Sequence[str]
    language: Numbers
    durations_s: Floats

    def of_language(self, number: int) -> Numbers:
        """The places of a language's songs, in order; all where it has none."""
        places = np.flatnonzero(self.language == number)
        return places if len(places) else np.arange(len(self.ids))


@dataclass(slots=True)
class Listeners:
    """All listeners; `mood` and `busy_until_ms` change with each day that they live."""

    language: Numbers
    sessions_a_day: Floats
    songs_a_session: Floats
    skipped: Floats
    recommended: Floats
    taste: Floats
    day_begins_ms: Numbers
    mood: Floats
    busy_until_ms: Numbers

    def __len__(self) -> int:
        return len(self.language)

    def live_a_day(self, draws: np.random.Generator) -> None:
        """A new mood, that keeps much of the old one."""
        fresh = draws.normal(0.0, MOOD_SD * np.sqrt(1 - MOOD_KEPT**2), len(self))
        self.mood = MOOD_KEPT * self.mood + fresh


def songs_made_up(draws: np.random.Generator, languages: Sequence[Language], *, n_each: int) -> Songs:
    """So many songs of each language, of 90 seconds to ten minutes, most of three or four."""
    n = n_each * len(languages)
    return Songs(
        ids=[f"{language.name}-{number}" for language in languages for number in range(n_each)],
        language=np.repeat(np.arange(len(languages)), n_each),
        durations_s=np.clip(np.round(draws.lognormal(np.log(215), 0.25, n)), 90, 600),
    )


def listeners_made_up(
    draws: np.random.Generator, languages: Sequence[Language], *, n: int, is_one_day: bool = False
) -> Listeners:
    """So many listeners of these languages. `is_one_day`: all days begin at once."""
    shares = np.array([language.share for language in languages])
    language = draws.choice(len(languages), size=n, p=shares / shares.sum())
    songs = 2.0 + SONGS_A_SESSION * draws.lognormal(0.0, SONGS_SD, n)
    activity = np.array([each.activity for each in languages])[language]
    sessions = SESSIONS_A_DAY * activity * draws.lognormal(0.0, SESSIONS_SD, n)
    begins_ms = draws.integers(86_400_000, size=n)
    return Listeners(
        language=language,
        sessions_a_day=np.minimum(sessions, MOST_SONGS_A_DAY / songs),
        songs_a_session=np.minimum(songs, MOST_SONGS_A_DAY),
        skipped=draws.beta(*SKIPPED, n),
        recommended=draws.beta(*RECOMMENDED, n),
        taste=draws.random(n),
        day_begins_ms=np.zeros(n, dtype=np.int64) if is_one_day else begins_ms,
        mood=draws.normal(0.0, MOOD_SD, n),
        busy_until_ms=np.zeros(n, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a treatment changes, each as a relative lift of a mean: 0 changes nothing, -0.1 takes a tenth away.

    `songs` a session, and so seconds a session; `sessions` a day; the share of songs `skipped`, and of those
    `recommended`.
    """

    songs: float = 0.0
    sessions: float = 0.0
    skipped: float = 0.0
    recommended: float = 0.0


NO_EFFECT = Effect()

SONGS_KEPT = 0.5
"""A session is of a song at least and its mean of two: no effect may take more than half of it."""


@dataclass(frozen=True, slots=True)
class Lifts:
    """By what each listener's means are multiplied today, float64 `(n,)` each."""

    songs: Floats
    sessions: Floats
    skipped: Floats
    recommended: Floats


def lifts(
    listeners: Listeners,
    languages: Sequence[Language],
    effects: Mapping[str, Effect],
    *,
    is_treated: NDArray[np.bool_],
    was_treated: NDArray[np.bool_],
) -> Lifts:
    """Those of a day: `was_treated` is who comes more often for what yesterday was like, bool `(n,)` both."""
    of_language = [effects.get(language.name, NO_EFFECT) for language in languages]

    def lifted(name: str, who: NDArray[np.bool_]) -> Floats:
        by_language = np.array([getattr(effect, name) for effect in of_language])
        found: Floats = 1.0 + by_language[listeners.language] * who
        return found

    return Lifts(
        songs=lifted("songs", is_treated),
        sessions=lifted("sessions", was_treated),
        skipped=lifted("skipped", is_treated),
        recommended=lifted("recommended", is_treated),
    )
