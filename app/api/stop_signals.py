"""Hearing at once that the server is to stop: it waits for the requests under way, and a stream would not end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def at_stop(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in the running loop at SIGTERM and SIGINT, which then do what they did before.

    Signals are heard in the main thread alone: in another one, whoever runs the app has to stop it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    heeded = [number for number in STOP_SIGNALS if callable(before[number])]  # what ends the program, still does
    for number in heeded:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
