"""What measuring a model costs on one core: `python -m tests.benchmarks.evaluation [--rounds 5] [--pairs 100000]`.

Held-out pairs over 50,000 songs (queries by popularity, so that many are alike) are measured with made-up vectors of
100 dimensions; trained ones take as long. In turns, round by round:

    sgemm           the products of the distinct queries and all songs alone: `np.matmul` into one array, 1,024 queries
                    at a time, the quickest shape of those tried
    input, output,  `evaluate` from the embeddings on, with that scoring: every row made, every list found, all counted
    sum
    most_similar    a loop over gensim's `KeyedVectors.most_similar`, k = 10, that looks for the target: on `--looped`
                    pairs a round, scaled to all

and it prints each one's processor time (the median of the rounds), the median of each round's share of sgemm's rate
(target: >= 0.5), and of its ratio to the loop (target: >= 30).
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gensim.models import KeyedVectors
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no annotations

from app.adapters.exact_search import ExactNeighbourSearch
from app.domain.embedding import Embeddings, Scoring, scoring_rows
from app.domain.evaluating import answerable_queries, evaluate
from app.domain.listening import Pairs, Repeats

K = 10
N_SEGMENTS = 5
QUERIES_AT_A_TIME = 1_024
POPULARITY_DEVIATION = 1.5


@dataclass(frozen=True, slots=True)
class Held:
    """What is measured: embeddings, pairs, and how often each song was played."""

    embeddings: Embeddings
    pairs: Pairs
    counts: NDArray[np.int64]


def made_up(*, n_songs: int, dim: int, n_pairs: int) -> Held:
    """Random vectors, and pairs whose songs are drawn by a log-normal popularity."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, n_songs, dim)).astype(np.float32)
    popularity = np.sort(np.exp(POPULARITY_DEVIATION * rng.standard_normal(n_songs)))[::-1]
    query, target = rng.choice(n_songs, size=(2, n_pairs), p=popularity / popularity.sum()).astype(np.int32)
    return Held(
        embeddings=Embeddings(vectors[0], vectors[1], np.ones(n_songs, dtype=np.bool_)),
        pairs=Pairs(query, target, rng.integers(0, N_SEGMENTS, n_pairs).astype(np.int32)),
        counts=np.ceil(popularity * 10).astype(np.int64),
    )


def product(held: Held) -> Callable[[], None]:
    """The inner products and nothing else."""
    queries, songs = held.embeddings.input[answerable_queries(held.pairs)], held.embeddings.output
    scores = np.empty((QUERIES_AT_A_TIME, len(songs)), dtype=np.float32)

    def run() -> None:
        for start in range(0, len(queries), QUERIES_AT_A_TIME):
            part = queries[start : start + QUERIES_AT_A_TIME]
            np.matmul(part, songs.T, out=scores[: len(part)])

    return run


def evaluation(held: Held, scoring: Scoring) -> Callable[[], None]:
    """What a trial does after an epoch."""
    search = ExactNeighbourSearch(threads=1)

    def run() -> None:
        evaluate(
            scoring_rows(held.embeddings, scoring),
            held.pairs,
            search=search,
            k=K,
            hr_weight=0.5,
            repeats=Repeats.DROP,
            segments=tuple(f"segment {number}" for number in range(N_SEGMENTS)),
            training_counts=held.counts,
        )

    return run


def loop(held: Held, n_looped: int) -> Callable[[], None]:
    """Pair after pair by gensim, other pairs each time."""
    vectors = KeyedVectors(held.embeddings.input.shape[1])
    vectors.add_vectors([str(song) for song in range(len(held.counts))], held.embeddings.input)
    vectors.fill_norms()
    pairs = iter(zip(held.pairs.query.astype(str).tolist(), held.pairs.target.astype(str).tolist(), strict=True))

    def run() -> None:
        n_hits = 0
        for _, (query, target) in zip(range(n_looped), pairs, strict=False):
            n_hits += target in {song for song, _ in vectors.most_similar(query, topn=K)}

    return run


def cpu_s(run: Callable[[], None]) -> float:
    """Processor seconds of one run."""
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--looped", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    held = made_up(n_songs=given.songs, dim=given.dim, n_pairs=given.pairs)
    n_queries = len(answerable_queries(held.pairs))
    runs = {
        "sgemm": product(held),
        **{scoring.value: evaluation(held, scoring) for scoring in Scoring},
        "most_similar": loop(held, given.looped),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with threadpool_limits(1):
        evaluation(made_up(n_songs=100, dim=given.dim, n_pairs=10), Scoring.INPUT)()  # Numba is loaded once
        for _ in range(given.rounds):
            for name, run in runs.items():
                scale = given.pairs / given.looped if name == "most_similar" else 1.0
                seconds[name].append(scale * cpu_s(run))
    report(seconds, n_operations=2 * n_queries * given.songs * given.dim)
    print(
        f"{given.pairs:,} pairs, {n_queries:,} distinct queries, {given.songs:,} songs x {given.dim}, one core; "
        f"{given.looped} pairs looped over a round; {given.rounds} rounds; "
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"
    )


def report(seconds: dict[str, list[float]], *, n_operations: int) -> None:
    """A line each."""
    print(f"{'':14}{'cpu s':>9}{'GFLOP/s':>9}{'of sgemm':>10}{'x the loop':>12}")
    for name, rounds in seconds.items():
        took = statistics.median(rounds)
        line = f"{name:14}{took:9.2f}"
        if name != "most_similar":
            share = _ratio(seconds["sgemm"], rounds)
            line += f"{n_operations / took / 1e9:9.1f}{share:10.2f}{_ratio(seconds['most_similar'], rounds):12.0f}"
        print(line)


def _ratio(of: list[float], to: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


if __name__ == "__main__":
    main()
