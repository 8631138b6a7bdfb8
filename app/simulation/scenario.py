"""Scenarios: listeners live for some days, then an experiment begins on them, and they live on.

    days before ──► start ──► each enters at the first session of a day of their own that begins after the start
                                 │
                                 └──► the treatment's effects, from that session on

A control and a treatment; who gets which is drawn, once for life. What is lost by a sample-ratio fault is the row that
tells of an exposure: its listener has the treatment all the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import SegueError
from app.simulation.listeners import (
    SONGS_KEPT,
    Effect,
    Language,
    Listeners,
    Numbers,
    Songs,
    lifts,
    listeners_made_up,
    songs_made_up,
)
from app.simulation.listening import DAY_MS, Plays, day_of, sessions_of

CONTROL, TREATMENT = 0, 1

OUTSIDE = -1
"""Who is not in the experiment."""

TWO_LANGUAGES = (Language(name="en", share=0.8), Language(name="ar", share=0.2))


class SimulationFailed(SegueError):
    """What was asked for cannot be simulated; the sentence says why."""

    code = "simulation_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is true. `effects` are the treatment's by language; `treated` is its share, `traffic` that of all listeners.

    `lost` is the share of the treatment's exposures that nobody wrote down. `n_songs` are of each language.
    """

    n_users: int
    languages: tuple[Language, ...] = TWO_LANGUAGES
    effects: Mapping[str, Effect] = field(default_factory=dict)
    days: int = 14
    days_before: int = 14
    traffic: float = 1.0
    treated: float = 0.5
    lost: float = 0.0
    n_songs: int = 500
    start_ms: int = 1_767_225_600_000
    """Epoch milliseconds, of 2026-01-01T00:00Z."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_users", 1), ("days", 1), ("days_before", 0), ("n_songs", 1)):
            if getattr(self, name) < least:
                raise SimulationFailed(f"{name} must be at least {least}, not {getattr(self, name)}.")
        for name in ("traffic", "treated", "lost"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulationFailed(f"{name} must be between 0 and 1, not {getattr(self, name)}.")
        if not self.languages or any(language.share <= 0 or language.activity <= 0 for language in self.languages):
            raise SimulationFailed("Each language has a share and an activity above 0, and there is at least one.")
        self._check_effects()

    def _check_effects(self) -> None:
        names = {language.name for language in self.languages}
        for name, effect in self.effects.items():
            if name not in names:
                raise SimulationFailed(f"No listener has the language {name!r}: {', '.join(sorted(names))}.")
            if not effect.songs > -SONGS_KEPT or min(effect.sessions, effect.skipped, effect.recommended) < -1:
                raise SimulationFailed(f"The effect in {name!r} takes more away than there is.")

    @property
    def ends_ms(self) -> int:
        """When nobody begins a session any more."""
        return self.start_ms + self.days * DAY_MS


@dataclass(frozen=True, slots=True)
class Exposures:
    """Who entered the experiment: places of listeners, their variants, and when, `(n,)` each, by instant."""

    user: Numbers
    variant: Numbers
    at_ms: Numbers


@dataclass(slots=True)
class World:
    """A scenario come true: `variant` int64 `(n_users,)` is OUTSIDE, CONTROL or TREATMENT."""

    scenario: Scenario
    listeners: Listeners
    songs: Songs
    variant: Numbers
    exposed_at_ms: Numbers
    draws: np.random.Generator

    @classmethod
    def of(cls, scenario: Scenario, *, songs: Songs | None = None, is_one_day: bool = False) -> "World":
        """Before its first day. `songs` are those that there are, by the languages of the scenario."""
        draws = np.random.default_rng(scenario.seed)
        made_up = songs_made_up(draws, scenario.languages, n_each=scenario.n_songs) if songs is None else songs
        listeners = listeners_made_up(draws, scenario.languages, n=scenario.n_users, is_one_day=is_one_day)
        is_inside = draws.random(scenario.n_users) < scenario.traffic
        is_treated = draws.random(scenario.n_users) < scenario.treated
        return cls(
            scenario=scenario,
            listeners=listeners,
            songs=made_up,
            variant=np.where(is_inside, is_treated.astype(np.int64), OUTSIDE),
            exposed_at_ms=np.full(scenario.n_users, -1, dtype=np.int64),
            draws=draws,
        )

    def days(self) -> Iterator[Plays]:
        """The plays of each day, those before the start first."""
        for number in range(-self.scenario.days_before, self.scenario.days):
            yield self.day(number)

    def day(self, number: int, *, n_sessions: Numbers | None = None) -> Plays:
        """The plays of a day; day 0 is each listener's first that begins at or after the start.

        `n_sessions` of each listener replace those that would be drawn.
        """
        scenario = self.scenario
        self.listeners.live_a_day(self.draws)
        is_treated = (self.variant == TREATMENT) & (number >= 0)
        lifted = lifts(
            self.listeners,
            scenario.languages,
            scenario.effects,
            is_treated=is_treated,
            was_treated=is_treated & (self.exposed_at_ms >= 0),
        )
        last_ms = scenario.ends_ms if number >= 0 else scenario.start_ms + int(self.listeners.day_begins_ms.max())
        plays = day_of(
            self.draws,
            self.listeners,
            self.songs,
            n_sessions=sessions_of(self.draws, self.listeners, lifted.sessions) if n_sessions is None else n_sessions,
            lifts=lifted,
            begins_ms=scenario.start_ms + number * DAY_MS,
            ends_ms=last_ms,
        )
        if number >= 0:
            self._expose(plays)
        return plays

    def _expose(self, plays: Plays) -> None:
        """Those who come for the first time enter as their session begins."""
        first = np.full(len(self.listeners), np.iinfo(np.int64).max)
        np.minimum.at(first, plays.session_user, plays.session_at_ms)
        is_new = (self.variant != OUTSIDE) & (self.exposed_at_ms < 0) & (first < np.iinfo(np.int64).max)
        self.exposed_at_ms[is_new] = first[is_new]

    def exposures(self) -> Exposures:
        """Those that were written down so far."""
        user = np.flatnonzero(self.exposed_at_ms >= 0)
        if self.scenario.lost:
            # Of its own draws: the same listeners live the same days whatever is lost.
            is_lost = np.random.default_rng([self.scenario.seed, 1]).random(len(self.listeners)) < self.scenario.lost
            user = user[~(is_lost[user] & (self.variant[user] == TREATMENT))]
        user = user[np.argsort(self.exposed_at_ms[user], kind="stable")]
        return Exposures(user, self.variant[user], self.exposed_at_ms[user])

    def segments(self, user: NDArray[np.int64]) -> list[str]:
        """The languages of listeners."""
        names = [language.name for language in self.scenario.languages]
        return [names[number] for number in self.listeners.language[user].tolist()]
