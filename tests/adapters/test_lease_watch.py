"""The steady watch believes its own clock alone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from app.adapters.lease_watch import SteadyLeaseWatch
from app.domain.lease import Lease
from tests.values import NOON

HOUR_S = 3600.0


@dataclass(frozen=True)
class Thing:
    """Something that a worker holds."""

    id: str
    lease: Lease | None


def held(expires_in_s: float, *, length_s: float | None = 30.0) -> Thing:
    return Thing("a", Lease(worker_id="w", expires_at=NOON + timedelta(seconds=expires_in_s), length_s=length_s))


class Looker:
    """A watch with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.watch = SteadyLeaseWatch(lease_s=30.0, now_s=lambda: self.now_s)

    def sees(self, thing: Thing, *, at_s: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Whether the lease has lapsed, seen at this second."""
        self.now_s = at_s

        def read() -> list[Thing]:
            meanwhile()
            return [thing]

        return bool(self.watch.unextended(read))

    def wait(self, seconds: float) -> None:
        """Stand still in the middle of something."""
        self.now_s += seconds


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_where_the_databases_clock_stands_is_of_no_account(jump_s: float) -> None:
    looker = Looker()
    assert not looker.sees(held(30), at_s=0)
    assert not looker.sees(held(10 + 30 + jump_s), at_s=10), "the holder extended it after the jump"
    assert not looker.sees(held(10 + 30 + jump_s), at_s=39)
    assert looker.sees(held(10 + 30 + jump_s), at_s=41), "and then died"


def test_a_lease_that_ended_long_ago_is_given_its_whole_length() -> None:
    looker = Looker()
    assert not looker.sees(held(-HOUR_S), at_s=0)
    assert not looker.sees(held(-HOUR_S), at_s=29)
    assert looker.sees(held(-HOUR_S), at_s=30)


def test_a_lease_that_does_not_tell_its_length_has_the_lookers_own() -> None:
    looker = Looker()
    looker.sees(held(30, length_s=None), at_s=0)
    assert not looker.sees(held(30, length_s=None), at_s=29)
    assert looker.sees(held(30, length_s=None), at_s=30)


def test_the_time_that_a_look_takes_counts_for_the_holder() -> None:
    looker = Looker()
    looker.sees(held(30), at_s=0, meanwhile=lambda: looker.wait(20))
    assert not looker.sees(held(30), at_s=31, meanwhile=lambda: looker.wait(60))
    assert looker.sees(held(30), at_s=100)


def test_an_answer_that_never_came_changes_nothing() -> None:
    looker = Looker()

    def fail() -> None:
        raise ConnectionError

    looker.sees(held(30), at_s=0)
    with pytest.raises(ConnectionError):
        looker.sees(held(30), at_s=15, meanwhile=fail)
    assert looker.sees(held(30), at_s=30)
