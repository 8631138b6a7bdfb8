"""What metrics are made of."""

import numpy as np

from app.domain.experiments.metrics import Aggregate, Metric, MetricKind, MetricRole, MetricUnit, from_preset
from app.domain.experiments.moments import Steps
from app.domain.experiments.outcomes import Column, Due, Outcomes, Term, terms_of
from app.domain.plays import EventType

PLAYED = (EventType.PLAY, EventType.SKIP)
GOAL = MetricRole.GOAL


def test_a_mean_of_sessions_is_a_sum_to_their_number() -> None:
    terms = terms_of(from_preset("seconds_per_session", GOAL))

    assert terms.y == Term(Column(Aggregate(sum="seconds", event_types=PLAYED)))
    assert terms.d == Term(Column(None))


def test_sessions_are_counted_where_there_is_such_an_event() -> None:
    terms = terms_of(from_preset("sessions_per_user", GOAL))

    assert terms.y == Term(Column(Aggregate(sum="events", event_types=PLAYED), "sessions"))
    assert terms.d is None


def test_a_ratio_has_its_own_denominator() -> None:
    terms = terms_of(from_preset("skip_rate", GOAL))

    assert terms.d == Term(Column(Aggregate(sum="events", event_types=PLAYED)))
    assert terms.has_covariate


def test_who_returns_is_among_those_who_could() -> None:
    terms = terms_of(from_preset("returned_after_7_days", GOAL))

    assert terms.y == Term(Column(Aggregate(sum="events", event_types=PLAYED), "sum", 7), is_flag=True)
    assert terms.d == Due(7)
    assert not terms.has_covariate


def test_a_share_of_users_or_sessions_is_of_those_above_nought() -> None:
    likes = Aggregate(sum="events", event_types=(EventType.LIKE,))

    def binary(unit: MetricUnit) -> Metric:
        return Metric(name="liked", role=GOAL, kind=MetricKind.BINARY, unit=unit, numerator=likes)

    assert terms_of(binary(MetricUnit.USER)).y == Term(Column(likes), is_flag=True)
    assert terms_of(binary(MetricUnit.USER)).d is None
    assert terms_of(binary(MetricUnit.SESSION)).y == Term(Column(likes, "sessions"))
    assert terms_of(binary(MetricUnit.SESSION)).d == Term(Column(None))


def test_outcomes_are_summed_up_by_group() -> None:
    metric = from_preset("seconds_per_user", GOAL)
    first = np.zeros((2, 5, 5))
    first[0, 0, 0], first[0, 0, 1] = 3.0, 2.0
    steps = Steps(first=first, later=np.zeros((2, 5, 5)), grams=np.zeros((2, 5, 5)))
    outcomes = Outcomes(
        first_day=0, n_days=2, steps={metric.name: {("control", "ar"): steps}}, active={("control", "ar"): steps}
    )

    assert outcomes.moments(metric)["control", "ar"].n_users == 3
    assert outcomes.n_active() == {("control", "ar"): (3, 2)}
