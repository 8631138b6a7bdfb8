"""Schedules: five-field cron expressions, in UTC."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

AN_INSTANT = timedelta(minutes=1)


def check_expression(expression: str) -> None:
    """Raises: ValueError when it is no cron expression, or names no instant."""
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        msg = f"{expression!r} is no cron expression of five fields that ever comes"
        raise ValueError(msg) from error


def latest_tick(expression: str, now: datetime) -> datetime:
    """The last instant, up to now, at which the expression asks for something.

    >>> latest_tick("0 4 * * 1", datetime(2026, 1, 5, 4, tzinfo=UTC)).isoformat()
    '2026-01-05T04:00:00+00:00'
    """
    begin = now.astimezone(UTC).replace(second=0, microsecond=0) + AN_INSTANT  # the walk back leaves its begin out
    return next(CronSim(expression, begin, reverse=True))
