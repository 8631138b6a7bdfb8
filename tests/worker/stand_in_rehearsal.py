"""Rehearsals that go wrong: real processes, but in the place of training they do as the threads say."""

import os
import sys
import time

from app.domain.listening import Corpus
from worker import rehearsal

GOES_WELL, DIES, RAISES = 1, 2, 3


def act(_: Corpus, threads: int) -> float:
    """A million plays a second, or not."""
    if threads == DIES:
        os._exit(9)
    if threads == RAISES:
        raise ValueError("diverged")
    return 1e6


if __name__ == "__main__":
    if sys.argv[-1] == "9x9":
        sys.stderr.write("the kernel does not compile\n")
        sys.exit(3)
    if sys.argv[-1] == "8x8":
        sys.stdout.write('a library prints\n{"shape": {"processes": 1, "threads": 1}, "plays_per_s": 5}\n{"sha')
        sys.stdout.flush()
        time.sleep(60)
    rehearsal.main(act)
