"""The article's way to tune: one script, gensim and bayesian-optimization, point after point.

What a good practitioner writes without Segue: sessions as lists of text tokens, which gensim reads as an iterable and
trains on all cores; for each held-out pair `most_similar`, in a loop; five random points, then the points that expected
improvement suggests. Nothing is slowed down: a query that comes again is looked up, not asked again, and the products
inside `most_similar` run on as many cores as NumPy's BLAS takes.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bayes_opt import BayesianOptimization
from bayes_opt.acquisition import ExpectedImprovement
from gensim.models import KeyedVectors, Word2Vec

K = 10
EPOCHS = 3
N_INITIAL = 5
BOUNDS = {"vector_size": (10.0, 200.0), "window": (1.0, 40.0), "negative": (1.0, 40.0), "alpha": (0.001, 0.1)}
INTEGERS = ("vector_size", "window", "negative")

Sessions = Sequence[Sequence[str]]
TokenPairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptTrial:
    """One point, what it scored, and the seconds that training and the loop over the pairs took."""

    parameters: Mapping[str, float]
    objective: float
    train_s: float
    loop_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRun:
    """What the script did; `wall_s` is all of it, the suggestions too."""

    trials: Sequence[ScriptTrial]
    wall_s: float

    @property
    def best(self) -> ScriptTrial:
        """The trial with the highest objective."""
        return max(self.trials, key=lambda trial: trial.objective)


def tune(sessions: Sessions, pairs: TokenPairs, *, n_trials: int, seed: int) -> ScriptRun:
    """Run the script."""
    trials: list[ScriptTrial] = []

    def objective(**point: float) -> float:
        trial = measured(sessions, pairs, rounded(point), seed=seed)
        trials.append(trial)
        return trial.objective

    began_s = time.perf_counter()
    n_initial = min(N_INITIAL, n_trials)
    BayesianOptimization(
        objective,
        BOUNDS,
        acquisition_function=ExpectedImprovement(xi=0.01),
        random_state=seed,
        verbose=0,
        allow_duplicate_points=True,
    ).maximize(init_points=n_initial, n_iter=n_trials - n_initial)
    return ScriptRun(trials=trials, wall_s=time.perf_counter() - began_s)


def rounded(point: Mapping[str, float]) -> dict[str, float]:
    """The point with whole numbers where gensim wants them."""
    return {name: round(value) if name in INTEGERS else float(value) for name, value in point.items()}


def measured(sessions: Sessions, pairs: TokenPairs, parameters: Mapping[str, float], *, seed: int) -> ScriptTrial:
    """Train and measure one point."""
    began_s = time.perf_counter()
    model = Word2Vec(
        sentences=sessions,
        sg=1,
        epochs=EPOCHS,
        min_count=1,
        workers=os.cpu_count() or 1,
        seed=seed + 1,
        **parameters,
    )
    trained_s = time.perf_counter()
    objective = mean_objective(model.wv, pairs)
    return ScriptTrial(
        parameters=parameters,
        objective=objective,
        train_s=trained_s - began_s,
        loop_s=time.perf_counter() - trained_s,
    )


def mean_objective(vectors: KeyedVectors, pairs: TokenPairs) -> float:
    """Half of HR@10 and half of NDCG@10, over the pairs whose target is another song than their query."""
    lists: dict[str, dict[str, int]] = {}
    n_measured, total = 0, 0.0
    for query, target in pairs:
        if query == target:
            continue
        n_measured += 1
        if query not in vectors:
            continue
        if query not in lists:
            found = vectors.most_similar(query, topn=K)
            lists[query] = {song: rank for rank, (song, _) in enumerate(found, start=1)}
        rank = lists[query].get(target)
        if rank is not None:
            total += 0.5 + 0.5 / math.log2(1 + rank)
    return total / n_measured if n_measured else 0.0
