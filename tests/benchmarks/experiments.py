"""Whether experiments find what is true, and nothing else: `python -m tests.benchmarks.experiments --runs 1000`.

Simulated listeners (`app.simulation`) live some days before an experiment and some in it; what they do is summed up by
listener and day, and read as results are: users as clusters, CUPED by what was done before, and a look every day.

    same      both variants are the same: how often an effect is claimed, at the planned end and at any of the days
    lift      the treatment's lifts are known: how often the interval holds them
    article   a lift in Arabic, none elsewhere, the top line flat: how often just that is reported
    fault     some of the treatment's exposures are lost: how often the sample-ratio check withholds all effects
    list      two models in one list: how often users are said to prefer one of two equal ones, and the better one

No seconds are asked for; all numbers come from seeds and are the same everywhere.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import chisquare

from app.adapters.experiment_effects import estimate
from app.domain.experiments.effects import Estimate, Heterogeneity, heterogeneity, holm
from app.domain.experiments.interleaving import Votes, preferred, team_draft
from app.domain.experiments.moments import Moments, standard_errors, theta
from app.domain.experiments.sequential import boundaries, planned_spending
from app.simulation.listeners import Effect, Language
from app.simulation.scenario import CONTROL, TREATMENT, Scenario, World
from tests.simulation.reading import COVARIATE_DAYS, METRICS, Seen, seen

ALPHA = 0.05
DAYS = 7
N_USERS = 1_200

KNOWN = Effect(songs=0.15, recommended=0.3)
TRUE = dict.fromkeys(METRICS, 0.0) | {"seconds_per_session": 0.15, "attributed_plays": 1.15 * 1.3 - 1}
"""What KNOWN makes of each metric. Of the share of sessions with an attributed play it is not known: that is no sum."""

NOT_KNOWN = "sessions_with_attributed"

ARTICLE = (Language(name="en", share=0.97, activity=0.5), Language(name="ar", share=0.03, activity=0.1))
"""Few listen in Arabic, and they less: half a percent of all seconds, so that the top line hides their lift."""

ARTICLE_LIFT = 0.8
ARTICLE_USERS = 90_000

MISMATCH = 0.001
"""The p value below which exposures are not shared out as they were meant."""


@dataclass(frozen=True)
class Read:
    """One metric of one run: whether an effect is claimed at the end, on any day, and whether the interval is right."""

    is_claimed: bool
    is_claimed_on_any_day: bool
    is_covered: bool


def read(found: Seen, metric: str, *, true: float) -> Read:
    """A metric as results read it. Raises: TypeError when it can't be estimated."""
    control, treatment = (found.moments(metric, found.variant == which) for which in (CONTROL, TREATMENT))
    end = estimated(control, treatment)
    interval = end.relative_interval
    return Read(
        is_claimed=end.p_value < ALPHA,
        is_claimed_on_any_day=bool(crossings(control, treatment).any()),
        is_covered=interval is not None and interval.low <= true <= interval.high,
    )


def estimated(control: Moments, treatment: Moments) -> Estimate:
    """The effect at the end. Raises: TypeError when there is none."""
    found = estimate(control, treatment, alpha=ALPHA)
    if not isinstance(found, Estimate):
        raise TypeError(found.reason)
    return found


def crossings(control: Moments, treatment: Moments) -> np.ndarray:
    """On which days an effect is claimed by who looks every day, bool `(n_days,)`."""
    errors, correlations = standard_errors(control, treatment)
    bounds = boundaries(planned_spending(len(errors), n_planned=len(errors), alpha=ALPHA), correlations.tolist())
    lifts = np.array([_lift(control, treatment, day) for day in range(len(errors))])
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.abs(lifts) > np.array(bounds) * errors
    return found


def _lift(control: Moments, treatment: Moments, day: int) -> float:
    means = [group.mean(day) for group in (treatment, control)]
    before = [group.covariate(day) or 0.0 for group in (treatment, control)]
    if means[0] is None or means[1] is None:
        return float("nan")
    return means[0] - means[1] - theta(control, treatment, day) * (before[0] - before[1])


# The parts, one run each


def same(seed: int, *, n_users: int = N_USERS) -> dict[str, Read]:
    """Both variants are the same."""
    found = seen(World.of(_scenario(seed, n_users=n_users)))
    return {metric: read(found, metric, true=0.0) for metric in METRICS}


def lift(seed: int, *, n_users: int = N_USERS) -> dict[str, Read]:
    """The treatment's lifts are known."""
    effects = {"en": KNOWN, "ar": KNOWN}
    found = seen(World.of(_scenario(seed, n_users=n_users, effects=effects)))
    return {metric: read(found, metric, true=TRUE[metric]) for metric in METRICS if metric != NOT_KNOWN}


@dataclass(frozen=True)
class Report:
    """What is said of the article's case: which segments have a lift, whether all have, and whether they differ."""

    lifted: frozenset[str]
    is_top_line_flat: bool
    is_heterogeneous: bool

    @property
    def is_found(self) -> bool:
        """Arabic alone, and the segments differ."""
        return self.lifted == {"ar"} and self.is_heterogeneous

    @property
    def is_right(self) -> bool:
        """The same, with nothing at the top line."""
        return self.is_found and self.is_top_line_flat


def article(seed: int, *, n_users: int = ARTICLE_USERS, size: float = ARTICLE_LIFT) -> Report:
    """A lift in Arabic and none elsewhere."""
    scenario = _scenario(seed, n_users=n_users, languages=ARTICLE, effects={"ar": Effect(songs=size)})
    found = seen(World.of(scenario))

    def effect(who: np.ndarray) -> Estimate:
        groups = (found.moments("seconds_per_session", who & (found.variant == each)) for each in (CONTROL, TREATMENT))
        return estimated(*groups)

    by_segment = {name: effect(found.segment == place) for place, name in enumerate(("en", "ar"))}
    adjusted = dict(zip(by_segment, holm([each.p_value for each in by_segment.values()]), strict=True))
    differ = heterogeneity(by_segment)
    return Report(
        lifted=frozenset(name for name, p in adjusted.items() if p < ALPHA and by_segment[name].lift > 0),
        is_top_line_flat=effect(np.ones(len(found.user), dtype=np.bool_)).p_value >= ALPHA,
        is_heterogeneous=isinstance(differ, Heterogeneity) and differ.p_value < ALPHA,
    )


def fault(seed: int, *, n_users: int = 12_000, lost: float = 0.25) -> bool:
    """Whether it is seen that exposures are missing."""
    world = World.of(_scenario(seed, n_users=n_users, days=2, days_before=0, lost=lost))
    for _ in world.days():
        pass
    counts = np.bincount(world.exposures().variant, minlength=2)
    return bool(chisquare(counts).pvalue < MISMATCH)


def listed(seed: int, *, n_users: int = 600, liking: float = 1.0) -> tuple[bool, bool]:
    """Whether users are said to prefer one model, and whether plays would be, taken for independent.

    Each user plays some of the songs of one interleaved list, heavy listeners many; songs that the second model picked
    `liking` times as readily. Tastes differ: some users like the first model's songs and some the second's.
    """
    draws = np.random.default_rng([seed, 7])
    n_plays = np.minimum(draws.geometric(1 / (1 + 3 * draws.lognormal(0.0, 1.2, n_users))), 200)
    taste = draws.lognormal(np.log(liking), 0.7, n_users)
    credit = np.zeros((n_users, 2), dtype=np.int64)
    for user in range(n_users):
        picks = team_draft(range(10), range(5, 15), k=10, draws=draws)
        teams = np.array([pick.team for pick in picks])
        weights = np.where(teams == 1, taste[user], 1.0) / np.log2(2 + np.arange(len(teams)))
        chosen = draws.choice(teams, size=n_plays[user], p=weights / weights.sum())
        credit[user] = np.bincount(chosen, minlength=2)
    first, second = credit.T
    of_users = preferred(
        Votes(
            n_wins=int((second > first).sum()),
            n_losses=int((second < first).sum()),
            n_ties=int((second == first).sum()),
            n_without=0,
        )
    )
    total = int(first.sum()), int(second.sum())
    of_plays = preferred(Votes(n_wins=total[1], n_losses=total[0], n_ties=0, n_without=0))
    return of_users is not None and of_users.is_decided, of_plays is not None and of_plays.is_decided


def _scenario(seed: int, **changes: object) -> Scenario:
    asked = {"days": DAYS, "days_before": COVARIATE_DAYS, "n_songs": 100, "seed": seed, **changes}
    return Scenario(**asked)  # type: ignore[arg-type]


# The table


@dataclass(frozen=True)
class Line:
    """A share of the runs, and the bounds that are asked of it."""

    what: str
    share: float
    n: int
    low: float
    high: float

    @property
    def is_kept(self) -> bool:
        """Whether it is within the bounds."""
        return self.low <= self.share <= self.high

    def __str__(self) -> str:
        """As printed."""
        error = np.sqrt(self.share * (1 - self.share) / self.n)
        told = (
            f"{self.what:<58} {self.share:7.1%} +- {1.96 * error:4.1%} {self.n:6}   {self.low:.1%} to {self.high:.1%}"
        )
        return told + ("" if self.is_kept else "   MISSED")


def lines_of_metrics(part: str, runs: Sequence[dict[str, Read]]) -> list[Line]:
    """What was claimed and covered, by metric."""
    lines = []
    for metric in runs[0]:
        reads = [run[metric] for run in runs]
        kind, n = METRICS[metric][2], len(reads)
        if part == "same":
            claimed = sum(each.is_claimed for each in reads) / n
            any_day = sum(each.is_claimed_on_any_day for each in reads) / n
            lines.append(Line(f"{metric} ({kind}): claimed at the end", claimed, n, 0.035, 0.065))
            lines.append(Line(f"{metric} ({kind}): claimed on any day", any_day, n, 0.035, 0.065))
        covered = sum(each.is_covered for each in reads) / n
        lines.append(Line(f"{metric} ({kind}): covered, {part}", covered, n, 0.935, 0.965))
    return lines


def measured(part: str, *, n_runs: int, first: int, spread: Callable[..., Sequence[object]]) -> list[Line]:
    """The lines of one part over so many runs. `spread` maps a function over seeds."""
    seeds = range(first, first + n_runs)
    if part in {"same", "lift"}:
        return lines_of_metrics(part, spread(same if part == "same" else lift, seeds))  # type: ignore[arg-type]
    if part == "article":
        reports = spread(article, seeds)
        shares = {
            name: sum(getattr(report, name) for report in reports) / n_runs
            for name in ("is_found", "is_top_line_flat", "is_right")
        }
        return [
            Line("a lift in Arabic, none elsewhere: reported so", shares["is_found"], n_runs, 0.9, 1.0),
            Line("the top line shows nothing", shares["is_top_line_flat"], n_runs, 0.9, 1.0),
            Line("both at once", shares["is_right"], n_runs, 0.9, 1.0),
        ]
    if part == "fault":
        seen_it, alarmed = (spread(partial(fault, lost=lost), seeds) for lost in (0.25, 0.0))
        return [
            Line(
                "a quarter of the treatment's exposures lost: withheld",
                sum(map(bool, seen_it)) / n_runs,
                n_runs,
                1.0,
                1.0,
            ),
            Line("none lost: withheld", sum(map(bool, alarmed)) / n_runs, n_runs, 0.0, 0.005),
        ]
    equal, better = (spread(partial(listed, liking=liking), seeds) for liking in (1.0, 1.3))
    of_users, of_plays = (sum(run[place] for run in equal) / n_runs for place in (0, 1))  # type: ignore[index]
    found = sum(run[0] for run in better) / n_runs  # type: ignore[index]
    return [
        Line("equal models in one list: users prefer one", of_users, n_runs, 0.03, 0.065),
        Line("(the same by plays, as if they were independent)", of_plays, n_runs, 0.0, 1.0),
        Line("a model whose songs are liked 1.3 times as much: found", found, n_runs, 0.8, 1.0),
    ]


PARTS = ("same", "lift", "article", "fault", "list")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    print(f"{'':<58} {'share':>7} {'95 %':>8} {'runs':>6}   asked")  # noqa: T201
    with ProcessPoolExecutor(asked.processes) as pool:

        def spread(function: Callable[[int], object], seeds: Sequence[int]) -> list[object]:
            return list(pool.map(function, seeds, chunksize=max(1, min(20, len(seeds) // 8))))

        for part in asked.parts:
            for line in measured(part, n_runs=asked.runs, first=asked.first, spread=spread):
                print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
