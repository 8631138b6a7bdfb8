"""Whether tuning beats chance, and others: `python -m tests.benchmarks.suggesting [--tables FILE ...] [plays ...]`.

On the shipped set, and on any other files of plays, Segue's suggester, random search, and Optuna's TPE and GP samplers
search the article's space for as many trials as the article's study has. They meet the same objective: that of a table
(`tests.benchmarks.tables`), plus noise as another seed of the training would make, the same for all. For each set:

    best         the objective, without noise, of the point that looked best after 24 trials; its mean over the seeds
    of the best  the mean over the best there is in the space
    to 95 %      trials until the first point within 5 % of the best there is: the median, and how many searches were
                 given up before (after 60 trials, at random after 1,000)
    difference   Segue's best minus the other's, seed by seed: mean and 95 % interval (Student's t)

Then it prints how long a suggestion takes after 100 and 300 trials (targets: 1 s and 3 s), in both preset spaces, in
processor seconds: it runs on one thread.

A table that is not complete is completed first, which takes a training a point, and is kept in the first of the files
given. Without a file nothing is kept.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from app.adapters.bayes_opt import BayesianSuggester
from app.adapters.lane_word2vec import load_kernel
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import Preset, preset
from app.domain.tuning.suggester import Observation
from tests.adapters.prepared import prepared
from tests.benchmarks import tables
from tests.benchmarks.house import SHIPPED
from tests.benchmarks.samplers import N_INITIAL, Sampler, samplers
from tests.benchmarks.tables import Table

N_TRIALS = 24
MOST_TRIALS = 60
"""A search that has not come within 5 % of the best by then is given up."""

MOST_DRAWN = 1_000
"""The same of random search, whose points cost nothing."""

Objective = Callable[[TrainingParameters], float]


@dataclass(frozen=True)
class Search:
    """What came of one search. `n_needed`: trials to within 5 % of the best there is; infinite if none came there."""

    best: float
    n_needed: float


def main() -> None:
    """Complete the tables, then print what the samplers make of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plays", nargs="*", type=Path, help="other files of plays")
    parser.add_argument("--tables", nargs="+", type=Path, default=[], metavar="FILE", help="files of JSON lines")
    parser.add_argument("--points", type=int, default=576, help="points of a table")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.004, help="standard deviation of the objective over seeds")
    given = parser.parse_args()
    for name, table in completed(given.plays, given.tables, n_points=given.points):
        print(  # noqa: T201
            f"\n{name}: {len(table)} points, which explain {table.explained():.1%} of each other; best {table.best:.4f}"
        )
        report(compared(table, best=table.best, seeds=range(given.seeds), noise=given.noise), best=table.best)
    print("\nprocessor seconds a suggestion, median")  # noqa: T201
    spaces: tuple[Preset, ...] = ("article", "extended")
    for space in spaces:
        told = "   ".join(f"after {n} trials {suggestion_s(space, n_trials=n):.2f}" for n in (100, 300))
        print(f"{space:10} {told}")  # noqa: T201


def completed(plays: Sequence[Path], files: Sequence[Path], *, n_points: int) -> list[tuple[str, Table]]:
    """The table of each set by its name, its missing points trained."""
    done = []
    for path in (SHIPPED, *plays):
        name = path.resolve().parent.name
        rows = tables.read(files).get(name, [])
        if len(rows) < n_points:
            load_kernel()
            with tempfile.TemporaryDirectory() as folder:
                corpus = prepared(Path(folder), path).corpus
            while todo := tables.todo(rows, n_points=n_points):
                for row in tables.trained(name, corpus, todo, processes=os.cpu_count() or 1):
                    rows.append(row)
                    if files:
                        tables.write(files[0], row)
        done.append((name, Table(rows)))
    return done


def compared(objective: Objective, *, best: float, seeds: Sequence[int], noise: float) -> dict[str, list[Search]]:
    """What came of each sampler's searches, by its name and in the order of the seeds."""
    return {
        name: [searched(make(seed), objective, best=best, seed=seed, noise=noise, most=_most(name)) for seed in seeds]
        for name, make in samplers(tables.SPACE).items()
    }


def _most(name: str) -> int:
    return MOST_DRAWN if name == "random" else MOST_TRIALS


def searched(
    sampler: Sampler, objective: Objective, *, best: float, seed: int, noise: float, most: int = MOST_TRIALS
) -> Search:
    """One search, which goes on after its trials until it is near the best or given up."""
    rng = np.random.default_rng([seed, 1])
    values: list[float] = []
    told: list[float] = []
    n_needed = math.inf
    while len(values) < N_TRIALS or (math.isinf(n_needed) and len(values) < most):
        parameters = sampler.ask()
        values.append(objective(parameters))
        told.append(values[-1] + rng.normal(0, noise))
        sampler.tell(parameters, told[-1])
        if math.isinf(n_needed) and values[-1] >= 0.95 * best:
            n_needed = len(values)
    return Search(values[int(np.argmax(told[:N_TRIALS]))], n_needed)


def report(found: dict[str, list[Search]], *, best: float) -> None:
    """A line a sampler."""
    print("sampler        best   of the best   to 95 % (never)   difference")  # noqa: T201
    ours = np.array([search.best for search in found["bayesian"]])
    for name, searches in found.items():
        theirs = np.array([search.best for search in searches])
        needed = [search.n_needed for search in searches]
        never = sum(math.isinf(n) for n in needed)
        median = _median(needed, most=_most(name))
        difference = "" if name == "bayesian" else interval(ours - theirs)
        print(  # noqa: T201
            f"{name:11} {theirs.mean():7.4f} {theirs.mean() / best:12.1%} {median:>9} ({never:2}){difference:>39}"
        )
    if "optuna gp" not in found:
        print("optuna gp   left out: it needs torch, which is not here")  # noqa: T201


def _median(needed: Sequence[float], *, most: int) -> str:
    median = statistics.median(needed)
    return f">{most}" if math.isinf(median) else f"{median:g}"


def interval(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """Mean and 95 % interval."""
    n = len(differences)
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return f"{differences.mean():+.4f} [{differences.mean() - half:+.4f}, {differences.mean() + half:+.4f}]"


def suggestion_s(space_name: Preset, *, n_trials: int, n_times: int = 5) -> float:
    """Processor seconds, the median over suggestions after so many trials."""
    space = preset(space_name, epochs=3, overrides={})
    draws = RandomSearch(space, 0)
    rng = np.random.default_rng(0)
    points = [draws.suggest([], number=number) for number in range(n_trials)]
    seen = [
        Observation(number, point, -abs(math.log10(point.alpha) + 1.3) + rng.normal(0, 0.1))
        for number, point in enumerate(points)
    ]
    spent = []
    for seed in range(n_times):
        suggester = BayesianSuggester(space, seed=seed, n_initial=N_INITIAL, acquisition="ei")
        began_s = time.process_time()
        suggester.suggest(seen, number=n_trials)
        spent.append(time.process_time() - began_s)
    return statistics.median(spent)


if __name__ == "__main__":
    main()
