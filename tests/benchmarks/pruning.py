"""What pruning costs and spares: `python -m tests.benchmarks.pruning --seeds 5 --epochs 3 --epochs 9`.

A study of the article's size on the shipped listening, the same seeds without pruning and by each rule: the objective
of the best trial on the validation pairs, that of its confirmation on the test pairs, and the epochs and seconds that
the search has trained. Seconds are those of the machine, which may do something else meanwhile. The space is the
article's, cut to where a trial takes a second (`CHEAP`), or the whole of it (`--whole`).
"""

import argparse
import math
import statistics
from dataclasses import dataclass

from scipy import stats

from app.domain.tuning.pruning import Pruning
from app.domain.tuning.search_space import IntParameter, Parameter, Value
from app.domain.tuning.trial import Trial, TrialRole
from tests.benchmarks.house import SHIPPED, House, house

RULES: dict[str, Pruning | None] = {
    "none": None,
    "median": Pruning(rule="median"),
    "halving": Pruning(rule="successive_halving"),
}


CHEAP: dict[str, Parameter | Value] = {
    "vector_size": IntParameter(name="vector_size", low=10, high=48),
    "window": IntParameter(name="window", low=1, high=12),
    "negative": IntParameter(name="negative", low=1, high=12),
}


@dataclass(frozen=True)
class Study:
    """What is run by each rule."""

    n_trials: int
    epochs: int
    parallelism: int
    overrides: dict[str, Parameter | Value]


@dataclass(frozen=True)
class Run:
    """One study."""

    best: float
    test: float
    n_epochs: int
    train_s: float
    n_pruned: int


def measured(found: House, study: Study, *, rule: Pruning | None, seed: int) -> Run:
    """The study by this rule, with a fifth of its trials at random as the article has it."""
    n_initial = max(1, study.n_trials * 5 // 24)
    view = found.completed(
        n_initial=n_initial,
        n_iterations=study.n_trials - n_initial,
        parallelism=study.parallelism,
        seed=seed,
        baselines=False,
        epochs=study.epochs,
        overrides=study.overrides,
        pruning=rule,
    )
    search = found.container.studies.trials(view.study.id, limit=study.n_trials, role=TrialRole.SEARCH).rows
    confirmed = None if view.confirmation is None or view.confirmation.outcome is None else view.confirmation.outcome
    objective = None if confirmed is None or confirmed.test is None else confirmed.test.overall.objective
    return Run(
        best=math.nan if view.best is None else view.best.objective or 0.0,
        test=math.nan if objective is None else objective.value,
        n_epochs=sum(_last(trial) for trial in search),
        train_s=sum(trial.outcome.times_s["train"] for trial in search if trial.outcome is not None),
        n_pruned=view.savings.n_pruned,
    )


def _last(trial: Trial) -> int:
    return 0 if trial.outcome is None else trial.outcome.epochs[-1].epoch


def table(runs: dict[str, list[Run]]) -> str:
    """A line a rule, and the paired differences from the same seeds without pruning."""
    lines = ["rule      best  (each seed)                                  test   epochs  train s  pruned"]
    for name, of_rule in runs.items():
        each = " ".join(f"{run.best:.4f}" for run in of_rule)
        mean = [statistics.mean(getattr(run, field) for run in of_rule) for field in ("best", "test", "n_epochs")]
        train_s = statistics.mean(run.train_s for run in of_rule)
        n_pruned = statistics.mean(run.n_pruned for run in of_rule)
        lines.append(f"{name:8} {mean[0]:.4f} ({each})  {mean[1]:.4f}  {mean[2]:6.1f}  {train_s:7.2f}  {n_pruned:6.1f}")
    for name, of_rule in list(runs.items())[1:]:
        pairs = list(zip(of_rule, runs["none"], strict=True))
        best = _interval([run.best - whole.best for run, whole in pairs])
        test = _interval([run.test - whole.test for run, whole in pairs])
        spared = statistics.mean(1 - run.n_epochs / whole.n_epochs for run, whole in pairs)
        spared_s = statistics.mean(1 - run.train_s / whole.train_s for run, whole in pairs)
        n_worse = sum(run.best < whole.best for run, whole in pairs)
        lines.append(
            f"{name:8} best {best}, worse in {n_worse} of {len(pairs)}; test {test}; "
            f"spares {spared:.0%} of the epochs, {spared_s:.0%} of the training seconds"
        )
    return "\n".join(lines)


def _interval(gains: list[float]) -> str:
    mean = statistics.mean(gains)
    if len(gains) < 2:
        return f"{mean:+.4f}"
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def compared(study: Study, *, n_seeds: int) -> dict[str, list[Run]]:
    """Every rule on every seed, one after the other, so that all meet the same machine."""
    runs: dict[str, list[Run]] = {name: [] for name in RULES}
    with house(SHIPPED, slots=study.parallelism) as found:
        for seed in range(n_seeds):
            for name, rule in RULES.items():
                runs[name].append(measured(found, study, rule=rule, seed=seed))
    return runs


def main() -> None:
    """Print a table for each number of epochs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, action="append")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    for epochs in given.epochs or [3, 9]:
        study = Study(given.trials, epochs, given.parallelism, {} if given.whole else CHEAP)
        print(f"{study.n_trials} trials of {epochs} epochs, {study.parallelism} at once")  # noqa: T201
        print(table(compared(study, n_seeds=given.seeds)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
