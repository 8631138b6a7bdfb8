"""Signals through Redis: idle workers on any machine hear at once that there may be work.

Nothing depends on a wake: where the broker is away, slow or forgetful, waiting turns into polling, and the broker is
tried again a little later. Each waiting thread keeps a subscription of its own, so a wake between two waits is found by
the second.
"""

import logging
import threading
import time
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.retry import Retry

from app.adapters.polling import PollingSignals

CHANNEL = "segue:wake"
BROKER_TIMEOUT_S = 0.5
RETRY_AFTER_S = 1.0
LOG_EVERY_S = 60.0

_log = logging.getLogger(__name__)


class RedisSignals:
    """Publish and subscribe on one channel."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=BROKER_TIMEOUT_S,
            socket_connect_timeout=BROKER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),  # a broker that was restarted
        )
        self._local = PollingSignals()
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._quiet_until = 0.0

    def wake(self) -> None:
        """Tell waiting workers; silently nobody when the broker is away."""
        self._local.wake()
        if self._is_away():
            return
        try:
            self._client.publish(CHANNEL, b"")
        except (redis.RedisError, OSError) as error:
            self._note(error)

    def wait(self, timeout_s: float) -> None:
        """Return when woken, or after the timeout."""
        deadline = time.monotonic() + timeout_s
        if not self._is_away():
            try:
                self._listen(deadline)
            except (redis.RedisError, OSError) as error:
                self.forget()
                self._note(error)
            else:
                self._local.wait(0.0)
                return
        self._local.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let go of this thread's subscription and of the connections."""
        self.forget()
        self._client.close()

    def __enter__(self) -> "RedisSignals":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, deadline: float) -> None:
        """Return at the first wake or at the deadline; wakes that piled up are read together."""
        subscription = self._subscription()
        is_woken = False
        while (remaining_s := 0.0 if is_woken else deadline - time.monotonic()) >= 0.0:
            message = subscription.get_message(timeout=remaining_s)
            if message is not None and message["type"] == "message":
                is_woken = True
            elif message is None and is_woken:
                return

    def _subscription(self) -> PubSub:
        subscription: PubSub | None = getattr(self._thread, "subscription", None)
        if subscription is None:
            subscription = self._client.pubsub()  # type: ignore[no-untyped-call]
            self._thread.subscription = subscription
            subscription.subscribe(CHANNEL)
        return subscription

    def forget(self) -> None:
        """Let go of this thread's subscription; its next wait makes a new one."""
        subscription: PubSub | None = getattr(self._thread, "subscription", None)
        self._thread.subscription = None
        if subscription is not None:
            subscription.close()

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _note(self, error: Exception) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)
        now = time.monotonic()
        with self._lock:
            self._away_until = now + RETRY_AFTER_S
            is_quiet = now < self._quiet_until
            if not is_quiet:
                self._quiet_until = now + LOG_EVERY_S
        if not is_quiet:
            _log.warning("Redis is away (%s): workers poll until it is back.", type(error).__name__)
