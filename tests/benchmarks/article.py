"""The article's whole study beside the article's script: `python -m tests.benchmarks.article [--trials 24]`.

Generated listening (50,000 songs, 2 million plays) is prepared once, a tenth of its sessions as in the article
(`--sample`). Then both tune the same four hyperparameters on the same sessions and pairs, each with all cores, one
after the other:

    Segue    the real service and worker on SQLite, trainer `segue`, as many slots and parallel trials as cores
    script   `article_script`: gensim, `most_similar` in a loop, one point after the other
    same     Segue again, with the script's points instead of its own

It prints their wall times and best objectives, and what the points cost by their hyperparameters: both choose their
own, and a point may cost a hundred times what another does. So there are two ratios to the script's time, each side
with its own points and both with the same (target: >= 10). Apart it prints what preparation took: the script is given
what Segue prepared. Segue's time is from the request for the study to its end, the winner's measurement on the test
pairs included; the script's is that of its points alone.

`--trials N` ends both after N trials. With `--pairs N` the script loops over N of the validation pairs, and that loop's
time is scaled by the distinct queries, for a query that comes again costs nothing.
"""

# ruff: noqa: T201 - a benchmark prints what it measured

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.adapters.corpus import read_corpus
from app.adapters.lane_word2vec import load_kernel
from app.domain.listening import Corpus, Preparation
from app.domain.training import Trainer
from app.domain.tuning.trial import Trial, TrialRole
from app.services.leasing import artifact_name
from tests.benchmarks import article_script
from tests.benchmarks.article_script import N_INITIAL, TokenPairs
from tests.benchmarks.generated import generated_sessions
from tests.benchmarks.house import House, house


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one of the two did: wall time in seconds, best objective, and its points."""

    wall_s: float
    best: float
    points: Sequence[Mapping[str, float]]

    @property
    def cost(self) -> float:
        """The mean of dimensions x window x (1 + negatives), which a skip-gram's arithmetic grows with."""
        return statistics.mean(
            point["vector_size"] * point["window"] * (1 + point["negative"]) for point in self.points
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One study by both. `scale` is what the seconds of the script's loop were multiplied by."""

    segue: Side
    script: Side
    same: Side
    prepared_s: float
    n_pairs: int
    scale: float

    @property
    def ratio(self) -> float:
        """How many times as long the script takes as Segue does with points of its own."""
        return self.script.wall_s / self.segue.wall_s

    @property
    def ratio_of_same(self) -> float:
        """The same where both train the same points."""
        return self.script.wall_s / self.same.wall_s


def main() -> None:
    """Print the rounds and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50_000)
    parser.add_argument("--plays", type=int, default=2_000_000)
    parser.add_argument("--sample", type=float, default=0.1, help="share of the sessions that is tuned on")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--pairs", type=int, help="validation pairs that the script loops over (default: all)")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    load_kernel()  # compiled once on a machine
    done: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        plays = Path(folder) / "plays.parquet"
        write_plays(plays, n_songs=given.songs, n_plays=given.plays)
        for seed in range(given.rounds):
            done.append(compared(plays, sample=given.sample, n_trials=given.trials, n_looped=given.pairs, seed=seed))
            report(done[-1], n_looped=given.pairs)
    print(
        f"script / Segue, medians of {given.rounds} round(s), target >= 10: each with its own points "
        f"{statistics.median(one.ratio for one in done):.1f}, both with the same "
        f"{statistics.median(one.ratio_of_same for one in done):.1f}"
    )
    print(
        f"{given.trials} trials, {given.songs:,} songs, {given.plays:,} plays, {given.sample:g} of the sessions; "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )


def write_plays(path: Path, *, n_songs: int, n_plays: int) -> None:
    """Generated plays as a client has them: `session_id` and `song_id`, each session's in order."""
    songs, offsets = generated_sessions(n_songs=n_songs, n_plays=n_plays, seed=0)
    sessions = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    columns = {"session_id": pa.array(sessions).cast(pa.string()), "song_id": pa.array(songs).cast(pa.string())}
    pq.write_table(pa.table(columns), path)


def compared(plays: Path, *, sample: float, n_trials: int, n_looped: int | None, seed: int) -> Round:
    """One study by Segue, then one by the script, when Segue's worker is gone, and Segue's with the script's points."""
    slots, preparation = os.cpu_count() or 1, Preparation(sample_fraction=sample)
    with house(plays, slots=slots, preparation=preparation) as home:
        segue = segue_side(home, n_trials=n_trials, parallelism=slots, seed=seed)
        files = home.container.store.open("datasets", artifact_name(home.dataset.id, home.dataset.attempt))
        corpus = read_corpus(files)
        sessions = [[str(song) for song in session.tolist()] for session in corpus.training_sessions()]
        pairs, scale = looped(corpus, n_looped)
        prepared_s = home.prepared_s
    run = article_script.tune(sessions, pairs, n_trials=n_trials, seed=seed)
    points = [trial.parameters for trial in run.trials]
    with house(plays, slots=slots, preparation=preparation) as home:
        same = segue_side(home, n_trials=n_trials, parallelism=slots, seed=seed, points=points)
    return Round(
        segue=segue,
        script=Side(
            wall_s=run.wall_s + (scale - 1) * sum(trial.loop_s for trial in run.trials),
            best=run.best.objective,
            points=points,
        ),
        same=same,
        prepared_s=prepared_s,
        n_pairs=len(pairs),
        scale=scale,
    )


def segue_side(
    home: House, *, n_trials: int, parallelism: int, seed: int, points: Sequence[Mapping[str, float]] = ()
) -> Side:
    """The study by the service and its worker, of these points if there are any."""
    n_initial = min(N_INITIAL, n_trials)
    began_s = time.perf_counter()
    view = home.completed(
        n_initial=n_initial,
        n_iterations=n_trials - n_initial,
        parallelism=parallelism,
        seed=seed,
        baselines=False,
        trainer=Trainer.SEGUE,
        points=points,
    )
    wall_s = time.perf_counter() - began_s
    trials = home.container.studies.trials(view.study.id, limit=1000, role=TrialRole.SEARCH).rows
    if view.best is None or view.best.objective is None:
        raise ValueError(view.best)
    return Side(wall_s=wall_s, best=view.best.objective, points=[_point(trial) for trial in trials])


def _point(trial: Trial) -> dict[str, float]:
    if trial.parameters is None or trial.outcome is None:
        raise ValueError(trial)
    return {name: float(getattr(trial.parameters, name)) for name in article_script.BOUNDS}


def looped(corpus: Corpus, n_looped: int | None) -> tuple[TokenPairs, float]:
    """The pairs that the script loops over, drawn at random, and how many times as many queries all of them have."""
    query, target = np.asarray(corpus.validation.query), np.asarray(corpus.validation.target)
    chosen = np.random.default_rng(0).permutation(len(query))[:n_looped]
    scale = len(np.unique(query)) / len(np.unique(query[chosen]))
    return list(zip(query[chosen].astype(str).tolist(), target[chosen].astype(str).tolist(), strict=True)), scale


def report(done: Round, *, n_looped: int | None) -> None:
    """Print one round."""
    print(f"{'':8}{'wall s':>9}{'best objective':>16}{'dim x window x (1 + negative)':>32}")
    for name, side in (("Segue", done.segue), ("script", done.script), ("same", done.same)):
        print(f"{name:8}{side.wall_s:9.1f}{side.best:16.4f}{side.cost:32,.0f}")
    print(f"script / Segue {done.ratio:.1f}, with the same points {done.ratio_of_same:.1f}")
    print(f"preparation apart {done.prepared_s:.1f} s, the worker's start included")
    if n_looped is not None:
        print(f"the script looped over {done.n_pairs:,} pairs, and its loop's seconds count {done.scale:.2f} times")


if __name__ == "__main__":
    main()
