"""Listening that is made up, of any size: songs lie on a line, and sessions wander along it.

A session starts at a popular song. Each next song is a short step (of geometric length, twice as often forward as
back) from the last song or, one time in five, from the one that the session started with; one time in seven it is any
song again, by popularity. Of a step's four candidates the popular ones are likelier. Popularity is log-normal: a few
songs are played a thousand times, half of them less than thirty. Half of the sessions have six plays or fewer, as on
the shipped set.
"""

import numpy as np
from numpy.typing import NDArray

from app.domain.listening import Corpus, Pairs, Split

MEAN_LENGTH = 8.0
"""Plays of a session, the held-out two among them: two and a geometric number more."""

POPULARITY_DEVIATION = 1.5
"""Standard deviation of the logarithm of a song's popularity."""

N_CANDIDATES = 4
MEAN_STEP = 4.0


def generated_corpus(*, n_songs: int, n_plays: int, seed: int = 0, split: Split | None = None) -> Corpus:
    """A corpus as compiled: about `n_plays` plays of at most `n_songs` songs, most played first."""
    split = split or Split()
    plays, offsets = generated_sessions(n_songs=n_songs, n_plays=n_plays, seed=seed)
    counts = np.bincount(plays, minlength=n_songs)
    row = np.empty(n_songs, dtype=np.int32)
    row[np.argsort(-counts, kind="stable")] = np.arange(n_songs, dtype=np.int32)
    plays = row[plays]
    query, target = plays[offsets[1:] - 2], plays[offsets[1:] - 1]
    is_test = np.random.default_rng(seed + 1).random(len(query)) < split.test_fraction

    def pairs(chosen: NDArray[np.bool_]) -> Pairs:
        return Pairs(query[chosen], target[chosen], np.zeros(int(chosen.sum()), dtype=np.int32))

    return Corpus(
        n_songs=int((counts > 0).sum()),
        plays=plays,
        offsets=offsets,
        segments=(),
        validation=pairs(~is_test),
        test=pairs(is_test),
        split=split,
    )


def generated_sessions(*, n_songs: int, n_plays: int, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Songs int32 `(n_plays,)` by their place on the line, and where sessions begin int64 `(n_sessions + 1,)`."""
    rng = np.random.default_rng(seed)
    lengths = 2 + rng.geometric(1.0 / (MEAN_LENGTH - 2.0), size=max(1, int(n_plays / MEAN_LENGTH)))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    by_length = np.argsort(-lengths, kind="stable")
    starts, lengths = offsets[:-1][by_length], lengths[by_length]
    popularity = np.exp(POPULARITY_DEVIATION * rng.standard_normal(n_songs))
    by_popularity = np.cumsum(popularity)

    def anywhere(n: int) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = np.searchsorted(by_popularity, rng.random(n) * by_popularity[-1], side="right")
        return drawn

    plays = np.empty(offsets[-1], dtype=np.int32)
    home = song = anywhere(len(lengths))
    for place in range(int(lengths[0])):
        n_open = int(np.searchsorted(-lengths, -place, side="left"))
        if place > 0:
            home, song = home[:n_open], song[:n_open]
            origin = np.where(rng.random(n_open) < 1 / 5, home, song)
            song = _step(origin, popularity, rng)
            is_jump = rng.random(n_open) < 1 / 7
            song[is_jump] = anywhere(int(is_jump.sum()))
        plays[starts[:n_open] + place] = song
    return plays, offsets


def _step(origin: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A song near each origin: one of its candidates, with odds by the root of popularity (the Gumbel trick)."""
    shape = (len(origin), N_CANDIDATES)
    step = rng.geometric(1.0 / MEAN_STEP, shape) * np.where(rng.random(shape) < 2 / 3, 1, -1)
    candidates = (origin[:, np.newaxis] + step) % len(popularity)
    appeal = 0.5 * np.log(popularity[candidates]) + rng.gumbel(size=shape)
    chosen: NDArray[np.int64] = np.take_along_axis(candidates, appeal.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    return chosen
