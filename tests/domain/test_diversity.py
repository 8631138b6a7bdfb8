"""Maximal marginal relevance against its definition, song by song."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.diversity import most_marginally_relevant
from app.domain.embedding import Matrix, unit_rows


def by_definition(relevance: NDArray[np.float64], rows: Matrix, *, k: int, weight: float) -> list[int]:
    chosen: list[int] = []
    left = list(range(len(relevance)))
    while left and len(chosen) < k:
        values = [
            weight * float(relevance[i])
            - (1 - weight) * max((float(np.float64(rows[j] @ rows[i])) for j in chosen), default=0.0)
            for i in left
        ]
        chosen.append(left.pop(int(np.argmax(values))))
    return chosen


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), k=st.integers(1, 12), weight=st.floats(0, 1))
def test_it_is_the_definition(seed: int, n: int, k: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.normal(size=(n, 5)).astype(np.float32))
    relevance = rng.uniform(-1, 1, n)

    chosen = most_marginally_relevant(relevance, rows, k=k, weight=weight)

    assert chosen.tolist() == by_definition(relevance, rows, k=k, weight=weight)


@pytest.mark.parametrize("k", [3, 10])
def test_relevance_alone_is_the_order_of_relevance(k: int) -> None:
    relevance = np.array([0.1, 0.9, 0.5, 0.9])

    chosen = most_marginally_relevant(relevance, np.eye(4, dtype=np.float32), k=k, weight=1.0)

    assert chosen.tolist() == [1, 3, 2, 0][:k]


def test_without_relevance_the_least_alike_follow_each_other() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)

    assert most_marginally_relevant(np.ones(4), rows, k=4, weight=0.0).tolist() == [0, 3, 2, 1]


def test_of_no_candidates_none_is_chosen() -> None:
    assert len(most_marginally_relevant(np.empty(0), np.empty((0, 2), dtype=np.float32), k=3, weight=0.5)) == 0
