"""Cron expressions: the last instant up to now."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.adapters.schedules import check_expression, latest_tick

MONDAY = datetime(2026, 1, 5, 4, tzinfo=UTC)


def test_an_instant_has_come_from_its_very_moment_on() -> None:
    assert latest_tick("0 4 * * 1", MONDAY) == MONDAY
    assert latest_tick("0 4 * * 1", MONDAY - timedelta(microseconds=1)) == MONDAY - timedelta(days=7)
    assert latest_tick("0 4 * * 1", MONDAY + timedelta(days=6)) == MONDAY


def test_expressions_are_of_utc_wherever_the_clock_is() -> None:
    assert latest_tick("0 4 * * *", MONDAY.astimezone(timezone(timedelta(hours=5)))) == MONDAY


@pytest.mark.parametrize("expression", ["", "0 4 * *", "every day", "0 0 31 2 *"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="cron expression"):
        check_expression(expression)
