"""What tuning gains over gensim's defaults at equal epochs: `python -m tests.benchmarks.gain [plays] [--seeds N]`.

Runs the article's study once a seed and prints, on the test pairs, HR@10 and NDCG@10 of the winner beside gensim's
defaults (CBOW, as the library has them, and the same as skip-gram) and the plain baselines; then the mean gain over the
seeds with its 95 % interval (Student's t over the seeds' differences).
"""

import argparse
import math
import os
import statistics
from pathlib import Path

from scipy import stats

from app.domain.measurement import Measurement
from app.services.studies import StudyView
from tests.benchmarks.house import SHIPPED, house

METRICS = ("hit_ratio", "ndcg")
DEFAULTS = ("gensim_defaults", "gensim_defaults_skip_gram")

Row = dict[str, dict[str, float]]


def main() -> None:
    """Print a line a seed and the gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plays", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-initial", type=int, default=5)
    parser.add_argument("--n-iterations", type=int, default=19)
    given = parser.parse_args()
    slots = os.cpu_count() or 1
    rows: list[Row] = []
    with house(given.plays, slots=slots) as home:
        for seed in range(given.seeds):
            view = home.completed(
                n_initial=given.n_initial,
                n_iterations=given.n_iterations,
                parallelism=slots,
                seed=seed,
                baselines=True,
            )
            rows.append(figures(view))
            told = "   ".join(f"{name} {row['hit_ratio']:.3f}/{row['ndcg']:.3f}" for name, row in rows[-1].items())
            print(f"seed {seed}: {told}", flush=True)  # noqa: T201
    for default in DEFAULTS:
        for metric in METRICS:
            gains = [row["tuned"][metric] - row[default][metric] for row in rows]
            print(f"{metric} over {default}: {interval(gains)}")  # noqa: T201


def figures(view: StudyView) -> Row:
    """The figures on the test pairs by name: the winner's and every baseline's."""
    tuned = None if view.confirmation is None or view.confirmation.outcome is None else view.confirmation.outcome.test
    rows = {"tuned": tuned}
    rows |= {trial.name: None if trial.outcome is None else trial.outcome.test for trial in view.baselines}
    return {name: values(measurement) for name, measurement in rows.items()}


def values(measurement: Measurement | None) -> dict[str, float]:
    """HR and NDCG of a measurement; NaN where it is missing."""
    found = {}
    for metric in METRICS:
        estimate = None if measurement is None else getattr(measurement.overall, metric)
        found[metric] = math.nan if estimate is None else estimate.value
    return found


def interval(gains: list[float]) -> str:
    """Mean gain and its 95 % interval."""
    mean = statistics.mean(gains)
    if len(gains) < 2:
        return f"{mean:+.4f} (one seed: no interval)"
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.4f}  95 % interval [{mean - half:+.4f}, {mean + half:+.4f}] over {len(gains)} seeds"


if __name__ == "__main__":
    main()
