"""Whether Segue's trainer is as good as gensim: `python -m tests.benchmarks.quality [plays ...] [--results FILE]`.

Points are drawn from the article's space (a Latin hypercube, so that every twenty-fourth of each range has one) and
trained by both with the same seeds on the shipped set and on generated listening (50,000 songs, 2 million plays), and
on any other files of plays. HR@10 and NDCG@10 are those of the validation pairs. For each set it prints the points and

    difference   mean over points and seeds of (segue - gensim) over the mean of gensim, 95 % interval over the points
                 (target: inside +-2 %)
    worst point  its difference in standard errors of a difference of means, by gensim's own spread over seeds (pooled
                 over points, in proportion to the binomial deviation); target: above minus the limit, which chance
                 passes once in twenty times over all points
    rank         Spearman's correlation of the points' scores (target: at least 0.95)

Gensim needs hours for it. With `--results` what was measured is kept, a line a training, and not done again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc

from app.adapters.exact_search import ExactNeighbourSearch
from app.domain.embedding import scoring_rows
from app.domain.evaluating import evaluate
from app.domain.listening import Corpus
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.search_space import preset
from tests.adapters.prepared import prepared
from tests.benchmarks.generated import generated_corpus
from tests.benchmarks.house import SHIPPED
from worker.training import trainer_of

GENERATED = "generated"


@dataclass(frozen=True)
class Row:
    """One training. `train_s`: processor seconds."""

    corpus: str
    trainer: str
    point: int
    seed: int
    hr: float
    ndcg: float
    train_s: float


def main() -> None:
    """Measure, then print a table a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plays", nargs="*", type=Path, help="other files of plays")
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=9, help="seeds for each file of plays")
    parser.add_argument("--generated-seeds", type=int, default=3, help="seeds for the generated set")
    parser.add_argument("--results", type=Path, help="a file of JSON lines to go on with")
    parser.add_argument("--songs", type=int, default=50_000, help="songs of the generated set")
    parser.add_argument("--n-plays", type=int, default=2_000_000, help="plays of the generated set")
    parser.add_argument("--only", choices=[*Trainer], help="train by this one alone, to go on with later")
    given = parser.parse_args()
    points = drawn_points(given.points)
    trainers = [Trainer(given.only)] if given.only else [Trainer.GENSIM, Trainer.SEGUE]
    rows = kept(given.results)
    for name, corpus in corpora(given.plays, n_songs=given.songs, n_plays=given.n_plays):
        for seed in range(given.generated_seeds if name == GENERATED else given.seeds):
            for number, parameters in enumerate(points):
                for trainer in trainers:
                    key = (name, trainer.value, number, seed)
                    if key not in rows:
                        rows[key] = measured(corpus, parameters, trainer, name=name, number=number, seed=seed)
                        keep(given.results, rows[key])
        report(name, points, [row for row in rows.values() if row.corpus == name])


def drawn_points(n: int) -> list[TrainingParameters]:
    """Points of the article's space, the same ones each time."""
    space = preset("article", epochs=3, overrides={})
    cube = qmc.LatinHypercube(d=space.n_dims, rng=0, optimization="random-cd").random(n)
    return [space.decode(place) for place in cube]


def corpora(others: Sequence[Path], *, n_songs: int, n_plays: int) -> Iterator[tuple[str, Corpus]]:
    """The sets by name."""
    for path in (SHIPPED, *others):
        with tempfile.TemporaryDirectory() as folder:
            yield path.parent.name, prepared(Path(folder), path).corpus
    yield GENERATED, generated_corpus(n_songs=n_songs, n_plays=n_plays)


def kept(results: Path | None) -> dict[tuple[str, str, int, int], Row]:
    """What was measured before."""
    if results is None or not results.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines()]
    return {(row.corpus, row.trainer, row.point, row.seed): row for row in rows}


def keep(results: Path | None, row: Row) -> None:
    """Add a line."""
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def measured(
    corpus: Corpus, parameters: TrainingParameters, trainer: Trainer, *, name: str, number: int, seed: int
) -> Row:
    """Train once and measure on the validation pairs."""
    began_s = time.process_time()
    embeddings = trainer_of(trainer).train(
        corpus,
        parameters,
        seed=seed,
        threads=1,
        held_out=True,
        on_progress=lambda _progress: None,
        on_epoch=lambda _epoch, _embeddings: None,
    )
    train_s = time.process_time() - began_s
    scores = evaluate(
        scoring_rows(embeddings, parameters.scoring),
        corpus.validation,
        search=ExactNeighbourSearch(),
        k=10,
        hr_weight=0.5,
        repeats=corpus.split.repeats,
        segments=(),
        training_counts=corpus.training_counts(),
    ).overall
    if scores.hit_ratio is None or scores.ndcg is None:
        msg = f"{name} has no pairs."
        raise ValueError(msg)
    return Row(name, trainer.value, number, seed, scores.hit_ratio.value, scores.ndcg.value, train_s)


def report(name: str, points: Sequence[TrainingParameters], rows: Sequence[Row]) -> None:
    """Print the points that both have trained with the same seeds, and what comes of them."""
    by_key = {(row.trainer, row.point, row.seed): row for row in rows}
    seeds = [
        sorted(
            seed
            for trainer, point, seed in by_key
            if (trainer, point) == ("gensim", number) and ("segue", number, seed) in by_key
        )
        for number in range(len(points))
    ]
    print(f"\n{name}: HR@10 and NDCG@10 of gensim and segue, plays per second of segue over gensim")  # noqa: T201
    for number, parameters in enumerate(points):
        theirs, ours = ([by_key[t, number, seed] for seed in seeds[number]] for t in ("gensim", "segue"))
        if theirs:
            print(_line(parameters, theirs, ours))  # noqa: T201
    used = [number for number in range(len(points)) if seeds[number]]
    for metric in ("hr", "ndcg"):
        theirs_, ours_ = (
            [np.array([getattr(by_key[t, number, seed], metric) for seed in seeds[number]]) for number in used]
            for t in ("gensim", "segue")
        )
        if len(used) > 2:
            print(_summary(metric, theirs_, ours_))  # noqa: T201


def _line(parameters: TrainingParameters, theirs: Sequence[Row], ours: Sequence[Row]) -> str:
    hr, our_hr, ndcg, our_ndcg, train_s, our_train_s = (
        float(np.mean([getattr(row, name) for row in rows]))
        for name in ("hr", "ndcg", "train_s")
        for rows in (theirs, ours)
    )
    point = f"{parameters.vector_size:4} {parameters.window:3} {parameters.negative:3} {parameters.alpha:.4f}"
    scores = f"{hr:.4f} {our_hr:.4f}   {ndcg:.4f} {our_ndcg:.4f}"
    return f"{point}   {scores}   {train_s / our_train_s:5.1f}x   {len(ours)} seeds"


def _summary(metric: str, theirs: list[NDArray[np.float64]], ours: list[NDArray[np.float64]]) -> str:
    """The three figures of the module header."""
    mean, our_mean = (np.array([values.mean() for values in rows]) for rows in (theirs, ours))
    differences = (our_mean - mean) / mean.mean()
    half = stats.t.ppf(0.975, len(mean) - 1) * differences.std(ddof=1) / np.sqrt(len(mean))
    low, high = differences.mean() - half, differences.mean() + half
    n_seeds = np.array([len(values) for values in theirs])
    told = f"{metric}: difference {differences.mean():+.2%} [{low:+.2%}, {high:+.2%}]"
    told += f"   rank {stats.spearmanr(mean, our_mean).statistic:.4f}"
    told += f"   not a number: {int(sum(np.isnan(values).sum() for values in ours))}"
    if (n_seeds > 1).all():
        varies = (mean > 0) & (mean < 1)  # a point that learns nothing has no spread
        variances = np.array([values.var(ddof=1) for values in theirs])
        spread = (variances[varies] / (mean * (1 - mean))[varies]).mean()
        errors = np.sqrt(spread * mean * (1 - mean) * 2 / n_seeds)[varies]
        limit = stats.norm.ppf(1 - 0.05 / len(mean))
        told += f"   worst point {((our_mean - mean)[varies] / errors).min():+.1f} (limit {-limit:.1f})"
    return told


if __name__ == "__main__":
    main()
