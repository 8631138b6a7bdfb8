"""Tables of the article's space: points trained and measured once, so that searching the space costs nothing.

A table stands for an objective on the whole space: the thin-plate spline through its points on the unit cube. It gives
back what training gave at each of them, and whatever a sampler believes of the objective, it is not the sampler's own
model. How true it is in between is told by leaving each point out: `Table.explained`, the share of the variance that
the others foretell (the corners are not left out: no other could foretell them). The points are the corners of the
cube, so that the spline never runs beyond its points; then a scrambled Sobol sequence, in turn on the whole cube and
where the rate is high, for there the good points are; and at last, in rounds, those of which the table so far foretells
the most, so that its best is measured and no overshoot of the spline between its points.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.interpolate import RBFInterpolator
from scipy.spatial.distance import cdist
from scipy.stats import qmc

from app.domain.listening import Corpus
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.search_space import preset
from tests.benchmarks.quality import measured

SPACE = preset("article", epochs=3, overrides={})

TRAINING_SEED = 1

LEAST_DISTANCE = 0.02
"""Between a promising point and any other, in sides of the cube: whole numbers are rounded to."""

RATE = [parameter.name for parameter in SPACE.parameters].index("alpha")
"""The dimension of alpha."""

HIGH_RATES = 0.25
"""The share of the dimension at its upper end where half of the points lie: from a rate of about 0.03."""

N_DENSE = 2**13
"""Points among which the spline's best is looked for, beside the table's own."""

PROMISING = 0.25
"""The share of a table's points that are chosen by what it foretells of them."""

ROUND = 24
"""Such points that are chosen at a time."""


@dataclass(frozen=True)
class Row:
    """One point and its objective: the mean of HR@10 and NDCG@10 on the validation pairs."""

    corpus: str
    parameters: TrainingParameters
    objective: float


STORED = TypeAdapter(Row)


class Table:
    """The objective that a table stands for."""

    def __init__(self, rows: Iterable[Row]) -> None:
        given = list(rows)
        self._places = np.array([SPACE.encode(row.parameters) for row in given])
        self._values: NDArray[np.float64] = np.array([row.objective for row in given])
        self._spline = RBFInterpolator(self._places, self._values)
        self._dense = _sobol(N_DENSE)
        self._foretold: NDArray[np.float64] = self._spline(self._dense)
        self.best = float(max(self._values.max(), self._foretold.max()))

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, parameters: TrainingParameters) -> float:
        """The objective at a point."""
        return float(self._spline(SPACE.encode(parameters)[np.newaxis])[0])

    def promising(self, n: int) -> list[TrainingParameters]:
        """The n points of a dense sequence of which it foretells the most, those measured left out."""
        is_new = cdist(self._dense, self._places).min(axis=1) > LEAST_DISTANCE
        ranked = np.argsort(-self._foretold, kind="stable")
        return [SPACE.decode(self._dense[row]) for row in ranked[is_new[ranked]][:n]]

    def explained(self) -> float:
        """1 - the variance of what the other points foretell wrongly / the variance of the values."""
        inside = np.flatnonzero((np.abs(self._places - 0.5) < 0.48).any(axis=1))
        misses = []
        for left_out in inside:
            others = np.arange(len(self)) != left_out
            foretold = RBFInterpolator(self._places[others], self._values[others])(self._places[[left_out]])
            misses.append(foretold[0] - self._values[left_out])
        return float(1 - np.square(misses).mean() / self._values[inside].var())


def points(n: int) -> list[TrainingParameters]:
    """The first points of each table."""
    corners = np.array(list(product((0.0, 1.0), repeat=SPACE.n_dims)))
    anywhere = _sobol(n)
    at_high_rates = _sobol(n)
    at_high_rates[:, RATE] = 1 - HIGH_RATES * (1 - at_high_rates[:, RATE])
    inside = np.stack([anywhere, at_high_rates], axis=1).reshape(-1, SPACE.n_dims)
    return [SPACE.decode(place) for place in [*corners, *inside][:n]]


def todo(rows: Sequence[Row], *, n_points: int) -> list[TrainingParameters]:
    """The points to train next for a table of so many; none once it has them."""
    measured = {row.parameters for row in rows}
    first = [point for point in points(n_points - round(PROMISING * n_points)) if point not in measured]
    if first or len(rows) >= n_points:
        return first
    return Table(rows).promising(min(ROUND, n_points - len(rows)))


def _sobol(n: int) -> NDArray[np.float64]:
    sequence = qmc.Sobol(d=SPACE.n_dims, rng=np.random.default_rng(0))
    drawn: NDArray[np.float64] = sequence.random_base2(n.bit_length())[:n]
    return drawn


def read(files: Iterable[Path]) -> dict[str, list[Row]]:
    """The rows of the files by corpus; files that are not there yet have none."""
    rows: dict[str, list[Row]] = {}
    for file in files:
        for line in file.read_bytes().splitlines() if file.exists() else ():
            row = STORED.validate_json(line)
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
"""The corpus that a process trains on: given once, as it is larger than a point."""


def _hold(corpus: Corpus) -> None:
    _held[:] = [corpus]


def _measured(parameters: TrainingParameters) -> tuple[TrainingParameters, float]:
    row = measured(_held[0], parameters, Trainer.SEGUE, name="", number=0, seed=TRAINING_SEED)
    return parameters, (row.hr + row.ndcg) / 2
