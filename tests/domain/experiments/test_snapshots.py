"""When a pass over the plays is answered, and when another is due."""

from datetime import timedelta

import pytest

from app.domain.experiments.snapshots import FRESH_TIMES, QUICK_S, Timing
from tests.values import NOON

DAY = timedelta(days=1)


def _timing(took_s: float) -> Timing:
    return Timing(until=NOON, made_at=NOON, took_s=took_s)


@pytest.mark.parametrize("took_s", [0.1, 60.0])
def test_a_fresh_pass_is_answered_and_not_made_again(took_s: float) -> None:
    now = NOON + timedelta(seconds=FRESH_TIMES * took_s) - timedelta(milliseconds=1)

    assert _timing(took_s).answers(NOON, now)
    assert not _timing(took_s).is_due(NOON, now)


def test_a_quick_pass_that_is_stale_is_made_again_by_who_asks() -> None:
    now = NOON + timedelta(seconds=FRESH_TIMES * QUICK_S)

    assert not _timing(QUICK_S).answers(NOON, now)
    assert not _timing(QUICK_S).is_due(NOON, now)


def test_a_slow_pass_that_is_stale_is_answered_while_a_worker_makes_it_again() -> None:
    now = NOON + timedelta(seconds=FRESH_TIMES * 60)

    assert _timing(60.0).answers(NOON, now)
    assert _timing(60.0).is_due(NOON, now)


@pytest.mark.parametrize("took_s", [0.1, 60.0])
def test_another_day_needs_another_pass(took_s: float) -> None:
    assert not _timing(took_s).answers(NOON + DAY, NOON)
    assert _timing(took_s).is_due(NOON + DAY, NOON)
