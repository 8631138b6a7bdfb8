"""Tables of a search space: many of its points, each trained and measured once, so that searching it costs nothing.

A table stands for an objective on the whole space: a point is worth what was measured at the nearest point of the table,
by Euclidean distance on the unit cube. So every value is one that training gave, noise included, the best one is known,
and every sampler meets the same objective, whatever coding it searches by. The points are a scrambled Sobol sequence of
the cube: as dense everywhere as so few can be.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import qmc

from app.domain.listening import Corpus
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.search_space import SearchSpace
from tests.benchmarks.quality import measured

TRAINING_SEED = 1


@dataclass(frozen=True)
class Row:
    """One point and its objective: the mean of HR@10 and NDCG@10 on the validation pairs."""

    corpus: str
    parameters: TrainingParameters
    objective: float


class Table:
    """The objective that a table stands for."""

    def __init__(self, space: SearchSpace, rows: Iterable[Row]) -> None:
        given = list(rows)
        self.space = space
        self.values: NDArray[np.float64] = np.array([row.objective for row in given])
        self._tree = KDTree(np.array([space.encode(row.parameters) for row in given]))

    @property
    def best(self) -> float:
        """The largest value."""
        return float(self.values.max())

    def __call__(self, parameters: TrainingParameters) -> float:
        """What was measured nearest to the point."""
        return float(self.values[self._tree.query(self.space.encode(parameters))[1]])


def points(space: SearchSpace, *, n: int) -> list[TrainingParameters]:
    """The first points of the sequence, the same ones each time."""
    cube = qmc.Sobol(d=space.n_dims, rng=np.random.default_rng(0)).random(n)
    return [space.decode(place) for place in cube]


def read(files: Iterable[Path]) -> dict[str, list[Row]]:
    """The rows of the files by corpus; files that are not there yet have none."""
    rows: dict[str, list[Row]] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            stored = json.loads(line)
            row = Row(stored["corpus"], TrainingParameters(**stored["parameters"]), stored["objective"])
            rows.setdefault(row.corpus, []).append(row)
    return rows


def trained(name: str, corpus: Corpus, todo: Iterable[TrainingParameters], *, processes: int) -> Iterator[Row]:
    """Train the points, in so many processes beside each other; rows come as they are ready."""
    with ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=_hold, initargs=(corpus,)) as pool:
        for parameters, objective in pool.map(_measured, todo):
            yield Row(name, parameters, objective)


def write(file: Path, row: Row) -> None:
    """Add a line."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


_held: list[Corpus] = []


def _hold(corpus: Corpus) -> None:
    _held[:] = [corpus]


def _measured(parameters: TrainingParameters) -> tuple[TrainingParameters, float]:
    row = measured(_held[0], parameters, Trainer.SEGUE, name="", number=0, seed=TRAINING_SEED)
    return parameters, (row.hr + row.ndcg) / 2
