"""The verdict of a study: whether its winner is better than what it stands beside, and what that rests on.

The winner was chosen for its score on the validation pairs, which is biased upward by the choice; so everything here is
measured on the test pairs, which the search never saw. Notation: x is the winner's objective there, y a rival's.

    pairs      mean of x_p - y_p over the same test pairs, weighed as the study's aggregate weighs segments
               (`objective_difference`): noise of the pairs
    intervals  x - y where what became of each pair is not known: square-and-add of the two intervals, with d = x - y,
               low = d - sqrt((x - x_low)^2 + (y_high - y)^2), high = d + sqrt((x_high - x)^2 + (y - y_low)^2).
               It takes the two for independent, which on the same pairs makes it too wide rather than too narrow
    seeds      mean of x_s - y_s over further seeds s, both trained again with each: noise of training. Student's t.
               The seed of the search itself is left out, for the winner was chosen under it

Every interval is 95 %. A winner is above a rival if every interval there is lies above 0, below it if every one lies
below 0. The rivals are
`reference`  gensim's default hyperparameters. The winner is `worse` if it is below one of them
`control`    the most popular songs, whatever is being played: a set where the winner is not above that shows no signal
             of what comes next that the winner has learnt, however it stands to the references
`plain`      counting. It does not decide, but the verdict names those that beat the winner
and the winner is `improved` if it is above every reference and every control; else there is `no_evidence`. All must be
passed, so the rivals being several makes a false `improved` less likely, not more.

Source: Newcombe 1998 (method 10, the intervals); Berger 1982 (intersection-union tests).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

import scipy

from app.domain.measurement import Estimate
from app.domain.pairing import PairedDifference

LEVEL = 0.95

FEWEST_SEEDS = 2
"""Seeds below which nothing is said about their spread."""

Basis = Literal["pairs", "intervals", "seeds"]
Standing = Literal["reference", "control", "plain"]


class Finding(StrEnum):
    """See the module header."""

    IMPROVED = "improved"
    NO_EVIDENCE = "no_evidence"
    WORSE = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The winner's objective less a rival's, its 95 % interval, and what it rests on: n pairs or n seeds."""

    value: float
    low: float
    high: float
    p_value: float | None
    n: int
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One model's objective over n seeds: mean and sample deviation, None below two seeds."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What the winner is compared with, on the test pairs and, where there are replicates, over seeds."""

    name: str
    standing: Standing
    on_pairs: Difference
    over_seeds: Difference | None = None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All that is known of the difference."""
        return (self.on_pairs,) if self.over_seeds is None else (self.on_pairs, self.over_seeds)

    @property
    def is_beaten(self) -> bool:
        """The winner is above it."""
        return all(difference.low > 0 for difference in self.differences)

    @property
    def beats(self) -> bool:
        """The winner is below it."""
        return all(difference.high < 0 for difference in self.differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, why in a sentence, the difference that decided, and the plain baselines that beat the winner."""

    finding: Finding
    reason: str
    against: str
    differences: tuple[Difference, ...]
    beaten_by: tuple[str, ...]


def judged(rivals: Sequence[Rival]) -> Verdict | None:
    """The verdict by the rule of the module header; None where no reference was measured."""
    references = [rival for rival in rivals if rival.standing == "reference"]
    if not references:
        return None
    deciding = [rival for rival in rivals if rival.standing != "plain"]
    winning = [rival for rival in references if rival.beats]
    if winning:
        finding, against = Finding.WORSE, min(winning, key=lambda rival: rival.on_pairs.value)
    elif all(rival.is_beaten for rival in deciding):
        finding, against = Finding.IMPROVED, min(deciding, key=_least)
    else:
        finding, against = Finding.NO_EVIDENCE, min((r for r in deciding if not r.is_beaten), key=_least)
    beaten_by = tuple(rival for rival in rivals if rival.standing != "reference" and rival.beats)
    return Verdict(
        finding=finding,
        reason=_reason(finding, against, beaten_by),
        against=against.name,
        differences=against.differences,
        beaten_by=tuple(rival.name for rival in beaten_by),
    )


def _least(rival: Rival) -> float:
    """The lower end of the least favourable interval."""
    return min(difference.low for difference in rival.differences)


def _reason(finding: Finding, against: Rival, beaten_by: Sequence[Rival]) -> str:
    told = " and ".join(_told(difference) for difference in against.differences)
    warning = "".join(f" It scores lower than {rival.name}, which trains nothing." for rival in beaten_by)
    return f"{_SAID[finding]} {against.name}: {told}.{warning}"


_SAID = {
    Finding.IMPROVED: "The winner scores higher than every rival that decides; closest is",
    Finding.WORSE: "The winner scores lower than",
    Finding.NO_EVIDENCE: "The winner is not shown to score higher than",
}


def _told(difference: Difference) -> str:
    what = "seeds" if difference.basis == "seeds" else "test pairs"
    interval = f"95 % interval {difference.low:+.4f} to {difference.high:+.4f}"
    return f"{difference.value:+.4f} ({interval}) over {difference.n} {what}"


def on_pairs(difference: PairedDifference) -> Difference:
    """A paired difference as evidence."""
    return Difference(
        value=difference.value,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        n=difference.n,
        basis="pairs",
    )


def of_intervals(winner: Estimate, rival: Estimate) -> Difference:
    """The difference of two estimates by their intervals alone.

    >>> found = of_intervals(Estimate(0.5, 0.4, 0.6, 100), Estimate(0.3, 0.27, 0.34, 100))
    >>> [round(value, 3) for value in (found.value, found.low, found.high)]
    [0.2, 0.092, 0.304]
    """
    value = winner.value - rival.value
    return Difference(
        value=value,
        low=value - sqrt((winner.value - winner.low) ** 2 + (rival.high - rival.value) ** 2),
        high=value + sqrt((winner.high - winner.value) ** 2 + (rival.value - rival.low) ** 2),
        p_value=None,
        n=min(winner.n, rival.n),
        basis="intervals",
    )


def over_seeds(winner: Mapping[int, float], rival: Mapping[int, float]) -> Difference | None:
    """The mean difference over the seeds that both have; None below two of them, or where they do not differ at all."""
    differences = [winner[seed] - rival[seed] for seed in sorted(winner.keys() & rival.keys())]
    n = len(differences)
    if n < FEWEST_SEEDS or len(set(differences)) == 1:
        return None
    mean, error = fmean(differences), stdev(differences) / sqrt(n)
    reach = float(scipy.special.stdtrit(n - 1, (1.0 + LEVEL) / 2.0)) * error
    return Difference(
        value=mean,
        low=mean - reach,
        high=mean + reach,
        p_value=float(2.0 * scipy.special.stdtr(n - 1, -abs(mean) / error)),
        n=n,
        basis="seeds",
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation; None of nothing.

    >>> spread([1.0, 3.0])
    Spread(mean=2.0, sd=1.4142135623730951, n=2)
    """
    if not values:
        return None
    return Spread(mean=fmean(values), sd=stdev(values) if len(values) >= FEWEST_SEEDS else None, n=len(values))
