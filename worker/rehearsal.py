"""Trains on made-up listening in several processes at once, to see how many plays a second that makes.

`python -m worker.rehearsal 2x1 1x2` is warm as a runner is, has one thread, and so may fork: for each shape it forks
the processes, which begin together, train for a moment, and tell how many plays they trained on. It writes a line of
JSON for each measurement, and repeats the round while there is time. A shape has no figure when a process of it dies.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import numpy as np

from app.domain.embedding import Embeddings
from app.domain.listening import Corpus, Pairs, Split
from app.domain.training import DEFAULT_TRAINER, TrainingParameters
from worker import work
from worker.throughput import Measured, Shape, measured_line
from worker.training import trainer_of

ROUNDS_S = 6.0
"""After so long no further measurement begins."""

N_ROUNDS = 2
TRAIN_S = 0.4
"""How long one process trains at least; it goes on to the end of an epoch, of 100,000 plays."""

PATIENCE_S = 3.0
"""How long the processes of one shape may take in all."""

N_SONGS, N_SESSIONS, SESSION_LENGTH = 20_000, 5_000, 20
"""Vectors of 16 MB together: more than a core's own cache, as with real listening."""

PARAMETERS = TrainingParameters(sg=1, epochs=1000)

Train = Callable[[Corpus, int], float]
"""Trains on so many threads; plays a second."""


def main(train: Train | None = None) -> None:
    """Measure the shapes that the command line names."""
    shapes = [Shape.read(argument) for argument in sys.argv[1:]]
    work.warm()
    corpus = made_up_listening()
    ends_at_s = time.monotonic() + ROUNDS_S
    for shape in shapes * N_ROUNDS:
        if time.monotonic() >= ends_at_s:
            break
        sys.stdout.buffer.write(measured_line(_together(shape, corpus, train or plays_per_s)))
        sys.stdout.buffer.flush()


def made_up_listening() -> Corpus:
    """Listening in which songs are as unevenly popular as in real life, and nothing can be learned."""
    chance = 1 / np.arange(10, N_SONGS + 10)
    random = np.random.default_rng(0)
    plays = random.choice(N_SONGS, size=N_SESSIONS * SESSION_LENGTH, p=chance / chance.sum()).astype(np.int32)
    nobody = Pairs(*(np.empty(0, dtype=np.int32) for _ in range(3)))
    return Corpus(
        n_songs=N_SONGS,
        plays=plays,
        offsets=np.arange(N_SESSIONS + 1, dtype=np.int64) * SESSION_LENGTH,
        segments=(),
        validation=nobody,
        test=nobody,
        split=Split(),
    )


class _Enough(Exception):
    """It was trained for long enough."""


def plays_per_s(corpus: Corpus, threads: int) -> float:
    """Plays that the default trainer trains on in a second."""
    began_s = time.perf_counter()
    n_epochs, elapsed_s = 0, 0.0

    def look(epoch: int, _: Embeddings) -> None:
        nonlocal n_epochs, elapsed_s
        n_epochs, elapsed_s = epoch, time.perf_counter() - began_s
        if elapsed_s >= TRAIN_S:
            raise _Enough

    with suppress(_Enough):
        trainer_of(DEFAULT_TRAINER).train(
            corpus, PARAMETERS, seed=0, threads=threads, held_out=False, on_progress=lambda _: None, on_epoch=look
        )
    return n_epochs * len(corpus.plays) / elapsed_s


_fork = multiprocessing.get_context("fork")


def _together(shape: Shape, corpus: Corpus, train: Train) -> Measured:
    start = _fork.Barrier(shape.processes)
    outlets, started = [], []
    for _ in range(shape.processes):
        outlet, inlet = _fork.Pipe(duplex=False)
        process = _fork.Process(target=_begin, args=(start, inlet, train, corpus, shape.threads))
        process.start()
        outlets.append(outlet)
        started.append(process)
    ends_at_s = time.monotonic() + PATIENCE_S
    for process in started:
        process.join(max(0.0, ends_at_s - time.monotonic()))
        process.kill()
        process.join()
    codes = [process.exitcode for process in started if process.exitcode != 0]
    if codes:
        return Measured(shape=shape, reason=f"{len(codes)} of {len(started)} ended early, with code {codes[0]}.")
    return Measured(shape=shape, plays_per_s=sum(outlet.recv() for outlet in outlets))


def _begin(start: Barrier, inlet: Connection, train: Train, corpus: Corpus, threads: int) -> None:
    start.wait(PATIENCE_S)
    inlet.send(train(corpus, threads))


if __name__ == "__main__":
    main()
