"""Word2Vec trained straight from the compiled arrays by compiled code, an order of magnitude faster than gensim.

What differs from gensim, and by how much: several sessions are trained side by side and share their negatives, and a
negative drawn may stand for two (`lane_kernel`). Sharing is harmless between sessions that have nothing to do with each
other, and speeds learning up between those that do. So it is bounded, by how far training moves a song's output vector
as a negative while the sessions at work are trained:

    lanes x weight x alpha x negative x P / n_known  <=  FARTHEST      P: the pairs of the session that a pair is in

Measured against gensim as relative difference of HR@10: below 0.1, up to 0.01 (50,000 songs, 2 million plays); from 0.2
to 0.4, 0.03 to 0.07; above 0.5, 0.2 and more (three and seven listeners' own histories, whose neighbouring sessions
repeat each other). A large catalogue trains 16 sessions at once, a small one fewer, down to one after the other.

Nothing overflows, wherever in the space: as in gensim, a pair whose inner product is 6 or more moves nothing, a vector
moves by at most rate x (1 + negative) others at a time, a negative by at most rate x weight x 16, and what is no longer
finite all the same ends in `Infeasible`. Tested at the corners of the space.

The initial vectors are gensim's for the same seed. With one thread a seed determines the vectors to the byte on one
kind of processor; with more, threads race without locks (Hogwild, Recht et al. 2011).
Source: `lane_kernel`; gensim 4 for the rate's course, subsampling, windows and initial vectors.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.adapters.lane_kernel import LANES, PLAYS_PER_RATE, Sessions, Settings, Share, Vectors, alias_table, train_share
from app.domain.embedding import Embeddings, Matrix
from app.domain.errors import Infeasible
from app.domain.listening import Corpus
from app.domain.training import TrainingParameters, TrainingProgress

MIN_ALPHA = 1e-4
"""The learning rate at the end of training, gensim's; a rate below it stays as it is."""

LONGEST_SESSION = 10_000
"""Plays that are trained together, as by gensim; a longer session is trained in pieces."""

FARTHEST = 0.1
"""See the module header."""

MOST_WEIGHT = 3.0
"""Negatives that one drawn may stand for."""

FEWEST_DRAWN = 5
"""Negatives that are drawn at least, if so many are asked for: with weight 2, HR@10 fell by 0.07 at 2 negatives."""

FEW_SHARED = 2
"""Up to so many negatives, lanes share one more than is asked for, and each stands for less than one of gensim's: for 2
HR@10 differed by -0.010 with 2 drawn, by +0.014 with 3 (relative; 2 million plays, seeds spread it by 0.003)."""


class LaneTrainer:
    """The port `EmbeddingTrainer`. Progress inside an epoch is told every `report_every_s` seconds.

    The callbacks run in the caller's thread; what they raise ends the training at once. The arrays that `on_epoch` sees
    are the ones being trained: copy what is to be kept.
    """

    def __init__(self, *, report_every_s: float = 0.25) -> None:
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
        sessions, is_known = _sessions(corpus, parameters, held_out=held_out)
        lengths = sessions.ends - sessions.starts
        if not (lengths > 1).any():
            msg = "No session has two songs that training may see."
            raise Infeasible(msg)
        sharing = sharing_for(parameters, lengths=lengths, n_known=int(is_known.sum()))
        embeddings = _initial(is_known, dim=parameters.vector_size, seed=seed)
        course = _Course(sessions, parameters, sharing, embeddings, seed=seed, threads=threads)
        for epoch in range(parameters.epochs):
            for share_done in course.run(epoch, every_s=self._report_every_s):
                on_progress(TrainingProgress(epoch, (epoch + share_done) / parameters.epochs))
            if not (_is_finite(embeddings.input) and _is_finite(embeddings.output)):
                msg = f"The vectors are not finite after epoch {epoch + 1}: the training diverged."
                raise Infeasible(msg)
            on_progress(TrainingProgress(epoch + 1, (epoch + 1) / parameters.epochs))
            on_epoch(epoch + 1, embeddings)
        return embeddings


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many sessions are trained side by side, and how many negatives one drawn stands for."""

    lanes: int
    weight: float


def sharing_for(parameters: TrainingParameters, *, lengths: NDArray[np.int64], n_known: int) -> Sharing:
    """As much as the rule of the module header allows.

    >>> from app.domain.training import TrainingParameters as Parameters
    >>> sharing_for(Parameters(sg=1), lengths=np.full(100_000, 10), n_known=50_000)
    Sharing(lanes=16, weight=1.0)
    >>> sharing_for(Parameters(sg=1), lengths=np.full(100, 200), n_known=2_000)
    Sharing(lanes=1, weight=1.0)
    """
    moved = parameters.alpha * parameters.negative * pairs_beside(parameters, lengths) / n_known
    allowed = FARTHEST / moved
    lanes = int(np.clip(allowed, 1, max(LANES)))
    if lanes > 1 and parameters.negative <= FEW_SHARED:
        return Sharing(lanes, parameters.negative / (parameters.negative + 1))
    heaviest = min(MOST_WEIGHT, max(1.0, parameters.negative / FEWEST_DRAWN))
    return Sharing(lanes, float(np.clip(allowed / max(LANES), 1.0, heaviest)))


def pairs_beside(parameters: TrainingParameters, lengths: NDArray[np.int64]) -> float:
    """P: the mean, over all pairs, of how many pairs their session has. For CBOW a centre counts as one pair.

    In a session of n songs, songs d apart are a pair both ways, each time with the share (window - d + 1) / window.
    """
    n, n_sessions = np.unique(lengths[lengths > 1], return_counts=True)
    pairs = n.astype(np.float64)
    if parameters.sg:
        distance = np.arange(1, parameters.window + 1)
        share = (parameters.window - distance + 1) / parameters.window
        pairs = 2.0 * np.maximum(n[:, np.newaxis] - distance, 0) @ share
    return float(np.sum(n_sessions * pairs**2) / np.sum(n_sessions * pairs))


def load_kernel() -> None:
    """Have the kernel in memory: compiled the first time on a machine (some 10 s), read from a file afterwards.

    For programs that fork: what was loaded before is there in every child. Starts no thread.
    """
    plays = np.zeros(2, np.int32)
    plays.flags.writeable = False
    share, alias = alias_table(np.ones(1))
    bounds = np.array([0]), np.array([2])
    sessions = Sessions(plays, *bounds, np.ones(1, np.float32), share, alias)
    settings = Settings(window=1, negative=1, weight=1.0, is_skip_gram=True, alpha=0.1, min_alpha=0.1)
    whole = Share(first=0, stop=1, progress=0.0, progress_at_end=1.0, plays_per_rate=PLAYS_PER_RATE)
    vectors = Vectors(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    for lanes in LANES:
        state, done, stop = np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.bool_)
        train_share(sessions, settings, whole, vectors, state, 1, lanes, done, stop)


class _Course:
    """Runs epochs on as many threads as asked; each has its own part of the sessions and its own random numbers."""

    def __init__(
        self,
        sessions: Sessions,
        parameters: TrainingParameters,
        sharing: Sharing,
        embeddings: Embeddings,
        *,
        seed: int,
        threads: int,
    ) -> None:
        self._sessions = sessions
        self._n_epochs = parameters.epochs
        self._sharing = sharing
        self._vectors = Vectors(embeddings.input, embeddings.output)
        self._settings = Settings(
            window=parameters.window,
            negative=parameters.negative,
            weight=sharing.weight,
            is_skip_gram=parameters.sg == 1,
            alpha=float(parameters.alpha),
            min_alpha=float(min(MIN_ALPHA, parameters.alpha)),
        )
        self._parts = _parts(sessions, min(threads, len(sessions.starts)))
        self._states = [
            np.random.SeedSequence([seed, number]).generate_state(1, np.uint64).astype(np.uint64)
            for number in range(len(self._parts))
        ]

    def run(self, epoch: int, *, every_s: float) -> Iterator[float]:
        """Train an epoch; yields the share of it done every so many seconds. Closing the iterator ends the training."""
        done = np.zeros((len(self._parts), 1), dtype=np.int64)
        stop = np.zeros(1, dtype=np.bool_)
        with ThreadPoolExecutor(len(self._parts), thread_name_prefix="training") as pool:
            try:
                under_way: set[Future[None]] = {
                    pool.submit(self._train, part, epoch, self._states[number], done[number], stop)
                    for number, part in enumerate(self._parts)
                }
                while under_way:
                    ended, under_way = wait(under_way, timeout=every_s, return_when=FIRST_EXCEPTION)
                    for future in ended:
                        future.result()
                    if under_way:
                        yield float(done.sum() / len(self._sessions.starts))
            finally:
                stop[0] = True

    def _train(
        self,
        part: tuple[int, int],
        epoch: int,
        state: NDArray[np.uint64],
        done: NDArray[np.int64],
        stop: NDArray[np.bool_],
    ) -> None:
        share = Share(
            first=int(part[0]),
            stop=int(part[1]),
            progress=epoch / self._n_epochs,
            progress_at_end=(epoch + 1) / self._n_epochs,
            plays_per_rate=max(1, PLAYS_PER_RATE // len(self._parts)),
        )
        lanes = self._sharing.lanes
        compiled_for = next(n for n in LANES if n >= lanes)
        train_share(self._sessions, self._settings, share, self._vectors, state, lanes, compiled_for, done, stop)


def _sessions(corpus: Corpus, parameters: TrainingParameters, *, held_out: bool) -> tuple[Sessions, NDArray[np.bool_]]:
    """What training reads, and which songs are among it."""
    counts = corpus.training_counts(held_out=held_out)
    starts, ends = training_pieces(corpus, held_out=held_out)
    weights = np.zeros(corpus.n_songs)
    np.power(counts, float(parameters.ns_exponent), out=weights, where=counts > 0)
    share, alias = alias_table(weights) if counts.any() else (np.ones(0, np.float32), np.zeros(0, np.int32))
    plays = np.asarray(corpus.plays).view()
    plays.flags.writeable = False
    return Sessions(plays, starts, ends, _kept(counts, parameters.sample), share, alias), counts > 0


def training_pieces(corpus: Corpus, *, held_out: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends, in order, of what training sees of each session, in pieces of at most LONGEST_SESSION plays."""
    starts, ends = np.asarray(corpus.offsets[:-1]), corpus.training_ends(held_out=held_out)
    starts, ends = starts[ends > starts], ends[ends > starts]
    n_pieces = -(-(ends - starts) // LONGEST_SESSION)
    if (n_pieces == 1).all():
        return starts, ends
    session = np.repeat(np.arange(len(starts)), n_pieces)
    number = np.arange(len(session)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    piece_starts = starts[session] + number * LONGEST_SESSION
    return piece_starts, np.minimum(piece_starts + LONGEST_SESSION, ends[session])


def _kept(counts: NDArray[np.int64], sample: float) -> NDArray[np.float32]:
    """The share of each song's plays that subsampling keeps: (sqrt(c / t) + 1) t / c with t = sample x all plays.

    A `sample` of 0 or 1 keeps all.
    """
    kept = np.ones(len(counts), dtype=np.float32)
    if 0.0 < sample < 1.0:
        threshold = sample * counts.sum()
        plays = np.maximum(counts, 1)
        np.minimum((np.sqrt(plays / threshold) + 1) * (threshold / plays), 1.0, out=kept, casting="same_kind")
    return kept


def _initial(is_known: NDArray[np.bool_], *, dim: int, seed: int) -> Embeddings:
    """Input vectors uniform in [-1 / dim, 1 / dim), output vectors zero; both zero for songs that are not known."""
    shape = (len(is_known), dim)
    embeddings = Embeddings(np.zeros(shape, np.float32), np.zeros(shape, np.float32), is_known)
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(is_known)
    for first in range(0, len(known), ROWS_AT_ONCE):
        rows = known[first : first + ROWS_AT_ONCE]
        embeddings.input[rows] = (rng.random((len(rows), dim), dtype=np.float32) * 2.0 - 1.0) / dim
    return embeddings


ROWS_AT_ONCE = 1 << 13
"""Rows that are made or checked together: no copy of a whole matrix is ever needed."""


def _parts(sessions: Sessions, n: int) -> list[tuple[int, int]]:
    """The sessions in n runs of about equally many plays."""
    plays_before = np.cumsum(sessions.ends - sessions.starts)
    cuts = np.searchsorted(plays_before, np.arange(1, n) * (plays_before[-1] / n)) + 1
    bounds = np.unique([0, *cuts.tolist(), len(plays_before)]).tolist()
    return list(pairwise(bounds))


def _is_finite(vectors: Matrix) -> bool:
    """Whether all rows have a length that float32 can hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(
            bool(np.isfinite(np.einsum("ij,ij->i", rows, rows)).all())
            for rows in (vectors[first : first + ROWS_AT_ONCE] for first in range(0, len(vectors), ROWS_AT_ONCE))
        )
