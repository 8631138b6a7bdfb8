"""Interleaving: two models inside one list, and which of them listeners' plays prefer.

Team draft: in every round a coin says which team picks first, and each picks its own best song that is not yet in the
list. So in every prefix the teams' sizes differ by at most 1, and neither is ahead more often than the other.

    A: a b c d      coin A     a(A) b(B)
    B: b a e f      coin B     e(B) c(A)     list: a b e c

Notation: a user whose attributed plays were more of the second model's picks than of the first's is a win, fewer a
loss, as many a tie; W, L and T users. Who played none of either's picks is counted and decides nothing.

    share      W / (W + L) of the users who decide prefer the second; interval exact (Clopper and Pearson 1934)
    p value    two-sided sign test of share = 1/2: below 1 - level just where the interval leaves 1/2 out
    preference (W - L) / (W + L + T), in [-1, 1]: ties make it smaller, not surer

Users are the unit, however much each played: plays of one user are no independent votes.
Source: Radlinski, Kurup and Joachims, How Does Clickthrough Data Reflect Retrieval Quality, CIKM 2008. Departure: where
one list ends, songs of the other that follow belong to no team and credit none.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import scipy

T = TypeVar("T", bound=Hashable)

LEVEL = 0.95

NOBODY_DECIDED = "No user has yet played more of one model's picks than of the other's."


@dataclass(frozen=True, slots=True)
class Pick(Generic[T]):
    """A song of an interleaved list, and the team that put it there: 0, 1, or None where only one list was left."""

    song: T
    team: int | None


def team_draft(first: Sequence[T], second: Sequence[T], *, k: int, draws: np.random.Generator) -> list[Pick[T]]:
    """Up to k songs of both lists, each once, best first.

    >>> found = team_draft("abcd", "baef", k=4, draws=np.random.default_rng(0))
    >>> "".join(pick.song for pick in found), [pick.team for pick in found]
    ('baec', [1, 0, 1, 0])
    """
    lists = (first, second)
    places = [0, 0]
    taken: set[T] = set()
    picks: list[Pick[T]] = []
    rounds = draws.integers(2, size=(k + 1) // 2).tolist()
    for team in [team for leads in rounds for team in (leads, 1 - leads)][:k]:
        song = _best_left(lists[team], places, team, taken)
        if song is None:
            return picks + _rest(lists[1 - team], taken, k - len(picks))
        taken.add(song)
        picks.append(Pick(song, team))
    return picks


def _best_left(ranked: Sequence[T], places: list[int], team: int, taken: set[T]) -> T | None:
    """The team's best song that is not in the list; moves its place on."""
    while places[team] < len(ranked):
        song = ranked[places[team]]
        places[team] += 1
        if song not in taken:
            return song
    return None


def _rest(ranked: Sequence[T], taken: set[T], n: int) -> list[Pick[T]]:
    return [Pick(song, None) for song in dict.fromkeys(ranked) if song not in taken][:n]


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Users by what their plays prefer; `n_without` played no pick of either model."""

    n_wins: int
    n_losses: int
    n_ties: int
    n_without: int

    @property
    def n_decided(self) -> int:
        """Users who prefer one."""
        return self.n_wins + self.n_losses

    @property
    def n_users(self) -> int:
        """All that were shown interleaved lists."""
        return self.n_decided + self.n_ties + self.n_without

    def __add__(self, other: "Votes") -> "Votes":
        """Both together."""
        return Votes(
            n_wins=self.n_wins + other.n_wins,
            n_losses=self.n_losses + other.n_losses,
            n_ties=self.n_ties + other.n_ties,
            n_without=self.n_without + other.n_without,
        )


NO_VOTES = Votes(n_wins=0, n_losses=0, n_ties=0, n_without=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """The votes of one segment's users, and their plays of the first and the second model's picks."""

    segment: str | None
    votes: Votes
    n_plays: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What votes say of the second model beside the first; see the module header."""

    votes: Votes
    share: float
    low: float
    high: float
    p_value: float
    preference: float
    level: float

    @property
    def is_decided(self) -> bool:
        """Whether one of the models is shown to be preferred."""
        return self.p_value < 1.0 - self.level


def preferred(votes: Votes, *, level: float = LEVEL) -> Preference | None:
    """The preference with its interval; None when no user decides (`NOBODY_DECIDED`).

    >>> found = preferred(Votes(n_wins=9, n_losses=1, n_ties=5, n_without=3))
    >>> round(found.p_value, 4), found.preference
    (0.0215, 0.5333333333333333)
    """
    n, wins = votes.n_decided, votes.n_wins
    if n == 0:
        return None
    tail = (1.0 - level) / 2.0
    return Preference(
        votes=votes,
        share=wins / n,
        low=0.0 if wins == 0 else float(scipy.special.betaincinv(wins, n - wins + 1, tail)),
        high=1.0 if wins == n else float(scipy.special.betaincinv(wins + 1, n - wins, 1.0 - tail)),
        p_value=min(1.0, 2.0 * float(scipy.special.bdtr(min(wins, n - wins), n, 0.5))),
        preference=(wins - votes.n_losses) / (n + votes.n_ties),
        level=level,
    )
