"""Users' newest plays in Redis: read in one round trip, and never wrong, whatever Redis does.

A user has two keys: the plays, packed, or the ticket of whoever is reading them from SQL; and the number of changes
under way. Both names hold the epoch (see `app.domain.listeners`) and the server's run id.

    find   MGET both: plays, and no change under way: the answer. Nothing: SET NX a ticket, which is drawn at random
    fill   if no change is under way and the ticket is still there: replace it by the plays
    close  before the commit: count the change, drop the plays or the ticket        open  after it: uncount, drop

So what was read before a change is never kept after it: its ticket is gone, and tickets are drawn once. A command that
arrives late, from a socket that nobody waits at any more, finds another ticket too. Redis that is flushed, evicts keys
or restarts loses counts of changes; `open` drops what was filled in meanwhile, and only then is the change
acknowledged. Redis that restarts from an old snapshot has another run id, so old plays are under names that nobody asks
for. A writer that cannot reach Redis, or not be certain, puts the cache off for all servers in SQL before it
acknowledges. All servers must be given the same Redis.

The alternative, a counter per user in SQL that each read compares, costs the read of SQL that the cache is to save.

Packed, little-endian: format (u8), whole (u8), n (u16); n each of played_at_ms i64, seconds_streamed f32, durations_s
f32, events u8; then the song ids in UTF-8 with NUL between them (an id holds none).
"""

import logging
import secrets
import struct
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, cast

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from app.domain.plays import RecentPlays

TIMEOUT_S = 0.05
"""Redis that takes longer is away: SQL would have answered."""

PAUSE_S = 1.0
"""How long Redis that was found away is not asked."""

LOG_EVERY_S = 60.0

KEPT_S = 3_600
"""Seconds that plays are kept: a user who is gone takes no memory."""

TICKET_S = 10
"""Seconds that whoever reads SQL has to fill in."""

CHANGE_S = 600
"""Seconds after which a change whose writer died no longer keeps a user out of the cache: no commit takes so long."""

USERS_AT_ONCE = 500
"""Users of one command: Redis serves nobody else meanwhile, about a millisecond."""

FORMAT = 1
HEADER = struct.Struct("<BBH")
BYTES_PER_PLAY = 8 + 4 + 4 + 1
TICKET = b"\xff"
"""First byte of a ticket, which no format has."""

_FILL = """
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""
_CLOSE = """
for i = 1, #KEYS, 2 do
  redis.call('INCR', KEYS[i + 1])
  redis.call('EXPIRE', KEYS[i + 1], ARGV[1])
  redis.call('DEL', KEYS[i])
end
"""
_OPEN = """
for i = 1, #KEYS, 2 do
  redis.call('DEL', KEYS[i])
  if redis.call('EXISTS', KEYS[i + 1]) == 1 and redis.call('DECR', KEYS[i + 1]) <= 0 then
    redis.call('DEL', KEYS[i + 1])
  end
end
"""

_log = logging.getLogger(__name__)


class RedisHistories:
    """The port `HistoryCache`; see the module header."""

    def __init__(
        self, url: str, *, n_kept: int, pause_s: float = PAUSE_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._n_kept = n_kept
        self._pause_s = pause_s
        self._monotonic = monotonic
        self._run_id: str | None = None
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._connected,
        )
        self._fill = self._client.register_script(_FILL)
        self._close = self._client.register_script(_CLOSE)
        self._open = self._client.register_script(_OPEN)
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._quiet_until = 0.0

    @property
    def n_kept(self) -> int:
        """How many plays of a user are kept."""
        return self._n_kept

    def find(self, user_id: str, *, epoch: int) -> RecentPlays | str | None:
        """The plays; or a ticket to `fill` in what is missing; or None: away, or others are at it."""

        def ask(run_id: str) -> RecentPlays | str | None:
            plays, changes = _keys(run_id, epoch, user_id)
            found, n_changes = cast("list[bytes | None]", self._client.mget(plays, changes))
            if n_changes is not None or (found is not None and found.startswith(TICKET)):
                return None
            if found is not None:
                return unpacked(found)
            ticket = secrets.token_hex(16)
            is_given = self._client.set(plays, TICKET + ticket.encode(), nx=True, ex=TICKET_S)
            return ticket if is_given else None

        answer, run_id = self._asked(ask)
        return answer if run_id == self._run_id else None

    def fill(self, user_id: str, plays: RecentPlays, *, epoch: int, ticket: str) -> None:
        """Keep them, unless the user was closed since the ticket was given."""
        packed_plays = packed(plays.newest(self._n_kept))

        def ask(run_id: str) -> None:
            self._fill(keys=_keys(run_id, epoch, user_id), args=[TICKET + ticket.encode(), packed_plays, KEPT_S])

        self._asked(ask)

    def close(self, user_ids: Collection[str], *, epoch: int) -> bool:
        """Forget the users and let nobody fill them in until `open`; False when that is not certain."""
        return self._each(self._close, user_ids, epoch=epoch, args=[CHANGE_S])

    def open(self, user_ids: Collection[str], *, epoch: int) -> bool:
        """Forget the users, and end what `close` began; False when that is not certain."""
        return self._each(self._open, user_ids, epoch=epoch, args=[])

    def stop(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _each(self, script: Any, user_ids: Collection[str], *, epoch: int, args: list[int]) -> bool:  # noqa: ANN401
        names = sorted(user_ids)

        def ask(run_id: str) -> bool:
            for start in range(0, len(names), USERS_AT_ONCE):
                keys = [key for name in names[start : start + USERS_AT_ONCE] for key in _keys(run_id, epoch, name)]
                script(keys=keys, args=args)
            return True

        is_done, run_id = self._asked(ask)
        return is_done is True and run_id == self._run_id

    def _asked(self, ask: Callable[[str], Any]) -> tuple[Any, str | None]:
        """What Redis says, and the run id that it was asked under; None while it is away."""
        if self._monotonic() < self._away_until:
            return None, None
        try:
            if self._run_id is None:
                self._client.ping()  # connects, and so learns the run id
            run_id = self._run_id
            return (None, None) if run_id is None else (ask(run_id), run_id)
        except (redis.RedisError, OSError, ValueError) as error:
            self._note(error)
            return None, None

    def _connected(self, connection: AbstractConnection) -> None:
        """Greet a server, and learn which start of it this is."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        answer = connection.read_response()
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        self._run_id = next(line[7:].strip() for line in text.splitlines() if line.startswith("run_id:"))

    def _note(self, error: Exception) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)
        now = self._monotonic()
        with self._lock:
            self._away_until = now + self._pause_s
            is_quiet = now < self._quiet_until
            if not is_quiet:
                self._quiet_until = now + LOG_EVERY_S
        if not is_quiet:
            _log.warning("The cache of histories is away (%s): they are read from SQL.", type(error).__name__)


def _keys(run_id: str, epoch: int, user_id: str) -> tuple[str, str]:
    """The names of the user's plays and of the number of changes under way."""
    name = f"segue:history:{run_id[:16]}:{epoch}:{user_id}"
    return name, f"{name}\0changes"


def packed(plays: RecentPlays) -> bytes:
    """The plays as bytes; see the module header."""
    return b"".join(
        (
            HEADER.pack(FORMAT, plays.is_whole, len(plays)),
            plays.played_at_ms.astype("<i8").tobytes(),
            plays.seconds_streamed.astype("<f4").tobytes(),
            plays.durations_s.astype("<f4").tobytes(),
            plays.events.tobytes(),
            "\0".join(plays.song_ids).encode(),
        )
    )


def unpacked(content: bytes) -> RecentPlays:
    """What `packed` packed; read-only arrays. Raises: ValueError when it is nothing of the kind."""
    if len(content) < HEADER.size:
        msg = "It is too short for a header."
        raise ValueError(msg)
    form, is_whole, n = HEADER.unpack_from(content)
    texts_at = HEADER.size + n * BYTES_PER_PLAY
    if form != FORMAT or len(content) < texts_at:
        msg = "It is of another format, or cut short."
        raise ValueError(msg)
    song_ids = content[texts_at:].decode().split("\0") if n else []
    if len(song_ids) != n:
        msg = f"It holds {len(song_ids)} songs for {n} plays."
        raise ValueError(msg)
    at = HEADER.size
    return RecentPlays(
        song_ids,
        np.frombuffer(content, "<i8", n, at),
        np.frombuffer(content, np.uint8, n, at + 16 * n),
        np.frombuffer(content, "<f4", n, at + 8 * n),
        np.frombuffer(content, "<f4", n, at + 12 * n),
        is_whole=bool(is_whole),
    )
