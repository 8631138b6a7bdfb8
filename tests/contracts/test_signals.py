"""What every kind of signals promises: waiting ends early when woken, and always by the timeout."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.adapters.polling import PollingSignals
from app.adapters.redis.signals import RedisSignals
from app.domain.ports import Signals

LONG_S = 10.0
SOON_S = 2.0


@pytest.fixture(params=["polling", "redis"])
def signals(request: pytest.FixtureRequest) -> Iterator[Signals]:
    if request.param == "polling":
        yield PollingSignals()
    else:
        with RedisSignals(request.getfixturevalue("redis_url")) as connected:
            yield connected


def seconds(wait: Callable[[], None]) -> float:
    began = time.monotonic()
    wait()
    return time.monotonic() - began


def test_waiting_ends_at_the_timeout(signals: Signals) -> None:
    assert 0.05 <= seconds(lambda: signals.wait(0.05)) < SOON_S


def test_waiting_no_time_returns_at_once(signals: Signals) -> None:
    assert seconds(lambda: signals.wait(0.0)) < SOON_S


def test_a_wake_ends_the_waiting_of_every_thread(signals: Signals) -> None:
    waited: list[float] = []

    def wait() -> None:
        signals.wait(0.01)
        are_listening.wait()
        waited.append(seconds(lambda: signals.wait(LONG_S)))
        if isinstance(signals, RedisSignals):
            signals.forget()

    are_listening = threading.Barrier(4)
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    are_listening.wait()
    signals.wake()
    for thread in threads:
        thread.join(LONG_S)
    assert len(waited) == 3
    assert max(waited) < SOON_S


def test_a_wake_between_two_waits_ends_the_second_at_once(signals: Signals) -> None:
    signals.wait(0.01)
    signals.wake()
    assert seconds(lambda: signals.wait(LONG_S)) < SOON_S


def test_many_wakes_end_one_wait(signals: Signals) -> None:
    signals.wait(0.01)
    for _ in range(50):
        signals.wake()
    assert seconds(lambda: signals.wait(LONG_S)) < SOON_S
    assert seconds(lambda: signals.wait(0.3)) >= 0.25
