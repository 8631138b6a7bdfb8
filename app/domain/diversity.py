"""Diversity: songs chosen one by one for being near the profile and unlike those chosen before.

Notation: candidate i has relevance r_i (cosine with the profile) and a unit row u_i; S are the songs chosen so far.
Maximal marginal relevance takes next the i that maximises lambda r_i - (1 - lambda) max_{j in S} u_i . u_j, the second
term 0 for the first song. lambda = 1 is the order of relevance.
Source: Carbonell and Goldstein, The Use of MMR, SIGIR 1998.
"""

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Matrix


def most_marginally_relevant(
    relevance: NDArray[np.floating], rows: Matrix, *, k: int, weight: float
) -> NDArray[np.int64]:
    """Positions of up to k candidates in the order chosen, int64; equal ones by position.

    `relevance` `(n,)`, `rows` `(n, dim)` of unit length, `weight` the lambda in [0, 1]. Takes n k dim multiplications.

    >>> rows = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    >>> most_marginally_relevant(np.array([0.9, 0.8, 0.5]), rows, k=2, weight=0.5).tolist()
    [0, 2]
    """
    n_chosen = min(k, len(relevance))
    chosen = np.empty(n_chosen, dtype=np.int64)
    gain = weight * relevance.astype(np.float64)
    closest = np.zeros(len(relevance))  # to the songs chosen; nothing is chosen yet
    for place in range(n_chosen):
        best = int(np.argmax(gain - (1 - weight) * closest))
        chosen[place] = best
        similarity = rows @ rows[best]
        closest = similarity.astype(np.float64) if place == 0 else np.maximum(closest, similarity)
        gain[best] = -np.inf
    return chosen
