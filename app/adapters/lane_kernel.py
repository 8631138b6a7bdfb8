"""Word2Vec with negative sampling, compiled: one epoch over a share of the sessions, B sessions at a time.

Each of B lanes walks through a session of its own in gensim's order: the centres one after the other, and for each its
context songs (skip-gram), or all of them at once (CBOW). At every step the lanes' B pairs share K negatives. So the
arithmetic is three products of small matrices (`vector_code`), and a negative's row is fetched once for B pairs. Apart
from that each pair is trained as gensim trains it, down to this: a product of 6 or more either way moves nothing.

Notation: u_i, v_i input and output vector of song i; a = learning rate; pair p = (context c, centre o); x_p = u_c for
skip-gram, the mean of u_c over the centre's context for CBOW; n_k the negatives, each standing for w of gensim's.

    s_p = x_p . v_o    v_o += a (1 - sigma(s_p)) x_p         e_p  = a (1 - sigma(s_p)) v_o  (v_o as before)
    g_kp = -a w sigma(x_p . v_nk), 0 where n_k = o           e_p += sum_k g_kp v_nk         v_nk += sum_p g_kp x_p
    u_c += e_p

Randomness is splitmix64 (Steele, Lea, Flood 2014); negatives are drawn by Vose's alias method (1991), in two reads.
Source: Mikolov et al. 2013 for the model; Ji, Satish, Li, Dubey 2016 for sharing negatives as a matrix product.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import float32, int64, njit, uint64
from numpy.typing import NDArray

from app.adapters.compiled import compiled
from app.adapters.vector_code import TILE, VECTOR, errors, fetch_row, moves, products

_compiled = compiled(fastmath=True)
_inlined = njit(nogil=True, fastmath=True, boundscheck=False, error_model="numpy", forceinline=True)

LARGEST_PRODUCT = 6.0
"""Inner products from here on, either way, move nothing: gensim's MAX_EXP."""

PLAYS_PER_RATE = 10_000
"""Plays after which the learning rate falls: gensim's batch. On a small corpus the steps matter."""

STEPS_PER_LOOK = 256
"""Steps between two looks at whether to stop, far less than a second's."""

ROWS_FETCHED = 64
"""Songs of the next session that are brought near: more would drive each other out again."""


class Sessions(NamedTuple):
    """What training reads: plays int32, and int64 `(n_sessions,)` where in them sessions start and end.

    By song, `(n_songs,)`: `kept` float32, the share of its plays that subsampling keeps; `alias_share` float32 and
    `alias` int32, the alias table.
    """

    plays: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    kept: NDArray[np.float32]
    alias_share: NDArray[np.float32]
    alias: NDArray[np.int32]


class Settings(NamedTuple):
    """What is trained. `weight`: negatives that one drawn stands for; rates fall linearly from progress 0 to 1."""

    window: int
    negative: int
    weight: float
    is_skip_gram: bool
    alpha: float
    min_alpha: float


class Share(NamedTuple):
    """A thread's part of an epoch: sessions `first` to `stop`; progress at its begin and end; plays a rate lasts."""

    first: int
    stop: int
    progress: float
    progress_at_end: float
    plays_per_rate: int


class Lanes(NamedTuple):
    """Where each lane is. `songs`, `reach` int32 `(B, longest)`: its session as kept, and the windows drawn.

    int64 `(B,)`: `length` songs; the `centre` at its place; `context` at its place, `context_end` behind the last one.
    float32 `(B,)`: `rate`, 0 where the lane has nothing to train. `centre_song` int32 `(B,)`.
    """

    songs: NDArray[np.int32]
    reach: NDArray[np.int32]
    length: NDArray[np.int64]
    centre: NDArray[np.int64]
    context: NDArray[np.int64]
    context_end: NDArray[np.int64]
    rate: NDArray[np.float32]
    centre_song: NDArray[np.int32]


class Feed(NamedTuple):
    """int64 `(1,)` each: the session that the next free lane takes, plays read at this rate; float64: the rate."""

    next_session: NDArray[np.int64]
    plays_at_rate: NDArray[np.int64]
    rate: NDArray[np.float64]


class Vectors(NamedTuple):
    """float32 `(n_songs, dim)` each, trained in place."""

    input: NDArray[np.float32]
    output: NDArray[np.float32]


class Matrices(NamedTuple):
    """What a step works with.

    float32 `inputs` x_p and `errors` e_p `(B, D)`, `negatives` `(K, D)`, `steps` g_kp `(K, B)`; int64 `(K,)`: the songs
    `drawn` for this step and the `upcoming` ones for the next.
    """

    inputs: NDArray[np.float32]
    errors: NDArray[np.float32]
    negatives: NDArray[np.float32]
    steps: NDArray[np.float32]
    drawn: NDArray[np.int64]
    upcoming: NDArray[np.int64]


@_inlined
def random_bits(state: NDArray[np.uint64]) -> np.uint64:
    """64 random bits."""
    state[0] += uint64(0x9E3779B97F4A7C15)
    bits = state[0]
    bits = (bits ^ (bits >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> uint64(27))) * uint64(0x94D049BB133111EB)
    return bits ^ (bits >> uint64(31))


@_inlined
def random_below(state: NDArray[np.uint64], n: int) -> int:
    """A whole number in [0, n), n below 2^32."""
    return int64(((random_bits(state) >> uint64(32)) * uint64(n)) >> uint64(32))


@_inlined
def random_share(bits: np.uint64) -> np.float32:
    """A number in [0, 1) from the lower 24 bits."""
    return float32(bits & uint64(0xFFFFFF)) * float32(2.0**-24)


@_inlined
def draw(state: NDArray[np.uint64], alias_share: NDArray[np.float32], alias: NDArray[np.int32]) -> int:
    """A song, by the alias table."""
    bits = random_bits(state)
    song = int64(((bits >> uint64(32)) * uint64(len(alias))) >> uint64(32))
    return song if random_share(bits) < alias_share[song] else int64(alias[song])


@_compiled
def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vose's table for drawing i with odds weights[i]: i itself with the share given, else its alias."""
    n = len(weights)
    scaled = weights * (n / weights.sum())
    share, alias = np.ones(n, np.float32), np.arange(n).astype(np.int32)
    order = np.empty(n, np.int32)  # the small ones from the front, the large ones from the back
    n_small, first_large = 0, n
    for i in range(n):
        if scaled[i] < 1.0:
            order[n_small] = i
            n_small += 1
        else:
            first_large -= 1
            order[first_large] = i
    while n_small > 0 and first_large < n:
        n_small -= 1
        small, large = order[n_small], order[first_large]
        share[small], alias[small] = scaled[small], large
        scaled[large] -= 1.0 - scaled[small]
        if scaled[large] < 1.0:
            first_large += 1
            order[n_small] = large
            n_small += 1
    heaviest = weights.argmax()
    for i in range(n):
        if weights[i] == 0.0 and share[i] > 0:  # rounding left it over
            share[i], alias[i] = 0.0, heaviest
    return share, alias


@_inlined
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + exp(-x)) for |x| < 6, to 1e-6: half of one plus tanh(x / 2) by its continued fraction."""
    y = float32(0.25) * x * x
    above = float32(135135) + y * (float32(17325) + y * (float32(378) + y))
    below = float32(135135) + y * (float32(62370) + y * (float32(3150) + y * float32(28)))
    return float32(0.5) + float32(0.25) * x * above / below


@_inlined
def add_to(row: NDArray[np.float32], change: NDArray[np.float32]) -> None:
    """Add a change, which may be longer, to a row."""
    for d in range(len(row)):
        row[d] += change[d]


@_inlined
def copy_to(row: NDArray[np.float32], source: NDArray[np.float32]) -> None:
    """Copy a row to where there may be more room."""
    for d in range(len(source)):
        row[d] = source[d]


@_inlined
def copy_and_multiply(x: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]) -> np.float32:
    """Copy u to x; gives the inner product u . v."""
    product = float32(0)
    for d in range(len(u)):
        x[d] = u[d]
        product += u[d] * v[d]
    return product


@_inlined
def move_positive(v: NDArray[np.float32], x: NDArray[np.float32], error: NDArray[np.float32], step: np.float32) -> None:
    """e_p and v_o for the step a (1 - sigma(s_p))."""
    for d in range(len(v)):
        before = v[d]
        error[d] = step * before
        v[d] = before + step * x[d]


@_inlined
def take_session(
    sessions: Sessions, session: int, window: int, lanes: Lanes, b: int, state: NDArray[np.uint64]
) -> None:
    """Put a session into a lane: the plays that subsampling keeps, each with a reach of 1 to `window`."""
    songs, reach = lanes.songs[b], lanes.reach[b]
    n = 0
    for at in range(sessions.starts[session], sessions.ends[session]):
        song = sessions.plays[at]
        if sessions.kept[song] < float32(1) and random_share(random_bits(state)) >= sessions.kept[song]:
            continue
        songs[n] = song
        reach[n] = 1 + random_below(state, window)
        n += 1
    lanes.length[b] = n
    lanes.centre[b] = -1
    lanes.context[b] = 0
    lanes.context_end[b] = 0


@_inlined
def next_pair(lanes: Lanes, b: int, is_skip_gram: bool) -> bool:
    """Move on to the lane's next centre and context song (CBOW: all of them); False at the session's end."""
    n = lanes.length[b]
    centre = lanes.centre[b]
    context = lanes.context[b] + 1 if is_skip_gram else lanes.context_end[b]
    while centre < n:
        if context == centre and is_skip_gram:
            context += 1
        if context < lanes.context_end[b]:
            break
        centre += 1
        if centre < n:
            reach = int64(lanes.reach[b, centre])
            context = max(0, centre - reach)
            lanes.context_end[b] = min(n, centre + reach + 1)
            if lanes.context_end[b] - context < 2:  # nobody but the centre itself
                context = lanes.context_end[b]
    lanes.centre[b] = centre
    lanes.context[b] = context
    return centre < n


@_inlined
def fetch_session(sessions: Sessions, session: int, vectors: Vectors) -> None:
    """Ask for the rows that the lane which takes this session next will need."""
    start = sessions.starts[session]
    for at in range(start, min(sessions.ends[session], start + ROWS_FETCHED)):
        fetch_row(vectors.input, int64(sessions.plays[at]))
        fetch_row(vectors.output, int64(sessions.plays[at]))


@_inlined
def rate_at(share: Share, settings: Settings, session: int) -> float:
    """The learning rate when a share has come to a session."""
    done = (session - share.first) / (share.stop - share.first)
    progress = share.progress + (share.progress_at_end - share.progress) * done
    return settings.alpha - (settings.alpha - settings.min_alpha) * progress


@_inlined
def fill_lane(
    sessions: Sessions,
    settings: Settings,
    share: Share,
    feed: Feed,
    lanes: Lanes,
    b: int,
    vectors: Vectors,
    state: NDArray[np.uint64],
) -> bool:
    """Bring a lane to its next pair, of a further session if need be; False when there is none."""
    while not next_pair(lanes, b, settings.is_skip_gram):
        session = feed.next_session[0]
        if session >= share.stop:
            lanes.rate[b] = float32(0)
            return False
        n_plays = sessions.ends[session] - sessions.starts[session]
        if feed.plays_at_rate[0] + n_plays > share.plays_per_rate:
            feed.rate[0] = rate_at(share, settings, session)
            feed.plays_at_rate[0] = 0
        feed.plays_at_rate[0] += n_plays
        feed.next_session[0] = session + 1
        lanes.rate[b] = feed.rate[0]
        take_session(sessions, session, settings.window, lanes, b, state)
        if session + 1 < share.stop:
            fetch_session(sessions, session + 1, vectors)
    lanes.centre_song[b] = lanes.songs[b, lanes.centre[b]]
    return True


@_inlined
def read_input(lanes: Lanes, b: int, is_skip_gram: bool, vectors: Vectors, x: NDArray[np.float32]) -> np.float32:
    """Fill x_p, the context's vector or the mean of all of them; gives s_p."""
    v = vectors.output[lanes.centre_song[b]]
    if is_skip_gram:
        return copy_and_multiply(x, vectors.input[lanes.songs[b, lanes.context[b]]], v)
    x[:] = float32(0)
    n = 0
    for place in range(lanes.context[b], lanes.context_end[b]):
        if place != lanes.centre[b]:
            add_to(x[: len(v)], vectors.input[lanes.songs[b, place]])
            n += 1
    product = float32(0)
    for d in range(len(v)):
        x[d] /= float32(n)
        product += x[d] * v[d]
    return product


@_inlined
def write_errors(
    lanes: Lanes, b: int, is_skip_gram: bool, vectors: NDArray[np.float32], error: NDArray[np.float32]
) -> None:
    """Add e_p to the context's vector, or to each of all of them: as gensim does, the error is not shared out."""
    if is_skip_gram:
        add_to(vectors[lanes.songs[b, lanes.context[b]]], error)
        return
    for place in range(lanes.context[b], lanes.context_end[b]):
        if place != lanes.centre[b]:
            add_to(vectors[lanes.songs[b, place]], error)


@_inlined
def draw_negatives(sessions: Sessions, vectors: Vectors, matrices: Matrices, n: int, state: NDArray[np.uint64]) -> None:
    """Draw n songs for the step after this one and ask for their rows; copy the rows of this step's."""
    for k in range(n):
        matrices.drawn[k] = matrices.upcoming[k]
        matrices.upcoming[k] = draw(state, sessions.alias_share, sessions.alias)
        fetch_row(vectors.output, matrices.upcoming[k])
        copy_to(matrices.negatives[k], vectors.output[matrices.drawn[k]])


@_inlined
def negative_steps(matrices: Matrices, lanes: Lanes, n: int, weight: float, n_lanes: int) -> None:
    """g_kp from the products, in their place; 0 for lanes that rest, whose rate is 0."""
    steps, largest = matrices.steps, float32(LARGEST_PRODUCT)
    for k in range(n):
        for b in range(n_lanes):
            product = steps[k, b]
            step = -lanes.rate[b] * float32(weight) * sigmoid(product)
            steps[k, b] = step if abs(product) < largest else float32(0)
    for k in range(n):
        song = matrices.drawn[k]
        for b in range(n_lanes):
            if lanes.centre_song[b] == song:
                steps[k, b] = float32(0)


@_inlined
def train_step(
    settings: Settings, vectors: Vectors, lanes: Lanes, matrices: Matrices, n_negatives: int, n_lanes: int
) -> None:
    """Train the pairs that the lanes are at, against the negatives drawn."""
    is_skip_gram, width, largest = settings.is_skip_gram, matrices.inputs.shape[1], float32(LARGEST_PRODUCT)
    for b in range(len(lanes.rate)):
        if lanes.rate[b] > 0:
            x = matrices.inputs[b]
            product = read_input(lanes, b, is_skip_gram, vectors, x)
            step = lanes.rate[b] * (float32(1) - sigmoid(product)) if abs(product) < largest else float32(0)
            move_positive(vectors.output[lanes.centre_song[b]], x, matrices.errors[b], step)
    n_rows = (n_negatives + TILE - 1) // TILE * TILE
    products(matrices.inputs, matrices.negatives, matrices.steps, n_rows, width, n_lanes)
    negative_steps(matrices, lanes, n_negatives, settings.negative / n_negatives, n_lanes)
    errors(matrices.errors, matrices.negatives, matrices.steps, n_negatives, width, n_lanes)
    moves(matrices.negatives, matrices.inputs, matrices.steps, n_negatives, width, n_lanes)
    for k in range(n_negatives):
        add_to(vectors.output[matrices.drawn[k]], matrices.negatives[k])
    for b in range(len(lanes.rate)):
        if lanes.rate[b] > 0:
            write_errors(lanes, b, is_skip_gram, vectors.input, matrices.errors[b])


@_inlined
def _train_share(
    sessions: Sessions,
    settings: Settings,
    share: Share,
    vectors: Vectors,
    state: NDArray[np.uint64],
    n_open: int,
    n_lanes: int,
    done: NDArray[np.int64],
    stop: NDArray[np.bool_],
) -> None:
    """See `train_share`; `n_lanes` is a literal."""
    lanes, matrices = _lanes(sessions, share, n_lanes), _matrices(settings, vectors.input.shape[1], n_lanes)
    feed = Feed(np.array([share.first]), np.zeros(1, np.int64), np.array([rate_at(share, settings, share.first)]))
    n_negatives = len(matrices.drawn)
    draw_negatives(sessions, vectors, matrices, n_negatives, state)
    n_steps = 0
    while not (n_steps % STEPS_PER_LOOK == 0 and stop[0]):
        n_steps += 1
        n_filled = 0
        for b in range(n_open):
            n_filled += int64(fill_lane(sessions, settings, share, feed, lanes, b, vectors, state))
        if n_filled == 0:
            return
        done[0] = feed.next_session[0] - share.first
        draw_negatives(sessions, vectors, matrices, n_negatives, state)
        train_step(settings, vectors, lanes, matrices, n_negatives, n_lanes)


@_inlined
def _lanes(sessions: Sessions, share: Share, n_lanes: int) -> Lanes:
    longest = 1
    for session in range(share.first, share.stop):
        longest = max(longest, sessions.ends[session] - sessions.starts[session])
    place = np.zeros((4, n_lanes), np.int64)
    return Lanes(
        np.zeros((n_lanes, longest), np.int32),
        np.zeros((n_lanes, longest), np.int32),
        place[0],
        place[1],
        place[2],
        place[3],
        np.zeros(n_lanes, np.float32),
        np.full(n_lanes, -1, np.int32),
    )


@_inlined
def _matrices(settings: Settings, dim: int, n_lanes: int) -> Matrices:
    n_negatives = max(1, int64(np.ceil(settings.negative / settings.weight)))
    n_rows = (n_negatives + TILE - 1) // TILE * TILE
    width = (dim + VECTOR - 1) // VECTOR * VECTOR
    return Matrices(
        np.zeros((n_lanes, width), np.float32),
        np.zeros((n_lanes, width), np.float32),
        np.zeros((n_rows, width), np.float32),
        np.zeros((n_rows, n_lanes), np.float32),
        np.zeros(n_negatives, np.int64),
        np.zeros(n_negatives, np.int64),
    )


def _compiled_for(n_lanes: int) -> Callable[..., None]:
    @_compiled
    def train_share_in_lanes(
        sessions: Sessions,
        settings: Settings,
        share: Share,
        vectors: Vectors,
        state: NDArray[np.uint64],
        n_open: int,
        done: NDArray[np.int64],
        stop: NDArray[np.bool_],
    ) -> None:
        _train_share(sessions, settings, share, vectors, state, n_open, n_lanes, done, stop)

    return train_share_in_lanes


LANES = (4, 8, 16)
"""Lanes that the kernel is compiled for."""

_COMPILED = {n_lanes: _compiled_for(n_lanes) for n_lanes in LANES}
"""One function for each: an argument that must be a literal has Numba type the kernel anew at each call (17 ms)."""


def train_share(
    sessions: Sessions,
    settings: Settings,
    share: Share,
    vectors: Vectors,
    state: NDArray[np.uint64],
    n_open: int,
    n_lanes: int,
    done: NDArray[np.int64],
    stop: NDArray[np.bool_],
) -> None:
    """Train one epoch's share of the sessions in place; of `n_lanes`, one of `LANES`, `n_open` are at work.

    `done[0]` tells how many sessions were begun; returns soon after `stop[0]` is set. Never raises.
    """
    _COMPILED[n_lanes](sessions, settings, share, vectors, state, n_open, done, stop)
