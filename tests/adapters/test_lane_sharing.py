"""How many sessions are trained side by side."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.lane_kernel import LANES
from app.adapters.lane_word2vec import (
    FARTHEST,
    FEW_SHARED,
    FEWEST_DRAWN,
    MOST_WEIGHT,
    pairs_beside,
    sharing_for,
)
from app.domain.training import TrainingParameters

PARAMETERS = TrainingParameters(sg=1)


def enumerated(lengths: list[int], *, window: int, is_skip_gram: bool) -> float:
    """Over all pairs of all sessions, weighed by how often they are trained: the mean of their session's pairs."""
    n_pairs = []
    for length in lengths:
        of_reaches = [
            sum(at != centre and abs(at - centre) <= reach for at in range(length))
            for centre in range(length)
            for reach in range(1, window + 1)
        ]
        n_centres = length if length > 1 else 0
        n_pairs.append(sum(of_reaches) / window if is_skip_gram else n_centres)
    return sum(n * n for n in n_pairs) / sum(n_pairs)


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("window", [1, 2, 5, 12])
@pytest.mark.parametrize("lengths", [[2], [1, 2, 3], [9, 1, 9, 4, 30]], ids=str)
def test_pairs_beside_a_pair_are_those_enumerated(sg: int, window: int, lengths: list[int]) -> None:
    parameters = replace(PARAMETERS, sg=sg, window=window)
    expected = enumerated(lengths, window=window, is_skip_gram=sg == 1)
    assert pairs_beside(parameters, np.array(lengths)) == pytest.approx(expected)


def test_a_large_catalogue_trains_all_lanes_and_a_tiny_one_one() -> None:
    lengths = np.full(1_000, 10)
    assert sharing_for(PARAMETERS, lengths=lengths, n_known=50_000).lanes == 16
    assert sharing_for(PARAMETERS, lengths=lengths, n_known=20).lanes == 1


@pytest.mark.parametrize("negative", [1, 2])
def test_lanes_share_one_more_than_few_negatives_and_a_single_lane_draws_what_is_asked_for(negative: int) -> None:
    lengths, few = np.full(1_000, 10), replace(PARAMETERS, negative=negative)
    assert sharing_for(few, lengths=lengths, n_known=50_000).weight == pytest.approx(negative / (negative + 1))
    assert sharing_for(few, lengths=lengths, n_known=2).weight == 1


@given(
    parameters=st.builds(
        TrainingParameters,
        sg=st.integers(0, 1),
        window=st.integers(1, 100),
        negative=st.integers(1, 100),
        alpha=st.floats(1e-6, 1.0),
    ),
    lengths=st.lists(st.integers(1, 10_000), min_size=1, max_size=20).filter(lambda lengths: max(lengths) > 1),
    n_known=st.integers(1, 10**7),
)
def test_sharing_keeps_its_bounds(parameters: TrainingParameters, lengths: list[int], n_known: int) -> None:
    negative = parameters.negative
    sharing = sharing_for(parameters, lengths=np.array(lengths), n_known=n_known)
    assert 1 <= sharing.lanes <= max(LANES)
    assert sharing.weight <= MOST_WEIGHT
    assert sharing.weight <= 1 or sharing.lanes == max(LANES)
    assert sharing.weight >= 1 or (sharing.lanes > 1 and negative <= FEW_SHARED)
    assert np.ceil(negative / sharing.weight) >= min(negative, FEWEST_DRAWN)
    moved = parameters.alpha * negative * pairs_beside(parameters, np.array(lengths)) / n_known
    assert sharing.lanes == 1 or sharing.lanes * sharing.weight * moved <= FARTHEST * (1 + 1e-9)
