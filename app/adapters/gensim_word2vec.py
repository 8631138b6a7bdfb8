"""Word2Vec by gensim, trained straight from the compiled arrays.

The vocabulary is the songs that training sees, in the order of their rows, and the tokens are the positions in it:
integers 0, 1, 2, ... without a gap, for gensim takes an integer to be a key or a position, whichever it finds first.

Where we depart from gensim, which
- forgets what a session has beyond 10,000 plays: such a session is trained in pieces of that length;
- never learns slower than its `min_alpha` of 1e-4: a rate below that stays as it is;
- reads a `sample` of 1 as "one play": here it is a share like any other, so nothing is sampled away;
- waits for ever when one of its threads dies: here that thread's exception ends the training;
- builds its vocabulary song by song: here the same tables come from arrays (44,000 songs: 0.03 s, not 0.5 s).
A session of one song is read, and moves the learning rate, but has no context to learn from.

With one thread a seed determines the vectors to the byte; with more, gensim's threads race.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import numpy as np
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from numpy.typing import NDArray

from app.domain.embedding import Embeddings, Matrix
from app.domain.errors import Infeasible
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters, TrainingProgress

MIN_ALPHA = 1e-4
"""gensim's default learning rate at the end of training."""

LONGEST_SESSION = 10_000
"""Plays that gensim trains on together (its MAX_WORDS_IN_BATCH)."""

NEGATIVE_TABLE_TOP = 2**31 - 1
"""The last entry of gensim's table of cumulative weights, from which it draws negatives."""

PLAYS_PER_READ = 1 << 18
"""Plays that are turned into Python integers at a time, about 10 MB."""

SESSIONS_PER_LOOK = 16
"""Sessions that are read between two looks at the clock."""


class GensimTrainer:
    """The port `EmbeddingTrainer`. Progress inside an epoch is told at most every `report_every_s` seconds.

    `on_progress` inside an epoch is called from the thread that reads plays, at an epoch's end from the caller's;
    never from both at once. What it raises ends the training. Reading is a few batches ahead of learning.

    The arrays that `on_epoch` sees are overwritten by the next epoch: copy what is to be kept.
    """

    def __init__(self, *, report_every_s: float = 0.5) -> None:
        self._report_every_s = report_every_s

    def train(
        self,
        corpus: Corpus,
        parameters: TrainingParameters,
        *,
        seed: int,
        threads: int,
        held_out: bool,
        on_progress: Callable[[TrainingProgress], None],
        on_epoch: Callable[[int, Embeddings], None],
    ) -> Embeddings:
        """Embeddings after the last epoch.

        Raises: Infeasible when no session has two songs to train on, or the vectors are no longer finite.
        """
        sessions = _Sessions(corpus, held_out=held_out)
        if not sessions.has_context:
            msg = "No session has two songs that training may see."
            raise Infeasible(msg)
        course = _Course(sessions, parameters.epochs, on_progress, self._report_every_s)
        with _quiet():
            model = _model(parameters, seed=seed, threads=threads)
            model.take_vocabulary(sessions.counts)
            observer = _EpochEnd(model, corpus.n_songs, sessions.known, course, on_epoch)
            model.train(
                course,
                total_examples=sessions.n_pieces,
                epochs=parameters.epochs,
                callbacks=[observer],
            )
        return observer.embeddings


def _model(parameters: TrainingParameters, *, seed: int, threads: int) -> "_Word2Vec":
    return _Word2Vec(
        vector_size=parameters.vector_size,
        window=parameters.window,
        negative=parameters.negative,
        alpha=parameters.alpha,
        min_alpha=min(MIN_ALPHA, parameters.alpha),
        sg=parameters.sg,
        ns_exponent=parameters.ns_exponent,
        sample=parameters.sample if parameters.sample < 1.0 else 0.0,
        hs=0,
        cbow_mean=1,
        min_count=1,
        sorted_vocab=0,
        seed=seed,
        workers=threads,
        epochs=parameters.epochs,
    )


class _Word2Vec(Word2Vec):  # type: ignore[misc]  # gensim has no types
    """gensim's model, whose threads hand on what they raise instead of leaving the others waiting."""

    failure: BaseException | None = None

    def take_vocabulary(self, counts: NDArray[np.int64]) -> None:
        """What `build_vocab` leaves, to the bit, for tokens 0, 1, 2, ... played `counts` times."""
        n_plays = int(counts.sum())
        threshold = self.sample * n_plays if self.sample else n_plays
        kept_share = np.minimum((np.sqrt(counts / threshold) + 1) * (threshold / counts), 1.0)
        distinct, which = np.unique(counts, return_inverse=True)
        weights = np.array([count ** float(self.ns_exponent) for count in distinct])[which]  # rounds as gensim's do
        cumulative = np.cumsum(weights)
        self.cum_table = np.rint(cumulative / cumulative[-1] * NEGATIVE_TABLE_TOP).astype(np.uint32)
        self.wv.index_to_key = list(range(len(counts)))
        self.wv.key_to_index = {token: token for token in self.wv.index_to_key}
        self.wv.expandos["count"] = counts
        self.wv.expandos["sample_int"] = (kept_share * (2**32 - 1)).astype(np.uint32)
        self.prepare_weights()

    def _job_producer(self, data_iterator: object, job_queue: "Queue[Any]", **kwargs: object) -> None:
        try:
            super()._job_producer(data_iterator, job_queue, **kwargs)
        except BaseException as error:  # raised again by `_EpochEnd` in the caller's thread
            self.failure = error
            for _ in range(self.workers):
                job_queue.put(None)

    def _worker_loop(self, job_queue: "Queue[Any]", progress_queue: "Queue[Any]") -> None:
        try:
            super()._worker_loop(job_queue, progress_queue)
        except BaseException as error:  # raised again by `_EpochEnd` in the caller's thread
            self.failure = error
            while job_queue.get() is not None:
                pass
            progress_queue.put(None)


class _Sessions:
    """The sessions that training sees, as lists of tokens.

    `known` and `counts`, int64 `(n_known,)`: the vocabulary row of each token, and how often training sees it.
    """

    def __init__(self, corpus: Corpus, *, held_out: bool) -> None:
        self._plays = np.asarray(corpus.plays)
        starts, ends = np.asarray(corpus.offsets[:-1]), corpus.training_ends(held_out=held_out)
        is_seen = ends > starts
        self._starts, self._ends = _cut(starts[is_seen], ends[is_seen])
        counts = corpus.training_counts(held_out=held_out)
        self.known = np.flatnonzero(counts)
        self.counts = counts[self.known]
        self._token_of_row = np.zeros(corpus.n_songs, dtype=np.int64)
        self._token_of_row[self.known] = np.arange(len(self.known))

    @property
    def n_pieces(self) -> int:
        return len(self._starts)

    @property
    def n_plays(self) -> int:
        return int(np.sum(self._ends - self._starts))

    @property
    def has_context(self) -> bool:
        return bool((self._ends - self._starts > 1).any())

    def reads(self) -> Iterator[list[list[int]]]:
        """All sessions in order, in lists of about PLAYS_PER_READ plays together."""
        first = 0
        while first < self.n_pieces:
            begin = self._starts[first]
            stop = max(first + 1, int(np.searchsorted(self._ends, begin + PLAYS_PER_READ, side="right")))
            tokens = self._token_of_row[self._plays[begin : self._ends[stop - 1]]].tolist()
            starts, ends = self._starts[first:stop] - begin, self._ends[first:stop] - begin
            yield [tokens[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
            first = stop


def _cut(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces of at most LONGEST_SESSION plays, in order."""
    n_pieces = -(-(ends - starts) // LONGEST_SESSION)
    session = np.repeat(np.arange(len(starts)), n_pieces)
    number = np.arange(len(session)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    piece_starts = starts[session] + number * LONGEST_SESSION
    return piece_starts, np.minimum(piece_starts + LONGEST_SESSION, ends[session])


class _Course:
    """What gensim iterates over, once an epoch; tells how far reading has come."""

    def __init__(
        self,
        sessions: _Sessions,
        n_epochs: int,
        on_progress: Callable[[TrainingProgress], None],
        report_every_s: float,
    ) -> None:
        self._sessions = sessions
        self._n_epochs = n_epochs
        self._on_progress = on_progress
        self._report_every_s = report_every_s
        self._n_plays = sessions.n_plays
        self._next_report = time.monotonic() + report_every_s
        self.n_epochs_done = 0

    def __iter__(self) -> Iterator[list[int]]:
        n_read = 0
        for sessions in self._sessions.reads():
            for number, session in enumerate(sessions):
                yield session
                n_read += len(session)
                if number % SESSIONS_PER_LOOK == 0 and time.monotonic() >= self._next_report:
                    self._report(n_read / self._n_plays)

    def end_epoch(self) -> None:
        self.n_epochs_done += 1
        self._report(0.0)

    def _report(self, share_of_epoch: float) -> None:
        fraction = (self.n_epochs_done + share_of_epoch) / self._n_epochs
        self._on_progress(TrainingProgress(self.n_epochs_done, fraction))
        self._next_report = time.monotonic() + self._report_every_s


class _EpochEnd(CallbackAny2Vec):  # type: ignore[misc]  # gensim has no types
    """Checks the vectors after each epoch and shows them; `embeddings` are the latest."""

    def __init__(
        self,
        model: _Word2Vec,
        n_songs: int,
        known: NDArray[np.int64],
        course: _Course,
        on_epoch: Callable[[int, Embeddings], None],
    ) -> None:
        self._known = known
        self._course = course
        self._on_epoch = on_epoch
        is_known = np.zeros(n_songs, dtype=np.bool_)
        is_known[known] = True
        shape = (n_songs, model.vector_size)
        self.embeddings = Embeddings(np.zeros(shape, np.float32), np.zeros(shape, np.float32), is_known)

    def on_epoch_end(self, model: _Word2Vec) -> None:
        if model.failure is not None:
            raise model.failure
        epoch = self._course.n_epochs_done + 1
        if not (_is_finite(model.wv.vectors) and _is_finite(model.syn1neg)):
            msg = f"The vectors are not finite after epoch {epoch}: the training diverged."
            raise Infeasible(msg)
        self.embeddings.input[self._known] = model.wv.vectors
        self.embeddings.output[self._known] = model.syn1neg
        self._course.end_epoch()
        self._on_epoch(epoch, self.embeddings)


def _is_finite(vectors: Matrix) -> bool:
    """Whether all rows have a length that float32 can hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.einsum("ij,ij->i", vectors, vectors)).all())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep gensim's log below errors back: it would tell of every epoch and thread."""
    log = logging.getLogger("gensim")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
