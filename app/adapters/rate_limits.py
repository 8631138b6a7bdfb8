"""How often a key may call: counted in Redis for all servers together, in memory where there is none or it is away.

Windows are fixed (the cheapest to count: one number a key and scope), so at their border a caller may have twice its
quota within one window's length. A Redis that does not answer refuses nobody: this server counts by itself, and tries
again a little later.
"""

import logging
import math
import time
from collections.abc import Mapping

import limits
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from app.domain.keys import Quota, Scope

BROKER_TIMEOUT_S = 0.25
RETRY_AFTER_S = 1.0

PREFIX = "segue:rate"

_log = logging.getLogger(__name__)


class RateLimits:
    """Quotas by scope, such as `600/minute`. Lives on the event loop."""

    def __init__(self, quotas: Mapping[Scope, str], *, redis_url: str | None = None) -> None:
        self._quotas = {scope: limits.parse(quota) for scope, quota in quotas.items()}
        self._here = FixedWindowRateLimiter(MemoryStorage())
        self._redis_url = redis_url
        self._storage: RedisStorage | None = None
        self._shared: FixedWindowRateLimiter | None = None
        self._away_until = 0.0
        self._is_away = False

    async def hit(self, key_id: str, scope: Scope) -> Quota | None:
        """Count a request of a key; what that leaves it. None where the scope has no quota."""
        quota = self._quotas.get(scope)
        if quota is None:
            return None
        if self._redis_url is not None and time.monotonic() >= self._away_until:
            try:
                counted = await _counted(self._limiter(self._redis_url), quota, key_id, scope)
            except (StorageError, OSError) as error:
                self._away_until = time.monotonic() + RETRY_AFTER_S
                if not self._is_away:  # once an outage
                    _log.warning("Redis is away, this server counts requests by itself: %s", type(error).__name__)
                self._is_away = True
            else:
                self._is_away = False
                return counted
        return await _counted(self._here, quota, key_id, scope)

    async def close(self) -> None:
        """Let the connections to Redis go."""
        if self._storage is not None:
            client = self._storage.bridge.storage  # type: ignore[attr-defined]  # limits has no way to close it
            await client.aclose()

    def _limiter(self, redis_url: str) -> FixedWindowRateLimiter:
        if self._shared is None:  # made on the loop that it lives on
            self._storage = _storage(redis_url)
            self._shared = FixedWindowRateLimiter(self._storage)
        return self._shared


def _storage(redis_url: str) -> RedisStorage:
    return RedisStorage(
        f"async+{redis_url}".replace("async+unix:", "async+redis+unix:"),
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix=PREFIX,
        socket_timeout=BROKER_TIMEOUT_S,
        socket_connect_timeout=BROKER_TIMEOUT_S,
    )


async def _counted(limiter: FixedWindowRateLimiter, quota: limits.RateLimitItem, key_id: str, scope: Scope) -> Quota:
    is_within = await limiter.hit(quota, key_id, scope.value)
    window = await limiter.get_window_stats(quota, key_id, scope.value)
    return Quota(
        scope=scope,
        limit=quota.amount,
        window_s=quota.get_expiry(),
        remaining=max(0, window.remaining),
        reset_s=max(1, math.ceil(window.reset_time - time.time())),
        is_exceeded=not is_within,
    )
