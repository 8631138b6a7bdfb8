"""How training's cost grows with the plays: `python -m tests.benchmarks.linear [--most 50] [--plot FILE]`.

One epoch of Segue's trainer, one thread, at one point (skip-gram, 64 dimensions, window 5, 5 negatives) on generated
corpora of 1 to 50 million plays of 50,000 songs. Prints a line a size: processor seconds (up to 10 million plays the
median of three rounds, in which the sizes take turns) and plays a second; then

    the exponent of the power law fitted to them                            target 1.0 +- 0.05

and draws both into the plot that the documentation shows. Generating the largest corpus takes 3 GB and a minute.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from app.adapters.lane_word2vec import LaneTrainer, load_kernel
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters
from tests.benchmarks.generated import generated_corpus

PLOT = Path(__file__).parents[2] / "docs" / "training-cost.svg"
MILLIONS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MOST_REPEATED = 10.0
"""Millions of plays up to which a size is measured in every round; a larger one is measured in the first alone."""

POINT = TrainingParameters(vector_size=64, window=5, negative=5, sg=1, epochs=1)


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds of one epoch on so many plays, the median of the rounds."""

    n_plays: int
    cpu_s: float


def main() -> None:
    """Print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--most", type=float, default=50.0, help="millions of plays of the largest corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, default=PLOT)
    given = parser.parse_args()
    millions = [size for size in MILLIONS if size <= given.most]
    costs = measured(millions, n_songs=given.songs, n_rounds=given.rounds)
    print(f"{'plays':>12}{'cpu s':>9}{'plays/s':>12}")
    for cost in costs:
        print(f"{cost.n_plays:12,}{cost.cpu_s:9.2f}{cost.n_plays / cost.cpu_s:12,.0f}")
    print(f"exponent {exponent(costs):.3f} (target 1.0 +- 0.05)")
    print(
        f"one epoch, {POINT.vector_size} dimensions, window {POINT.window}, {POINT.negative} negatives, "
        f"{given.songs:,} songs, one thread; {platform.machine()}, Python {platform.python_version()}"
    )
    draw(costs, given.plot)


def measured(millions: Sequence[float], *, n_songs: int, n_rounds: int) -> list[Cost]:
    """The cost of each size, in their order."""
    load_kernel()
    spent: dict[float, list[float]] = {size: [] for size in millions}
    n_plays: dict[float, int] = {}
    for number in range(n_rounds):
        for size in millions:
            if number == 0 or size <= MOST_REPEATED:
                corpus = generated_corpus(n_songs=n_songs, n_plays=round(size * 1e6))
                n_plays[size] = len(corpus.plays)
                spent[size].append(epoch_cpu_s(corpus))
    return [Cost(n_plays[size], statistics.median(spent[size])) for size in millions]


def epoch_cpu_s(corpus: Corpus) -> float:
    """Processor seconds of one epoch, all of it: counting, the first vectors, training."""
    began = time.process_time()
    LaneTrainer().train(
        corpus,
        POINT,
        seed=0,
        threads=1,
        held_out=True,
        on_progress=lambda _: None,
        on_epoch=lambda _epoch, _embeddings: None,
    )
    return time.process_time() - began


def exponent(costs: Sequence[Cost]) -> float:
    """The slope of the line through the logarithms, by least squares; 1 is linear."""
    plays, seconds = np.log([(cost.n_plays, cost.cpu_s) for cost in costs]).T
    return float(np.polyfit(plays, seconds, 1)[0])


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Draw the points, and the line of exponent 1 through their middle. Equal costs give equal bytes."""
    plays = np.array([cost.n_plays for cost in costs]) / 1e6
    seconds = np.array([cost.cpu_s for cost in costs])
    line = plays * float(np.exp(np.mean(np.log(seconds / plays))))
    with mpl.rc_context({"svg.hashsalt": "segue", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.loglog(plays, line, color="0.6", linewidth=1.5, label="exponent 1")
        axes.loglog(
            plays, seconds, "o", color="tab:blue", markersize=7, label=f"measured: exponent {exponent(costs):.2f}"
        )
        axes.set_xticks(plays, [f"{millions:.0f}" for millions in plays])
        axes.set_xlabel("million plays")
        axes.set_ylabel("processor seconds of one epoch")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(visible=True, color="0.9")
        axes.legend(frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
