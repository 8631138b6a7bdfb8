"""Embeddings: one row a song, and the two matrices that a scoring compares.

Notation: u_i, v_i the input and output vector of song i, shape `(dim,)`. A scoring turns them into query rows Q and
song rows S, float32 `(n_songs, dim)`, such that the score of song j for query i is the inner product of Q_i and S_j.

    input   cos(u_i, u_j)             Q = S = u / |u|                  the article
    output  u_i / |u_i| . v_j         Q = u / |u|, S = v               what skip-gram is trained for
    sum     cos(u_i + v_i, u_j + v_j) Q = S = (u + v) / |u + v|
"""

from dataclasses import dataclass
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
class ScoringRows:
    """Query rows and song rows of the songs a model knows; see the module header for Q and S."""

    queries: Matrix
    songs: Matrix
    is_known: NDArray[np.bool_]


def unit_rows(matrix: Matrix) -> Matrix:
    """Each row over its Euclidean norm; zero rows stay zero. A new array."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    rows: Matrix = np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)
    return rows


def scoring_rows(embeddings: Embeddings, scoring: Scoring) -> ScoringRows:
    """The rows whose inner products are this scoring."""
    if scoring is Scoring.OUTPUT:
        return ScoringRows(unit_rows(embeddings.input), embeddings.output.copy(), embeddings.is_known.copy())
    vectors = embeddings.input if scoring is Scoring.INPUT else embeddings.input + embeddings.output
    rows = unit_rows(vectors)
    return ScoringRows(rows, rows, embeddings.is_known.copy())
