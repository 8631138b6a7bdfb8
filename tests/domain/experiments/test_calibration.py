"""Correlations against SciPy's, intervals by simulation, and what is declined."""

import numpy as np
import pytest
from scipy import stats

from app.domain.experiments.calibration import (
    FEWEST,
    FEWEST_TO_PREDICT,
    Calibration,
    Comparison,
    Measured,
    calibrations,
    predicted,
    spearman,
)


def comparison(number: int, x: float, y: float | None, *, segment: str | None = None) -> Comparison:
    def around(value: float) -> Measured:
        return Measured(value=value, low=value - 0.01, high=value + 0.01)

    return Comparison(
        experiment_id=f"exp_{number}",
        variant="treatment",
        segment=segment,
        offline={"hit_ratio": around(x), "ndcg": around(-x)},
        n_pairs=500,
        lift=None if y is None else around(y),
        n_users=1_000,
    )


def calibrated(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Calibration:
    found = calibrations(
        [comparison(number, *point) for number, point in enumerate(zip(x.tolist(), y.tolist(), strict=True))],
        draws=np.random.default_rng(seed),
    )
    return next(each for each in found if each.measure == "hit_ratio" and each.segment is None)


@pytest.mark.parametrize("n_values", [3, 1_000])
def test_the_correlation_is_that_of_mean_ranks(n_values: int) -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        points = draws.integers(n_values, size=(12, 2)).astype(np.float64)
        assert spearman(points) == pytest.approx(float(stats.spearmanr(points).statistic))


def test_overall_and_each_segment_are_calibrated_by_themselves() -> None:
    both = [comparison(number, number, number) for number in range(6)]
    arabic = [comparison(number, number, -number, segment="ar") for number in range(6)]
    found = {(each.segment, each.measure): each for each in calibrations(both + arabic, draws=np.random.default_rng(0))}
    values = {key: each.correlation.value for key, each in found.items() if each.correlation is not None}
    assert values == pytest.approx(
        {(None, "hit_ratio"): 1, (None, "ndcg"): -1, ("ar", "hit_ratio"): -1, ("ar", "ndcg"): 1}
    )


def test_what_was_not_measured_on_both_sides_is_left_out() -> None:
    known = [comparison(number, number, number) for number in range(6)]
    found = calibrations([*known, comparison(7, 1.0, None)], draws=np.random.default_rng(0))
    assert {each.n for each in found} == {6}


@pytest.mark.parametrize("n", [0, FEWEST - 1])
def test_a_few_experiments_have_no_correlation(n: int) -> None:
    found = calibrated(np.arange(n), np.arange(n))
    assert found.correlation is None
    assert str(FEWEST) in str(found.reason)
    assert str(FEWEST_TO_PREDICT) in str(found.no_prediction)
    assert predicted(found, 0.1) is None


def test_lifts_that_are_all_the_same_have_no_order() -> None:
    found = calibrated(np.arange(25.0), np.zeros(25))
    assert found.correlation is None
    assert found.reason == found.no_prediction
    assert predicted(found, 0.1) is None


def test_variants_of_one_experiment_are_one_experiment() -> None:
    found = calibrations(
        [comparison(number // 3, number, number) for number in range(12)], draws=np.random.default_rng(0)
    )
    assert {each.n_experiments for each in found} == {4}
    assert all(each.correlation is None for each in found)


def test_even_perfect_order_leaves_room_for_doubt() -> None:
    few, many = calibrated(np.arange(5.0), np.arange(5.0)), calibrated(np.arange(60.0), np.arange(60.0))
    assert few.correlation is not None
    assert many.correlation is not None
    assert few.correlation.low < 0.5 < many.correlation.low < 1
    assert few.correlation.high <= 1


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_interval_covers_the_true_correlation(correlation: float) -> None:
    true = 6 / np.pi * np.arcsin(correlation / 2)  # Spearman's of the normal distribution
    draws = np.random.default_rng(7)
    covered = []
    for run in range(60):
        points = draws.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=15)
        found = calibrated(*points.T, seed=run).correlation
        assert found is not None
        covered.append(found.low <= true <= found.high)
    assert np.mean(covered) >= 0.9


def test_a_prediction_covers_new_experiments() -> None:
    draws = np.random.default_rng(11)
    covered = []
    for run in range(60):
        x = draws.normal(size=FEWEST_TO_PREDICT + 1)
        y = 0.5 * x + draws.standard_t(4, size=len(x))
        found = predicted(calibrated(x[:-1], y[:-1], seed=run), float(x[-1]))
        assert found is not None
        assert found.low <= found.value <= found.high
        covered.append(found.low <= y[-1] <= found.high)
    assert np.mean(covered) >= 0.85


def test_a_prediction_follows_the_line_whatever_one_experiment_says() -> None:
    x = np.linspace(-1, 1, 41)
    y = 2 * x
    y[0] = 50.0
    found = predicted(calibrated(x, y), 0.25)
    assert found is not None
    assert found.value == pytest.approx(0.5)


def test_differences_that_are_the_same_but_for_one_predict_the_median() -> None:
    x, y = np.zeros(25), np.arange(25.0)
    x[-1] = 1.0
    found = predicted(calibrated(x, y), 0.0)
    assert found is not None
    assert found.low <= 11.5 <= found.high
