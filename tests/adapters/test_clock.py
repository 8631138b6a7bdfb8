"""The system's clock and identities."""

import re
from datetime import UTC, datetime

from app.adapters.clock import SystemClock, UuidIds


def test_the_clock_tells_the_present_in_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_later_identities_sort_after_earlier_ones_and_never_repeat() -> None:
    ids = UuidIds()
    made = [ids.new("trl") for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_identity_is_a_prefix_and_hexadecimal_digits() -> None:
    assert re.fullmatch(r"mdl_[0-9a-f]{32}", UuidIds().new("mdl"))
