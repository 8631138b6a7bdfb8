"""What a study costs beyond the training itself: `python -m tests.benchmarks.study [plays]`.

In turn, a round each: a study in the article's space through the real service and worker on SQLite, trial by trial,
and the same points trained with bare gensim (one iterable of token lists, no evaluation, nothing stored). It prints

    study wall time / sum of bare training times, a round and the median        target <= 1.15
    evaluation time / trial time, the median over the trials

The machine's speed drifts, so the two sides take turns and the ratio counts, not the seconds. Four rounds of six trials
are as many trials as the article's study has, with four confirmations instead of one.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from gensim.models import Word2Vec

from app.adapters.corpus import read_corpus
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters
from app.domain.tuning.trial import Trial, TrialRole
from app.services.leasing import artifact_name
from tests.benchmarks.house import SHIPPED, House, house


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plays", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--n-initial", type=int, default=3)
    parser.add_argument("--n-iterations", type=int, default=3)
    given = parser.parse_args()
    ratios: list[float] = []
    trials: list[Trial] = []
    with house(given.plays, slots=1) as home:
        files = artifact_name(home.dataset.id, home.dataset.attempt)
        corpus = read_corpus(home.container.store.open("datasets", files))
        for number in range(given.rounds):
            wall_s, searched = study(home, seed=number, n_initial=given.n_initial, n_iterations=given.n_iterations)
            bare_s = sum(bare_training_s(corpus, trial.parameters) for trial in searched if trial.parameters)
            ratios.append(wall_s / bare_s)
            trials += searched
            print(f"round {number}: study {wall_s:6.1f} s, bare gensim {bare_s:6.1f} s, ratio {ratios[-1]:.3f}")  # noqa: T201
    report(trials, ratios=ratios)


def study(home: House, *, seed: int, n_initial: int, n_iterations: int) -> tuple[float, list[Trial]]:
    """Wall time in seconds from the request to the study's end, and the trials of its search."""
    started = time.perf_counter()
    view = home.completed(n_initial=n_initial, n_iterations=n_iterations, parallelism=1, seed=seed, baselines=False)
    wall_s = time.perf_counter() - started
    return wall_s, home.container.studies.trials(view.study.id, limit=1000, role=TrialRole.SEARCH).rows


def bare_training_s(corpus: Corpus, parameters: TrainingParameters) -> float:
    """Seconds that gensim takes for the same training, vocabulary included."""
    sentences = [[str(song) for song in session.tolist()] for session in corpus.training_sessions()]
    started = time.perf_counter()
    Word2Vec(
        sentences,
        vector_size=parameters.vector_size,
        window=parameters.window,
        negative=parameters.negative,
        alpha=parameters.alpha,
        epochs=parameters.epochs,
        sg=parameters.sg,
        ns_exponent=parameters.ns_exponent,
        sample=parameters.sample,
        min_count=1,
        workers=1,
        seed=1,
    )
    return time.perf_counter() - started


def report(trials: Sequence[Trial], *, ratios: Sequence[float]) -> None:
    """Print the medians."""
    times = [trial.outcome.times_s for trial in trials if trial.outcome is not None]
    shares = [spent.get("evaluate", 0.0) / sum(spent.values()) for spent in times]
    print(f"trials completed            {len(times)} of {len(trials)}")  # noqa: T201
    print(f"study / bare gensim, median {statistics.median(ratios):.3f} (target <= 1.15)")  # noqa: T201
    print(f"evaluation / trial, median  {statistics.median(shares):.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
