"""Estimates against tea-tasting on the users themselves, and against closed forms."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from tea_tasting.aggr import read_aggregates
from tea_tasting.metrics import Mean, RatioOfMeans

from app.adapters.experiment_effects import estimate
from app.domain.experiments.effects import Estimate, Unknown
from app.domain.experiments.moments import Moments, standard_errors
from tests.domain.experiments.users import Users, listeners

SEED = 5


def _estimated(control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05) -> Estimate:
    found = estimate(control, treatment, day=day, alpha=alpha)
    assert isinstance(found, Estimate)
    return found


def _pair(*, ratio: bool, n: int = 500) -> tuple[Users, Users]:
    rng = np.random.default_rng(SEED)
    return listeners(rng, n, ratio=ratio), listeners(rng, n + 50, ratio=ratio, effect=0.1)


@pytest.mark.parametrize("ratio", [True, False])
@pytest.mark.parametrize("day", [3, -1])
def test_sums_tell_what_the_users_themselves_do(ratio: bool, day: int) -> None:
    control, treatment = _pair(ratio=ratio)

    found = _estimated(control.moments(), treatment.moments(), day=day, alpha=0.1)

    names = ("one", "y", "d", "y_before", "d_before")
    rows = []
    for users in (control, treatment):
        last = day % users.y.shape[1]
        values = users.values[users.exposed_on <= last, last]
        rows.append(pa.table({name: values[:, i] for i, name in enumerate(names)}))
    metric = (
        RatioOfMeans("y", "d", "y_before", "d_before", confidence_level=0.9)
        if ratio
        else Mean("y", "y_before", confidence_level=0.9)
    )
    columns = metric.aggr_cols
    read = [
        read_aggregates(
            each,
            None,
            has_count=columns.has_count,
            mean_cols=columns.mean_cols,
            var_cols=columns.var_cols,
            cov_cols=columns.cov_cols,
        )
        for each in rows
    ]
    told = metric.analyze_aggregates(*read)
    assert found.lift == pytest.approx(told.effect_size, rel=1e-9)
    assert found.p_value == pytest.approx(told.pvalue, rel=1e-6)
    assert found.interval.low == pytest.approx(told.effect_size_ci_lower, rel=1e-9)
    assert found.interval.high == pytest.approx(told.effect_size_ci_upper, rel=1e-9)
    assert found.relative == pytest.approx(told.rel_effect_size, rel=1e-9)
    assert found.relative_interval is not None
    assert found.relative_interval.low == pytest.approx(told.rel_effect_size_ci_lower, rel=1e-9)


def test_a_plain_mean_is_compared_by_welchs_test() -> None:
    control, treatment = _pair(ratio=False)
    plain = [Users(exposed_on=np.zeros(len(each.y), dtype=np.int64), y=each.y) for each in (control, treatment)]

    found = _estimated(plain[0].moments(), plain[1].moments())

    told = stats.ttest_ind(plain[1].y[:, -1], plain[0].y[:, -1], equal_var=False)
    interval = told.confidence_interval(0.95)
    assert found.p_value == pytest.approx(told.pvalue, rel=1e-9)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.error == pytest.approx(abs(found.lift / told.statistic), rel=1e-9)
    assert found.variance_left is None


@pytest.mark.parametrize("ratio", [True, False])
def test_the_error_is_the_one_that_monitoring_rests_on(ratio: bool) -> None:
    control, treatment = (each.moments() for each in _pair(ratio=ratio))

    errors, _ = standard_errors(control, treatment)

    assert [_estimated(control, treatment, day=day).error for day in (1, 6, 13)] == pytest.approx(errors[[1, 6, 13]])


def test_what_was_before_the_exposure_takes_variance_off() -> None:
    control, treatment = (each.moments() for each in _pair(ratio=False))

    found = _estimated(control, treatment)

    assert found.variance_left is not None
    assert 0.0 < found.variance_left < 0.9


def test_equal_groups_have_a_lift_of_nought_and_an_interval_around_it() -> None:
    moments = _pair(ratio=True)[0].moments()

    found = _estimated(moments, moments)

    assert found.lift == pytest.approx(0.0, abs=1e-12)
    assert found.interval.low < 0 < found.interval.high
    assert found.p_value == pytest.approx(1.0)


def test_users_who_are_all_alike_tell_nothing() -> None:
    alike = Users(exposed_on=np.zeros(50, dtype=np.int64), y=np.full((50, 1), 0.1)).moments()

    assert estimate(alike, alike) == Unknown("All users have the same value: nothing tells how far chance reaches.")


def test_one_user_tells_nothing() -> None:
    one = Users(exposed_on=np.zeros(1, dtype=np.int64), y=np.ones((1, 1))).moments()

    assert estimate(one, one) == Unknown("Fewer than two users.")


def test_a_ratio_to_nothing_tells_nothing() -> None:
    nothing = Users(exposed_on=np.zeros(5, dtype=np.int64), y=np.zeros((5, 1)), d=np.zeros((5, 1))).moments()

    assert estimate(nothing, nothing) == Unknown("The denominator is 0.")


def test_what_is_relative_to_nothing_is_left_out() -> None:
    rng = np.random.default_rng(SEED)
    zero = np.zeros(200, dtype=np.int64)
    none = Users(exposed_on=zero, y=np.zeros((200, 1))).moments()
    some = Users(exposed_on=zero, y=rng.random((200, 1))).moments()

    found = _estimated(none, some)

    assert found.lift > 0
    assert found.relative is None
    assert found.relative_interval is None
    assert found.relative_within(2.0) is None
