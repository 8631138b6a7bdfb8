"""What every lease watch promises: a lease lapses when nobody extends it for its whole length, and not before."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from app.adapters.lease_watch import SteadyLeaseWatch
from app.domain.lease import Lease
from app.domain.ports import LeaseWatch
from tests.fakes.lease_watch import ClockLeaseWatch
from tests.values import FakeClock

LEASE_S = 30.0


@dataclass(frozen=True)
class Thing:
    """Something that a worker holds."""

    id: str
    lease: Lease | None


@dataclass
class Place:
    """A watch, and what there is to be watched."""

    clock: FakeClock
    watch: LeaseWatch
    things: dict[str, Thing]

    def take(self, name: str, *, length_s: float = LEASE_S) -> None:
        """A lease begins, or is extended."""
        lease = Lease(worker_id="w", expires_at=self.clock.at + timedelta(seconds=length_s), length_s=length_s)
        self.things[name] = Thing(name, lease)

    def lapsed(self) -> list[str]:
        """One look."""
        return [thing.id for thing in self.watch.unextended(lambda: list(self.things.values()))]


@pytest.fixture(params=["steady", "clock"])
def place(request: pytest.FixtureRequest) -> Place:
    clock = FakeClock()
    steady = SteadyLeaseWatch(lease_s=LEASE_S, now_s=clock.elapsed_s)
    return Place(clock, steady if request.param == "steady" else ClockLeaseWatch(clock), {})


def test_a_lease_that_nobody_extends_lapses_after_its_length(place: Place) -> None:
    place.take("a")
    assert place.lapsed() == []
    place.clock.advance(LEASE_S - 1)
    assert place.lapsed() == []
    place.clock.advance(2)
    assert place.lapsed() == ["a"]


def test_a_lease_that_is_extended_does_not_lapse(place: Place) -> None:
    for _ in range(5):
        place.take("a")
        assert place.lapsed() == []
        place.clock.advance(LEASE_S - 1)
    assert place.lapsed() == []


def test_leases_have_their_own_lengths(place: Place) -> None:
    place.take("short", length_s=10)
    place.take("long", length_s=100)
    assert place.lapsed() == []
    place.clock.advance(11)
    assert place.lapsed() == ["short"]
    place.clock.advance(60)
    assert "long" not in place.lapsed()


def test_what_is_in_nobodys_hands_does_not_lapse(place: Place) -> None:
    place.things["a"] = Thing("a", None)
    place.clock.advance(1000)
    assert place.lapsed() == []


def test_a_lease_that_could_not_be_taken_is_told_again(place: Place) -> None:
    place.take("a")
    place.lapsed()
    place.clock.advance(LEASE_S + 1)
    assert place.lapsed() == ["a"]
    assert place.lapsed() == ["a"]


def test_what_was_let_go_and_taken_again_begins_anew(place: Place) -> None:
    place.take("a")
    place.lapsed()
    place.clock.advance(LEASE_S - 1)
    held = place.things.pop("a")
    place.lapsed()
    place.things["b"] = replace(held, lease=None)
    place.take("a")
    place.clock.advance(2)
    assert place.lapsed() == []
