"""What a server follows of users."""

import logging
import time

import pytest

from app.adapters.live_listeners import LiveListeners
from app.domain.errors import Unavailable
from app.domain.listeners import PERMIT_S, Erasure, ListenerChanges
from tests.processes import until


class Changes:
    """What the database would say."""

    def __init__(self) -> None:
        self.erasures: list[Erasure] = []
        self.epoch: int | None = 1
        self.is_away = False
        self.asked: list[int] = []

    def __call__(self, after: int) -> ListenerChanges:
        self.asked.append(after)
        if self.is_away:
            raise Unavailable("The database cannot be reached.")
        some = [erasure for erasure in self.erasures if erasure.revision > after][:2]
        return ListenerChanges(erasures=some, epoch=self.epoch)


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def now_s() -> list[float]:
    return [100.0]


@pytest.fixture
def listeners(changes: Changes, now_s: list[float]) -> LiveListeners:
    return LiveListeners(changes, monotonic=lambda: now_s[0])


def test_all_who_were_erased_are_known_however_many_there_are(changes: Changes, listeners: LiveListeners) -> None:
    changes.erasures = [Erasure(f"u{number}", 10 + number, number) for number in range(1, 6)]

    listeners.look()

    assert [listeners.erased_at_ms(f"u{number}") for number in range(1, 7)] == [11, 12, 13, 14, 15, None]


def test_only_what_is_new_is_asked_for(changes: Changes, listeners: LiveListeners) -> None:
    changes.erasures = [Erasure("u", 10, 7)]
    listeners.look()
    changes.asked.clear()

    changes.erasures.append(Erasure("u", 99, 8))
    listeners.look()

    assert changes.asked == [7, 8]
    assert listeners.erased_at_ms("u") == 99


def test_whoever_was_never_told_looks_before_answering(changes: Changes, listeners: LiveListeners) -> None:
    changes.erasures = [Erasure("u", 10, 7)]

    assert listeners.erased_at_ms("u") == 10


def test_without_ever_having_looked_there_is_no_answer(changes: Changes, listeners: LiveListeners) -> None:
    changes.is_away = True

    with pytest.raises(Unavailable):
        listeners.erased_at_ms("u")


def test_a_permit_lapses_unless_it_is_looked_after(
    changes: Changes, listeners: LiveListeners, now_s: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    assert listeners.permit() is None
    listeners.look()
    assert listeners.permit() == 1
    changes.is_away = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            listeners.look()
    now_s[0] += PERMIT_S

    assert (listeners.permit(), listeners.last_epoch()) == (None, 1)
    assert len(caplog.records) == 1


def test_a_cache_that_is_off_is_off_at_once(changes: Changes, listeners: LiveListeners) -> None:
    listeners.look()
    changes.epoch = None

    listeners.look()

    assert (listeners.permit(), listeners.last_epoch()) == (None, None)


def test_changes_are_followed_until_it_is_stopped(changes: Changes) -> None:
    listeners = LiveListeners(changes, poll_s=0.01)
    listeners.start()
    listeners.start()
    until(lambda: len(changes.asked) > 2, "it looked again")

    listeners.stop()
    listeners.stop()

    n_asked = len(changes.asked)
    time.sleep(0.05)
    assert len(changes.asked) == n_asked
