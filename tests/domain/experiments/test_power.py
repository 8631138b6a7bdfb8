"""Users and days that a lift takes, against closed forms and simulated experiments."""

import numpy as np
import pytest
from scipy.stats import norm

from app.domain.experiments.moments import Moments, standard_errors, theta
from app.domain.experiments.power import Plan, planned
from tests.domain.experiments.users import Users, listeners

ONE_LOOK = Plan(control=0.5, treatment=0.5, alpha=0.05, power=0.8, n_days=1)


def _history(n: int, *, n_days: int = 1) -> Moments:
    rng = np.random.default_rng(9)
    return Users(
        exposed_on=np.sort(rng.integers(0, n_days, n)), y=np.repeat(rng.normal(10.0, 3.0, (n, 1)), n_days, axis=1)
    ).moments()


def test_users_are_those_of_the_textbook() -> None:
    history = _history(10_000)

    found = planned(history, lift=0.02, plan=ONE_LOOK)

    mean, variance = history.mean(), 3.0**2
    assert mean is not None
    z = norm.ppf(1 - 0.9 * 0.05 / 2) + norm.ppf(0.8)  # a tenth of alpha is kept for later
    assert found.n_control == pytest.approx(2 * variance * z**2 / (0.02 * mean) ** 2, rel=0.05)
    assert found.n_control is not None
    assert found.n_control is not None
    assert found.n_users == found.n_control + (found.n_treatment or 0)
    assert found.deviation == pytest.approx(3.0, rel=0.05)
    assert found.n_days == 1
    assert found.reason is None


def test_more_days_are_needed_where_fewer_users_come() -> None:
    plan = Plan(control=0.05, treatment=0.05, alpha=0.05, power=0.8, n_days=7)
    history = _history(7_000, n_days=7)

    assert planned(history, lift=0.03, plan=plan).n_days is not None
    assert (planned(history, lift=0.03, plan=plan).n_days or 0) > 7
    assert planned(history, lift=0.5, plan=plan).n_days == 1


def test_the_lift_that_the_plan_shows_takes_its_days() -> None:
    plan = Plan(control=0.5, treatment=0.5, alpha=0.05, power=0.8, n_days=7)
    history = _history(7_000, n_days=7)

    smallest = planned(history, lift=0.1, plan=plan).smallest_lift

    assert smallest is not None
    assert planned(history, lift=smallest * 1.0001, plan=plan).n_days == 7


def test_users_who_do_not_come_are_not_waited_for() -> None:
    found = planned(_history(100), lift=1e-5, plan=ONE_LOOK)

    assert found.n_days is None
    assert found.n_users is not None
    assert found.reason == "So many users do not come within 365 days."


def test_nothing_is_told_without_plays_or_variance() -> None:
    alike = Users(exposed_on=np.zeros(9, dtype=np.int64), y=np.ones((9, 1))).moments()
    silent = Users(exposed_on=np.zeros(9, dtype=np.int64), y=np.zeros((9, 1)), d=np.zeros((9, 1))).moments()

    assert planned(None, lift=0.1, plan=ONE_LOOK).reason == "Nobody played anything in the time that is looked at."
    for history in (alike, silent):
        assert "did not vary" in str(planned(history, lift=0.1, plan=ONE_LOOK).reason)
        assert planned(history, lift=0.1, plan=ONE_LOOK).n_users is None


def test_as_many_users_show_the_lift_as_often_as_was_asked_for() -> None:
    rng = np.random.default_rng(11)
    history = listeners(rng, 20_000, n_days=1, spread=0.5).moments()
    found = planned(history, lift=0.06, plan=ONE_LOOK)
    assert found.n_control is not None
    shown = 0
    for _ in range(300):
        groups = [
            listeners(rng, found.n_control, n_days=1, spread=0.5, effect=effect).moments() for effect in (0.0, 0.06)
        ]
        errors, _ = standard_errors(groups[0], groups[1])
        taken_off = theta(groups[0], groups[1], 0)
        adjusted = [(each.mean() or 0.0) - taken_off * (each.covariate() or 0.0) for each in groups]
        shown += (adjusted[1] - adjusted[0]) / errors[0] > norm.ppf(1 - 0.0225)

    assert shown / 300 == pytest.approx(0.8, abs=0.07)
