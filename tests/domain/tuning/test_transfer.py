"""Transfers: what may be asked for, and rank correlation with its interval."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from app.domain.errors import InvalidRequest
from app.domain.tuning.transfer import TransferSpec, agreement


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"fractions": (0.5,)}, "/fractions"),
        ({"fractions": (0.5, 0.2)}, "/fractions/1"),
        ({"fractions": (0.0, 0.2)}, "/fractions/0"),
        ({"fractions": (0.5, 1.5)}, "/fractions/1"),
        ({"n_top": 1}, "/n_top"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        TransferSpec(**changes)  # type: ignore[arg-type]
    assert refused.value.pointer == pointer


def test_correlations_are_scipys_and_lie_in_their_intervals() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(10)
    y = x + rng.normal(0, 0.2, 10)
    found = agreement(x.tolist(), y.tolist())
    assert found.spearman is not None
    assert found.kendall is not None
    assert found.spearman.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.kendall.value == pytest.approx(kendalltau(x, y).statistic)
    for correlation in (found.spearman, found.kendall):
        assert correlation.low is not None
        assert correlation.high is not None
        assert -1 <= correlation.low <= correlation.value <= correlation.high <= 1
    assert found == agreement(x.tolist(), y.tolist())


def test_a_sample_that_ranks_all_the_same_says_nothing() -> None:
    found = agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert (found.n, found.spearman, found.kendall) == (3, None, None)
