"""What a study costs beyond the training itself: `python -m tests.benchmarks.study [plays]`.

Runs a study of the article's size, one trial at a time, through the real service and worker on SQLite, then trains the
same points with bare gensim (one iterable of token lists, no evaluation, nothing stored) and prints

    study wall time / sum of bare training times        target <= 1.15
    evaluation time / trial time

Both sides run one after the other on the same machine, so the ratio counts, not the seconds.
"""

import argparse
import statistics
import time
from pathlib import Path

from gensim.models import Word2Vec

from app.adapters.corpus import read_corpus
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.leasing import artifact_name
from tests.benchmarks.house import SHIPPED, house


def main() -> None:
    """Print the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plays", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--n-initial", type=int, default=5)
    parser.add_argument("--n-iterations", type=int, default=19)
    parser.add_argument("--parallelism", type=int, default=1)
    given = parser.parse_args()
    with house(given.plays, slots=given.parallelism) as home:
        started = time.perf_counter()
        view = home.completed(
            n_initial=given.n_initial,
            n_iterations=given.n_iterations,
            parallelism=given.parallelism,
            seed=0,
            baselines=False,
        )
        wall_s = time.perf_counter() - started
        trials = home.container.studies.trials(view.study.id, limit=1000, role=TrialRole.SEARCH).rows
        files = artifact_name(home.dataset.id, home.dataset.attempt)
        corpus = read_corpus(home.container.store.open("datasets", files))
        bare_s = [bare_training_s(corpus, trial.parameters) for trial in trials if trial.parameters is not None]
    report(trials, wall_s=wall_s, bare_s=bare_s)


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


def report(trials: list[Trial], *, wall_s: float, bare_s: list[float]) -> None:
    """Print the figures."""
    times = [trial.outcome.times_s for trial in trials if trial.outcome is not None]
    shares = [spent.get("evaluate", 0.0) / sum(spent.values()) for spent in times]
    trained = sum(spent.get("train", 0.0) for spent in times)
    n_completed = sum(trial.state is TrialState.COMPLETED for trial in trials)
    print(f"trials completed                    {n_completed} of {len(trials)}")  # noqa: T201
    print(f"study wall time                     {wall_s:8.1f} s")  # noqa: T201
    print(f"bare gensim, sum                    {sum(bare_s):8.1f} s")  # noqa: T201
    print(f"training inside the study, sum      {trained:8.1f} s")  # noqa: T201
    print(f"study / bare gensim                 {wall_s / sum(bare_s):8.3f}   (target <= 1.15 one at a time)")  # noqa: T201
    print(f"evaluation / trial, median          {statistics.median(shares):8.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
