"""Moments against their definition, and errors against closed forms and brute force."""

import numpy as np
import pytest

from app.domain.experiments.moments import Moments, Steps, contributions, standard_errors, theta
from tests.domain.experiments.users import Users, listeners

SEED = 20_261


@pytest.mark.parametrize("ratio", [True, False])
def test_steps_sum_up_to_the_moments_of_all_users_on_all_days(ratio: bool) -> None:
    users = listeners(np.random.default_rng(SEED), 300, ratio=ratio)

    found = users.steps().moments(is_ratio=ratio, has_covariate=True)

    wanted = users.moments()
    np.testing.assert_allclose(found.totals, wanted.totals, rtol=1e-12)
    if not ratio:
        np.testing.assert_allclose(found.lags, wanted.lags, rtol=1e-12)
    symmetric = (wanted.lags + wanted.lags.transpose(0, 2, 1)) / 2
    np.testing.assert_allclose((found.lags + found.lags.transpose(0, 2, 1)) / 2, symmetric, rtol=1e-12)


def test_groups_add_up() -> None:
    rng = np.random.default_rng(SEED)
    one, other = listeners(rng, 200), listeners(rng, 100)

    both = one.moments() + other.moments()

    values = np.concatenate([one.values, other.values])
    np.testing.assert_allclose(both.totals, np.einsum("nki,nkj->kij", values, values), rtol=1e-12)
    assert both.n_users == 300
    assert both.has_covariate


def test_the_first_days_are_the_moments_of_fewer_days() -> None:
    moments = listeners(np.random.default_rng(SEED), 100).moments()

    assert moments.until(3).n_days == 3
    assert moments.until(3).mean() == moments.mean(2)


def test_means_are_sums_over_sums() -> None:
    users = listeners(np.random.default_rng(SEED), 100)
    assert users.d is not None
    assert users.y_before is not None
    assert users.d_before is not None
    moments = users.moments()

    assert moments.mean() == pytest.approx(users.y[:, -1].sum() / users.d[:, -1].sum())
    assert moments.covariate() == pytest.approx(users.y_before.sum() / users.d_before.sum())
    assert moments.before().mean() == moments.covariate()


def test_what_has_no_denominator_has_no_mean() -> None:
    nothing = Moments(totals=np.zeros((1, 5, 5)), lags=np.zeros((1, 5, 5)), has_covariate=True)

    assert nothing.mean() is None
    assert nothing.covariate() is None
    assert theta(nothing, nothing, -1) == 0.0
    assert contributions(nothing, 0.0, -1) is None


def test_without_a_covariate_nothing_is_taken_off() -> None:
    users = listeners(np.random.default_rng(SEED), 100, ratio=False)
    plain = Users(exposed_on=users.exposed_on, y=users.y).moments()

    assert plain.covariate() is None
    assert theta(plain, users.moments(), -1) == 0.0


def test_a_covariate_that_does_not_vary_takes_nothing_off() -> None:
    users = listeners(np.random.default_rng(SEED), 100, ratio=False)
    constant = Users(exposed_on=users.exposed_on, y=users.y, y_before=np.full(100, 0.1)).moments()

    assert theta(constant, constant, -1) == 0.0


def test_a_group_whose_covariate_has_no_denominator_contributes_nothing() -> None:
    users = listeners(np.random.default_rng(SEED), 100)
    new = Users(
        exposed_on=users.exposed_on, y=users.y, d=users.d, y_before=np.zeros(100), d_before=np.zeros(100)
    ).moments()

    assert contributions(new, 0.5, -1) is None


def test_theta_is_the_slope_on_the_covariate() -> None:
    rng = np.random.default_rng(SEED)
    one, other = listeners(rng, 400, ratio=False), listeners(rng, 300, ratio=False)
    y = np.concatenate([one.y[:, -1], other.y[:, -1]])
    assert one.y_before is not None
    assert other.y_before is not None
    before = np.concatenate([one.y_before, other.y_before])

    slope = np.cov(y, before)[0, 1] / np.var(before, ddof=1)

    assert theta(one.moments(), other.moments(), -1) == pytest.approx(slope)


def test_the_error_of_plain_means_is_welchs() -> None:
    rng = np.random.default_rng(SEED)
    groups = [listeners(rng, n, ratio=False) for n in (400, 300)]
    plain = [Users(exposed_on=np.zeros(len(users.y), dtype=np.int64), y=users.y) for users in groups]

    errors, correlations = standard_errors(plain[0].moments(), plain[1].moments())

    by_day = sum(np.var(users.y, axis=0, ddof=1) / len(users.y) for users in plain)
    np.testing.assert_allclose(errors, np.sqrt(by_day), rtol=1e-9)
    covariance = sum(
        np.array([np.cov(users.y[:, day - 1], users.y[:, day])[0, 1] / len(users.y) for day in range(1, 14)])
        for users in plain
    )
    np.testing.assert_allclose(correlations[1:], covariance / (errors[:-1] * errors[1:]), rtol=1e-9)
    assert correlations[0] == 0.0


def test_the_correlation_of_days_is_that_of_the_estimates_over_many_experiments() -> None:
    rng = np.random.default_rng(SEED)
    found, lifts = [], []
    for _ in range(400):
        groups = [listeners(rng, 300, n_days=4, spread=0.5).moments() for _ in range(2)]
        errors, correlations = standard_errors(groups[0], groups[1])
        taken_off = [theta(groups[0], groups[1], day) for day in range(4)]
        found.append(correlations)
        lifts.append(
            [_adjusted(groups[1], taken_off[day], day) - _adjusted(groups[0], taken_off[day], day) for day in range(4)]
        )
        assert (errors > 0).all()
    actual = np.corrcoef(np.array(lifts).T)

    for day in range(1, 4):
        assert np.mean([each[day] for each in found]) == pytest.approx(actual[day - 1, day], abs=0.06)


def _adjusted(moments: Moments, taken_off: float, day: int) -> float:
    mean, before = moments.mean(day), moments.covariate(day)
    assert mean is not None
    assert before is not None
    return mean - taken_off * before


def test_days_before_two_users_have_no_error() -> None:
    users = listeners(np.random.default_rng(SEED), 50)
    late = Users(
        exposed_on=np.full(50, 2), y=users.y, d=users.d, y_before=users.y_before, d_before=users.d_before
    ).moments()

    errors, correlations = standard_errors(late, late)

    assert np.isnan(errors[:2]).all()
    assert (errors[2:] > 0).all()
    assert correlations[2] == 0.0


def test_users_who_are_all_alike_have_no_error() -> None:
    alike = Users(exposed_on=np.zeros(5, dtype=np.int64), y=np.ones((5, 2))).moments()

    errors, correlations = standard_errors(alike, alike)

    assert np.isnan(errors).all()
    assert correlations.tolist() == [0.0, 0.0]


def test_a_day_without_anything_is_the_day_before_again() -> None:
    steps = listeners(np.random.default_rng(SEED), 50, n_days=2).steps()
    quiet = Steps(
        first=np.concatenate([steps.first, np.zeros((1, 5, 5))]),
        later=np.concatenate([steps.later, np.zeros((1, 5, 5))]),
        grams=np.concatenate([steps.grams, np.zeros((1, 5, 5))]),
    ).moments(is_ratio=True, has_covariate=True)

    errors, correlations = standard_errors(quiet, quiet)

    assert errors[2] == errors[1]
    assert correlations[2] == pytest.approx(1.0)
