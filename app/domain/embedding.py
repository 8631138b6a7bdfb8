"""Embeddings: one row a song, and the two matrices that a scoring compares.

Notation: u_i, v_i the input and output vector of song i, shape `(dim,)`. A scoring turns them into query rows Q and
song rows S, float32 `(n_songs, dim)`, such that the score of song j for query i is the inner product of Q_i and S_j.

    input   cos(u_i, u_j)             Q = S = u / |u|                  the article
    output  u_i / |u_i| . v_j         Q = u / |u|, S = v               what skip-gram is trained for
    sum     cos(u_i + v_i, u_j + v_j) Q = S = (u + v) / |u + v|
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


class Scoring(StrEnum):
    """Which vectors are compared; see the module header."""

    INPUT = "input"
    OUTPUT = "output"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What training leaves: `input` and `output` float32 `(n_songs, dim)`, `is_known` bool `(n_songs,)`.

    Rows of songs that training never saw are zero and not known.
    """

    input: Matrix
    output: Matrix
    is_known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors float32 `(n, dim)` that are made block by block where they are looked at: their matrix is never built.

    Row i is row `chosen[i]`, or i, of `matrix`; plus that row of `added`; over its norm if `is_unit`.
    """

    matrix: Matrix
    added: Matrix | None = None
    is_unit: bool = False
    chosen: NDArray[np.integer] | None = None

    def __len__(self) -> int:
        return len(self.matrix if self.chosen is None else self.chosen)

    def at(self, rows: NDArray[np.integer]) -> "Rows":
        """These of the rows, in this order."""
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def block(self, start: int, stop: int) -> Matrix:
        """Rows from `start` to before `stop` (or the end): a new array, row after row in memory."""
        place = slice(start, stop) if self.chosen is None else self.chosen[start:stop]
        rows = self.matrix[place] if self.added is None else self.matrix[place] + self.added[place]
        return np.array(unit_rows(rows) if self.is_unit else rows, dtype=np.float32, order="C")

    def whole(self) -> Matrix:
        """All of them: a new array."""
        return self.block(0, len(self))


@dataclass(frozen=True, slots=True)
class ScoringRows:
    """Query rows and song rows of the songs a model knows; see the module header for Q and S."""

    queries: Rows
    songs: Rows
    is_known: NDArray[np.bool_]


def unit_rows(matrix: Matrix) -> Matrix:
    """Each row over its Euclidean norm; zero rows stay zero. A new array."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    norms[norms == 0] = np.inf
    rows: Matrix = np.divide(matrix, norms)
    return rows


def served_bytes(rows: ScoringRows) -> int:
    """Bytes of the float32 vectors that a model serves from: of known songs, once where queries and songs share them.

    >>> one, two = (np.zeros((3, 5), dtype=np.float32) for _ in range(2))
    >>> embeddings = Embeddings(one, two, is_known=np.array([True, False, True]))
    >>> [served_bytes(scoring_rows(embeddings, scoring)) for scoring in Scoring]
    [40, 80, 40]
    """
    n_matrices = 1 if rows.queries is rows.songs else 2
    return int(n_matrices * rows.is_known.sum() * rows.songs.matrix.shape[1] * np.dtype(np.float32).itemsize)


def scoring_rows(embeddings: Embeddings, scoring: Scoring) -> ScoringRows:
    """The rows whose inner products are this scoring. They look at the embeddings, which must stay as they are."""
    if scoring is Scoring.OUTPUT:
        return ScoringRows(Rows(embeddings.input, is_unit=True), Rows(embeddings.output), embeddings.is_known.copy())
    added = embeddings.output if scoring is Scoring.SUM else None
    rows = Rows(embeddings.input, added=added, is_unit=True)
    return ScoringRows(rows, rows, embeddings.is_known.copy())
