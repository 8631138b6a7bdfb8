"""What simulated listeners did, summed up by listener and day with NumPy: what an experiment's results rest on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.experiments.moments import Moments
from app.simulation.listening import DAY_MS
from app.simulation.scenario import World
from tests.domain.experiments.users import Users

Array = NDArray[np.float64]

COVARIATE_DAYS = 7
RETURN_DAYS = 3

METRICS: dict[str, tuple[str, str | None, str]] = {
    "seconds_per_session": ("seconds", "sessions", "mean of sessions"),
    "sessions_per_user": ("sessions", None, "mean of users"),
    "attributed_plays": ("attributed", None, "mean of users"),
    "skip_rate": ("skips", "plays", "ratio"),
    "completion": ("completion", "plays", "ratio"),
    "sessions_with_attributed": ("sessions_with", "sessions", "binary of sessions"),
    "returned_after_3_days": ("returned", None, "binary of users"),
}
"""Numerator, denominator and kind of each metric: one at least of every kind that there is."""


@dataclass(frozen=True)
class Seen:
    """Sums since the exposure, cumulative by UTC day, and those before it, of the listeners who were exposed."""

    user: NDArray[np.int64]
    variant: NDArray[np.int64]
    segment: NDArray[np.int64]
    exposed_on: NDArray[np.int64]
    since: dict[str, Array]
    before: dict[str, Array]

    def moments(self, metric: str, who: NDArray[np.bool_]) -> Moments:
        """Those of a metric over some of the listeners."""
        numerator, denominator, _ = METRICS[metric]
        return Users(
            exposed_on=self.exposed_on[who],
            y=self.since[numerator][who],
            d=None if denominator is None else self.since[denominator][who],
            y_before=self.before[numerator][who],
            d_before=None if denominator is None else self.before[denominator][who],
        ).moments()


def seen(world: World) -> Seen:
    """Have a world's days lived, and sum them up."""
    days = list(world.days())
    scenario, n, n_days = world.scenario, len(world.listeners), world.scenario.days
    exposures = world.exposures()
    exposed_at_ms = np.full(n, np.iinfo(np.int64).max)
    exposed_at_ms[exposures.user] = exposures.at_ms

    user = np.concatenate([day.user for day in days])
    at_ms = np.concatenate([day.at_ms for day in days])
    seconds = np.concatenate([day.seconds for day in days])
    is_skip = np.concatenate([day.is_skip for day in days])
    is_attributed = np.concatenate([day.is_recommended for day in days]) & ~is_skip & (at_ms >= exposed_at_ms[user])
    song = np.concatenate([day.song for day in days])
    session_user = np.concatenate([day.session_user for day in days])
    session_at_ms = np.concatenate([day.session_at_ms for day in days])
    starts = np.cumsum([0, *(len(day.session_user) for day in days[:-1])])
    session = np.concatenate([day.session + start for day, start in zip(days, starts.tolist(), strict=True)])
    has_attributed = np.bincount(session, is_attributed, minlength=len(session_user)) > 0

    of_plays = {
        "seconds": seconds,
        "plays": np.ones(len(user)),
        "skips": is_skip.astype(np.float64),
        "completion": seconds / world.songs.durations_s[song],
        "attributed": is_attributed.astype(np.float64),
        "returned": (at_ms >= exposed_at_ms[user] + RETURN_DAYS * DAY_MS).astype(np.float64),
    }
    of_sessions = {"sessions": np.ones(len(session_user)), "sessions_with": has_attributed.astype(np.float64)}

    def summed(who: NDArray[np.int64], instant: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        exposed = exposed_at_ms[who]
        after = (instant >= exposed) & (instant < scenario.ends_ms)
        day = (instant[after] - scenario.start_ms) // DAY_MS
        since = np.bincount(who[after] * n_days + day, values[after], minlength=n * n_days).reshape(n, n_days)
        earlier = (instant < exposed) & (instant >= exposed - COVARIATE_DAYS * DAY_MS)
        return np.cumsum(since, axis=1), np.bincount(who[earlier], values[earlier], minlength=n).astype(np.float64)

    found = {name: summed(user, at_ms, values) for name, values in of_plays.items()}
    found |= {name: summed(session_user, session_at_ms, values) for name, values in of_sessions.items()}
    since = {name: each[0][exposures.user] for name, each in found.items()}
    since["returned"] = (since["returned"] > 0).astype(np.float64)
    return Seen(
        user=exposures.user,
        variant=exposures.variant,
        segment=world.listeners.language[exposures.user],
        exposed_on=(exposures.at_ms - scenario.start_ms) // DAY_MS,
        since=since,
        before={name: each[1][exposures.user] for name, each in found.items()},
    )
