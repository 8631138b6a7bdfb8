"""Following studies: one look at the database for all listeners of this process, and a place in the stream for each.

A listener is registered before it reads what it has missed, and what the common look finds is handed to all who are
registered; so whatever is stored is in what a listener reads, in what it is handed, or in both, and its place in the
stream (the id of the last event it sent) drops what it had before. One that reads slower than events come is handed no
more: it reads them by itself when it is ready.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from app.domain.errors import Unavailable
from app.domain.events import Event
from app.domain.ports import Signals
from app.services.events import PAGE, EventService, News

MOST_HANDED = 2 * PAGE
"""Events that wait for a slow listener; more of them and it reads for itself."""

_log = logging.getLogger(__name__)

N_READERS = 2
"""Threads that read for listeners; all others are left to requests."""

HEARTBEAT_S = 15.0
"""Seconds of silence after which a stream says that it is alive: so a client that left is noticed, too."""


class Aside(Enum):
    """What a stream says beside what happened."""

    SILENCE = auto()
    """Nothing has happened for long."""
    OVER = auto()
    """The study has ended, and nothing more will come: it is not said where a stream ends before."""


Said = Event | dict[str, Any] | Aside
"""An event, how far the study is, or something aside."""


class Listener:
    """One stream's place."""

    def __init__(self, study_id: str) -> None:
        self.study_id = study_id
        self.changed = asyncio.Event()
        self.handed: list[Event] = []
        self.progress: dict[str, Any] | None = None
        self.is_behind = True
        """It must read for itself: at first, and when more came than it took."""
        self.is_over = False
        self.is_cut = False
        """Nobody looks for it any more: it ends, and its client comes again."""

    def hand(self, news: News) -> None:
        """Take what is new."""
        self.handed += news.events
        if len(self.handed) > MOST_HANDED:
            self.handed, self.is_behind = [], True
        self.progress, self.is_over = news.progress, news.is_over
        self.changed.set()

    def cut(self) -> None:
        """Have it end."""
        self.is_cut = True
        self.changed.set()


class Following:
    """All listeners of this process. Used from the event loop alone."""

    def __init__(
        self, events: EventService, *, signals: Signals, poll_s: float, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._events = events
        self._signals = signals
        self._poll_s = poll_s
        self._heartbeat_s = heartbeat_s
        self._listeners: dict[str, set[Listener]] = {}
        self._seen: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._readers = anyio.CapacityLimiter(N_READERS)
        # One thread, always the same: signals remember by thread what was heard before.
        self._waiting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="following")
        self._is_stopped = False

    @property
    def n_listeners(self) -> int:
        """How many streams there are."""
        return sum(map(len, self._listeners.values()))

    async def has_more(self, study_id: str, cursor: int) -> bool:
        """Whether there is, or may be, an event after this one. Raises: NotFound."""
        await self._read(partial(self._events.start, study_id))
        events, is_over = await self._read(partial(self._events.after, study_id, cursor))
        return bool(events) or not is_over

    async def stream(self, study_id: str, cursor: int) -> AsyncIterator[Said]:
        """Every event after one in order, in between how far the study is; ends when the study has.

        Ends before where this process stops or cannot look any more: the client comes again and goes on.
        """
        listener = await self._registered(study_id)
        told: dict[str, Any] | None = None
        try:
            while True:
                listener.changed.clear()
                if listener.is_behind:
                    await self._catch_up(listener, cursor)
                handed, listener.handed = listener.handed, []
                for event in handed:
                    if event.id > cursor:
                        cursor = event.id
                        yield event
                if listener.progress is not None and listener.progress != told:
                    told = listener.progress
                    yield told
                if self._is_stopped or listener.is_cut:
                    return
                if listener.is_behind:
                    continue
                if listener.is_over and not listener.handed:
                    yield Aside.OVER
                    return
                with anyio.move_on_after(self._heartbeat_s) as silence:
                    await listener.changed.wait()
                if silence.cancelled_caught:
                    yield Aside.SILENCE
        except Unavailable:
            return  # its client comes again, and is told so then
        finally:
            self._leave(listener)

    async def _catch_up(self, listener: Listener, cursor: int) -> None:
        """Hand it the next page of what it missed; it stays behind if there may be more than that."""
        listener.is_behind = False
        events, is_over = await self._read(partial(self._events.after, listener.study_id, cursor))
        if listener.is_behind or len(events) == PAGE:
            listener.handed, listener.is_behind = events, True  # what it was handed comes after a gap: read it again
        else:
            listener.handed = [*events, *listener.handed]
            listener.is_over = listener.is_over or is_over

    def close(self) -> None:
        """End every stream, and those that come yet once they have said what they missed."""
        self._is_stopped = True
        self._cut_all()

    async def stop(self) -> None:
        """End every stream and the looking."""
        self.close()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
            await anyio.to_thread.run_sync(self._signals.wake)
        await anyio.to_thread.run_sync(self._waiting.shutdown)

    async def _registered(self, study_id: str) -> Listener:
        if study_id not in self._seen:
            latest = await self._read(partial(self._events.start, study_id))
            self._seen.setdefault(study_id, latest)
        listener = Listener(study_id)
        self._listeners.setdefault(study_id, set()).add(listener)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return listener

    def _leave(self, listener: Listener) -> None:
        listeners = self._listeners.get(listener.study_id, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(listener.study_id, None)
            self._seen.pop(listener.study_id, None)

    def _cut_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.cut()

    async def _look(self) -> None:
        """Look at what changed for as long as somebody listens."""
        try:
            while self._listeners and not self._is_stopped:
                with suppress(Unavailable):  # listeners wait, and miss nothing, until the database is back
                    await self._look_once()
                await asyncio.wrap_future(self._waiting.submit(self._signals.wait, self._poll_s))
        except Exception:
            _log.exception("Nobody looks for events any more: streams end, and the next one begins it anew.")
            self._cut_all()

    async def _look_once(self) -> None:
        found = await self._read(partial(self._events.news, dict(self._seen)))
        for study_id, news in found.items():
            if study_id not in self._seen:
                continue
            if news.events:
                self._seen[study_id] = max(self._seen[study_id], news.events[-1].id)
            for listener in self._listeners.get(study_id, set()):
                listener.hand(news)

    async def _read(self, read: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is read
        return await anyio.to_thread.run_sync(read, limiter=self._readers)
