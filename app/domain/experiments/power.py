"""Power: how many users and days show a lift, from what the metric was in the past.

Notation: of all users a share w_c gets the control and w_t the treatment. With N users whose metric varies by v (after
CUPED) the difference has the variance v / N (1 / w_c + 1 / w_t), so that a lift of size delta is shown with the asked
power by

    N = v (1 / w_c + 1 / w_t) (c + z_power)^2 / delta^2          c: the boundary of the last planned look

The past is read as if the experiment had run then: everybody is exposed at the first play of a time as long as the
planned one, so that mean, variance and number of users are known for each day of it.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil, sqrt

import scipy

from app.domain.experiments.moments import Moments, contributions, theta
from app.domain.experiments.sequential import boundaries, planned_spending

N_DAYS_AHEAD = 365
"""Days that the growth of users is carried on for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What it takes to show a lift. What can't be told is None, with a `reason`.

    `n_users` are of control and treatment together, `n_control` and `n_treatment` of each; `n_days` is when so many
    have come. `smallest_lift`: the relative lift that the planned days show. `users_a_day` are new ones.
    """

    lift: float
    mean: float | None = None
    deviation: float | None = None
    n_users: int | None = None
    n_control: int | None = None
    n_treatment: int | None = None
    n_days: int | None = None
    smallest_lift: float | None = None
    users_a_day: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an experiment would be: shares of all users in control and treatment, and what it is to be read by."""

    control: float
    treatment: float
    alpha: float
    power: float
    n_days: int


def planned(history: Moments | None, *, lift: float, plan: Plan) -> Power:
    """Of a relative lift, not 0. `history` is of a time of `plan.n_days` days."""
    if history is None or history.n_users < 2:
        return Power(lift=lift, reason="Nobody played anything in the time that is looked at.")
    mean, variance = history.mean(), _variance(history)
    if mean is None or mean <= 0 or variance is None or variance <= 0:
        return Power(lift=lift, mean=mean, reason="The metric did not vary, or was 0, in the time that is looked at.")
    width = _boundary(plan) + float(scipy.special.ndtri(plan.power))
    spread = variance * (1.0 / plan.control + 1.0 / plan.treatment) * width**2
    n_all = spread / (lift * mean) ** 2  # of whom the experiment has its share
    arrived = history.totals[:, 0, 0]
    a_day = float(arrived[-1] - arrived[len(arrived) // 2]) / max(1, len(arrived) - 1 - len(arrived) // 2)
    if len(arrived) == 1:
        a_day = float(arrived[0])
    n_days, reason = _days(n_all, list(map(float, arrived)), a_day)
    n_control, n_treatment = ceil(n_all * plan.control), ceil(n_all * plan.treatment)
    return Power(
        lift=lift,
        mean=mean,
        deviation=sqrt(variance),
        n_users=n_control + n_treatment,
        n_control=n_control,
        n_treatment=n_treatment,
        n_days=n_days,
        smallest_lift=sqrt(spread / float(arrived[-1])) / mean,
        users_a_day=float(arrived[-1]) / len(arrived),
        reason=reason,
    )


def _variance(history: Moments) -> float | None:
    """Of what one user adds on the last day, after CUPED."""
    weights = contributions(history, theta(history, history, -1), -1)
    if weights is None:
        return None
    return float(weights @ history.totals[-1] @ weights) / (history.n_users - 1)


def _boundary(plan: Plan) -> float:
    """Of the last planned look, where each day brings as much as the others."""
    spent = planned_spending(plan.n_days, n_planned=plan.n_days, alpha=plan.alpha)
    return boundaries(spent, [0.0, *(sqrt(day / (day + 1)) for day in range(1, plan.n_days))])[-1]


def _days(n_users: float, arrived: list[float], a_day: float) -> tuple[int | None, str | None]:
    """When so many have come: as they did, then as they did on the last days."""
    for day, n in enumerate(arrived, start=1):
        if n >= n_users:
            return day, None
    if a_day > 0 and (n_users - arrived[-1]) / a_day + len(arrived) <= N_DAYS_AHEAD:
        return len(arrived) + ceil((n_users - arrived[-1]) / a_day), None
    return None, f"So many users do not come within {timedelta(days=N_DAYS_AHEAD).days} days."
