"""Loading what a program is made of, without looking for garbage in it."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """No garbage is collected within, and what is there at the end is never looked at again.

    What a program loads at its start stays: half a million objects, each of which would be looked at several times
    while they come in. Nor are their pages written to after a fork, so that children share them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries that count at the end what was never freed complain otherwise
        gc.enable()
