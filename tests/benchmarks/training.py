"""What training costs beside gensim: `python -m tests.benchmarks.training [--rounds N] [--plays N] [--space N]`.

In turn, a round each, on generated listening of 50,000 songs: gensim on an iterable of token lists, gensim on its
`corpus_file`, and Segue's trainer, each for the same epochs. It prints plays per second (processor time, one thread)
and the ratio over the better of gensim's two, medians over the rounds: at 100/5/5 (target 5), 64/10/10 (10), 200/20/20
(15), and at points drawn from the article's space, with their geometric mean (8). Beside it stand the achieved GFLOP/s
(6 floating-point operations a number, pair and song compared, by gensim's count of negatives) and, for the products
done, those of this machine's sgemm at the same shapes. Last, with all cores: wall time, threads within one training
and trainings side by side.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from gensim.models import Word2Vec

from app.adapters.lane_kernel import LANES
from app.adapters.lane_word2vec import LaneTrainer, load_kernel, sharing_for, training_pieces
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters
from tests.benchmarks.generated import generated_corpus
from tests.benchmarks.quality import drawn_points

NAMED = ((100, 5, 5), (64, 10, 10), (200, 20, 20))


def main() -> None:
    """Print a line a point, the mean, and what all cores do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plays", type=int, default=300_000)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--space", type=int, default=12, help="points drawn from the article's space")
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    load_kernel()
    corpus = generated_corpus(n_songs=given.songs, n_plays=given.plays)
    print("dim/window/negative  rate     gensim k/s   file k/s  segue k/s   ratio   GFLOP/s  sgemm there")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(corpus, Path(folder) / "plays.txt", rounds=given.rounds, epochs=given.epochs)
        for dim, window, negative in NAMED:
            bench.line(TrainingParameters(vector_size=dim, window=window, negative=negative, sg=1, epochs=given.epochs))
        ratios = [bench.line(parameters) for parameters in drawn_points(given.space)]
    if ratios:
        print(f"geometric mean over {len(ratios)} points: {statistics.geometric_mean(ratios):.1f}")  # noqa: T201
    all_cores(corpus, rounds=given.rounds)


class Bench:
    """The corpus as each of the three reads it."""

    def __init__(self, corpus: Corpus, file: Path, *, rounds: int, epochs: int) -> None:
        self._corpus = corpus
        self._rounds = rounds
        self._epochs = epochs
        self._starts, self._ends = training_pieces(corpus, held_out=True)
        self._n_plays = int((self._ends - self._starts).sum()) * epochs
        self._tokens = [[str(song) for song in session.tolist()] for session in corpus.training_sessions()]
        self._file = file
        file.write_text("".join(" ".join(session) + "\n" for session in self._tokens), encoding="utf-8")

    def line(self, parameters: TrainingParameters) -> float:
        """Measure a point and print it; gives the ratio."""
        runs: dict[str, Callable[[], object]] = {
            "iterable": lambda: Word2Vec(self._tokens, **_settings(parameters, self._epochs)),
            "file": lambda: Word2Vec(corpus_file=str(self._file), **_settings(parameters, self._epochs)),
            "segue": lambda: trained(self._corpus, parameters, epochs=self._epochs),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self._rounds):
            for name, run in runs.items():
                began_s = time.process_time()
                run()
                seconds[name].append(time.process_time() - began_s)
        better = [min(pair) for pair in zip(seconds["iterable"], seconds["file"], strict=True)]
        ratio = statistics.median(theirs / ours for theirs, ours in zip(better, seconds["segue"], strict=True))
        speed = {name: self._n_plays / statistics.median(values) / 1e3 for name, values in seconds.items()}
        rate = self._operations(parameters) / statistics.median(seconds["segue"]) / 1e9
        sgemm = self._sgemm_rate(parameters)
        point = f"{parameters.vector_size:4}/{parameters.window:2}/{parameters.negative:2}"
        print(  # noqa: T201
            f"{point:19} {parameters.alpha:.4f} {speed['iterable']:11.0f} {speed['file']:10.0f} {speed['segue']:10.0f}"
            f" {ratio:7.1f} {rate:9.1f} {sgemm:12.1f}",
            flush=True,
        )
        return ratio

    def _operations(self, parameters: TrainingParameters) -> float:
        """6 a number: the product, the error and the move, of a multiplication and an addition each."""
        lengths = self._ends - self._starts
        distance = np.arange(1, parameters.window + 1)
        share = (parameters.window - distance + 1) / parameters.window
        n, n_sessions = np.unique(lengths, return_counts=True)
        pairs = float(n_sessions @ (2.0 * np.maximum(n[:, np.newaxis] - distance, 0) @ share))
        return 6.0 * pairs * (1 + parameters.negative) * parameters.vector_size * self._epochs

    def _sgemm_rate(self, parameters: TrainingParameters) -> float:
        """GFLOP/s of NumPy's product of a step's two matrices."""
        sharing = sharing_for(parameters, lengths=self._ends - self._starts, n_known=self._corpus.n_songs)
        n_negatives = max(1, int(np.ceil(parameters.negative / sharing.weight)))
        shape = (n_negatives, next(n for n in LANES if n >= sharing.lanes))
        negatives = np.ones((shape[0], parameters.vector_size), np.float32)
        inputs = np.ones((parameters.vector_size, shape[1]), np.float32)
        out = np.empty(shape, np.float32)
        n_times = 20_000
        began_s = time.process_time()
        for _ in range(n_times):
            np.matmul(negatives, inputs, out=out)
        return 2.0 * out.size * parameters.vector_size * n_times / (time.process_time() - began_s) / 1e9


def _settings(parameters: TrainingParameters, epochs: int) -> dict[str, int | float]:
    return {
        "vector_size": parameters.vector_size,
        "window": parameters.window,
        "negative": parameters.negative,
        "alpha": parameters.alpha,
        "sg": 1,
        "min_count": 1,
        "workers": 1,
        "epochs": epochs,
    }


def trained(corpus: Corpus, parameters: TrainingParameters, *, epochs: int, threads: int = 1) -> None:
    """Segue's trainer, listened to by nobody."""
    LaneTrainer(report_every_s=60.0).train(
        corpus,
        TrainingParameters(
            vector_size=parameters.vector_size,
            window=parameters.window,
            negative=parameters.negative,
            alpha=parameters.alpha,
            sg=1,
            epochs=epochs,
        ),
        seed=0,
        threads=threads,
        held_out=True,
        on_progress=lambda _progress: None,
        on_epoch=lambda _epoch, _embeddings: None,
    )


def all_cores(corpus: Corpus, *, rounds: int) -> None:
    """Plays per second, wall time: one training on all cores, and as many trainings as cores, over one on one."""
    n = os.cpu_count() or 1
    parameters = TrainingParameters(vector_size=100, window=5, negative=5, sg=1)
    n_plays = int(corpus.training_counts().sum())
    one, threads, beside = [], [], []
    with ProcessPoolExecutor(n, mp_context=get_context("fork")) as pool:
        list(pool.map(_nothing, range(n)))
        for _ in range(rounds):
            one.append(n_plays / _wall_s(lambda: trained(corpus, parameters, epochs=3)))
            threads.append(n_plays / _wall_s(lambda: trained(corpus, parameters, epochs=3, threads=n)))
            tasks = [(corpus, parameters)] * n
            beside.append(n * n_plays / _wall_s(lambda: list(pool.map(_in_child, tasks))))  # noqa: B023 # run at once
    alone = statistics.median(one)
    print(  # noqa: T201
        f"{n} cores over one: {n} threads in one training {statistics.median(threads) / alone:.2f},"
        f" {n} trainings side by side {statistics.median(beside) / alone:.2f}"
    )


def _nothing(_: int) -> None:
    """Start a child."""


def _in_child(task: tuple[Corpus, TrainingParameters]) -> None:
    trained(*task, epochs=3)


def _wall_s(run: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    run()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
