"""The kernel against the formulas of its header, in plain NumPy at float64 and with the same random numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from app.adapters.lane_kernel import Sessions, Settings, Share, Vectors, alias_table, train_share

N_SONGS = 12
SETTINGS = Settings(window=3, negative=5, weight=1.0, is_skip_gram=True, alpha=0.05, min_alpha=0.001)
SEED = 2**64 - 12_345

Pair = tuple[float, int, list[int]]
"""Rate, centre song, context songs."""


class SplitMix:
    """splitmix64."""

    def __init__(self, state: int) -> None:
        self.state = state

    def bits(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        bits = self.state
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
        return bits ^ (bits >> 31)

    def below(self, n: int) -> int:
        return (self.bits() >> 32) * n >> 32

    def share(self) -> float:
        return self.bits() % 2**24 / 2**24

    def song(self, sessions: Sessions) -> int:
        bits = self.bits()
        song = (bits >> 32) * len(sessions.alias) >> 32
        return song if bits % 2**24 / 2**24 < sessions.alias_share[song] else int(sessions.alias[song])


@dataclass
class Plain:
    """One share of an epoch, pair by pair. `u` and `v`: input and output vectors, float64 `(n_songs, dim)`."""

    sessions: Sessions
    settings: Settings
    share: Share
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    random: SplitMix

    def __post_init__(self) -> None:
        self.next_session = self.share.first
        self.rate = self.rate_at(self.share.first)
        self.plays_at_rate = 0
        self.n_steps = 0
        self.n_stilled = 0
        self.n_own_negatives = 0

    def train(self, n_lanes: int) -> None:
        lanes = [self.lane() for _ in range(n_lanes)]
        n_drawn = int(np.ceil(self.settings.negative / self.settings.weight))
        upcoming = [self.random.song(self.sessions) for _ in range(n_drawn)]
        while pairs := [pair for lane in lanes if (pair := next(lane, None)) is not None]:
            drawn, upcoming = upcoming, [self.random.song(self.sessions) for _ in range(n_drawn)]
            self.step(pairs, drawn)
            self.n_steps += 1

    def lane(self) -> Iterator[Pair]:
        while self.next_session < self.share.stop:
            session = self.next_session
            self.next_session += 1
            plays = self.sessions.plays[self.sessions.starts[session] : self.sessions.ends[session]].tolist()
            if self.plays_at_rate + len(plays) > self.share.plays_per_rate:
                self.rate, self.plays_at_rate = self.rate_at(session), 0
            self.plays_at_rate += len(plays)
            rate, songs, reaches = self.rate, [], []
            for song in plays:
                if self.sessions.kept[song] == 1 or self.random.share() < self.sessions.kept[song]:
                    songs.append(song)
                    reaches.append(1 + self.random.below(self.settings.window))
            for centre, context in pairs_of(songs, reaches, is_skip_gram=self.settings.is_skip_gram):
                yield rate, centre, context

    def rate_at(self, session: int) -> float:
        share, settings = self.share, self.settings
        done = (session - share.first) / (share.stop - share.first)
        progress = share.progress * (1 - done) + share.progress_at_end * done
        return settings.alpha * (1 - progress) + settings.min_alpha * progress

    def step(self, pairs: Sequence[Pair], drawn: Sequence[int]) -> None:
        weight = self.settings.negative / len(drawn)
        negatives = self.v[drawn]  # a copy: as they are before the positives move
        inputs, errors = [], []
        for rate, centre, context in pairs:
            x = self.u[context].mean(axis=0)
            step = rate * (1 - self.sigmoid(x @ self.v[centre], otherwise=1.0))
            inputs.append(x)
            errors.append(step * self.v[centre])
            self.v[centre] += step * x
        for song, negative in zip(drawn, negatives, strict=True):
            for p, (rate, centre, _) in enumerate(pairs):
                if song == centre:
                    self.n_own_negatives += 1
                    continue
                step = -rate * weight * self.sigmoid(inputs[p] @ negative, otherwise=0.0)
                errors[p] += step * negative
                self.v[song] += step * inputs[p]
        for (_, _, context), error in zip(pairs, errors, strict=True):
            for song in context:
                self.u[song] += error

    def sigmoid(self, product: float, *, otherwise: float) -> float:
        if abs(product) >= 6:
            self.n_stilled += 1
            return otherwise
        return float(1 / (1 + np.exp(-product)))


def pairs_of(songs: Sequence[int], reaches: Sequence[int], *, is_skip_gram: bool) -> Iterator[tuple[int, list[int]]]:
    for place, (centre, reach) in enumerate(zip(songs, reaches, strict=True)):
        context = [songs[at] for at in range(len(songs)) if at != place and abs(at - place) <= reach]
        if is_skip_gram:
            yield from ((centre, [song]) for song in context)
        elif context:
            yield centre, context


def listened(*, n_sessions: int = 60, seed: int = 0) -> Sessions:
    """Sessions of 0 to 9 plays that repeat songs; songs 0 to 3 are sampled, song 11 is no negative."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 10, n_sessions)
    ends = np.cumsum(lengths)
    plays = np.minimum(rng.geometric(0.2, ends[-1]) - 1, N_SONGS - 1).astype(np.int32)
    plays.flags.writeable = False  # as those of a dataset are: the kernel is compiled for them
    kept = np.ones(N_SONGS, np.float32)
    kept[:4] = [0.4, 0.6, 0.8, 0.9]
    weights = np.arange(N_SONGS, 0.0, -1.0)
    weights[11] = 0.0
    return Sessions(plays, ends - lengths, ends, kept, *alias_table(weights))


def whole(sessions: Sessions, *, plays_per_rate: int = 25) -> Share:
    return Share(0, len(sessions.starts), progress=0.25, progress_at_end=0.75, plays_per_rate=plays_per_rate)


def vectors(dim: int, *, scale: float = 0.3) -> Vectors:
    rng = np.random.default_rng(1)
    return Vectors(*(rng.normal(0.0, scale, (2, N_SONGS, dim)).astype(np.float32)))


def train(
    sessions: Sessions, settings: Settings, share: Share, trained: Vectors, *, lanes: tuple[int, int]
) -> tuple[int, int]:
    """Train in place; gives the random state left, and the sessions begun."""
    state, done, stop = np.array([SEED], np.uint64), np.zeros(1, np.int64), np.zeros(1, np.bool_)
    train_share(sessions, settings, share, trained, state, *lanes, done, stop)
    return int(state[0]), int(done[0])


def assert_as_plain(
    settings: Settings, *, lanes: tuple[int, int], dim: int = 11, scale: float = 0.3, share: Share | None = None
) -> Plain:
    sessions = listened()
    share = share or whole(sessions)
    trained = vectors(dim, scale=scale)
    plain = Plain(sessions, settings, share, trained.input.astype(float), trained.output.astype(float), SplitMix(SEED))
    plain.train(lanes[0])
    state, _ = train(sessions, settings, share, trained, lanes=lanes)
    assert state == plain.random.state
    np.testing.assert_allclose(trained.input, plain.u, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trained.output, plain.v, rtol=1e-4, atol=1e-6)
    assert np.abs(trained.output - vectors(dim, scale=scale).output).max() > 0.05
    return plain


@pytest.mark.parametrize("is_skip_gram", [True, False], ids=["skip_gram", "cbow"])
@pytest.mark.parametrize("lanes", [(1, 4), (3, 4), (4, 4), (7, 8), (8, 8), (11, 16), (16, 16)], ids=str)
@pytest.mark.parametrize(("negative", "weight"), [(5, 1.0), (7, 2.0), (1, 1.0), (40, 3.0)])
def test_vectors_are_those_of_the_formulas(
    is_skip_gram: bool, lanes: tuple[int, int], negative: int, weight: float
) -> None:
    settings = SETTINGS._replace(is_skip_gram=is_skip_gram, negative=negative, weight=weight)
    assert_as_plain(settings, lanes=lanes)


@pytest.mark.parametrize("is_skip_gram", [True, False], ids=["skip_gram", "cbow"])
@pytest.mark.parametrize("dim", [2, 15, 16, 17, 40])
def test_any_number_of_dimensions_is_trained(is_skip_gram: bool, dim: int) -> None:
    assert_as_plain(SETTINGS._replace(is_skip_gram=is_skip_gram), lanes=(4, 4), dim=dim)


@pytest.mark.parametrize("is_skip_gram", [True, False], ids=["skip_gram", "cbow"])
@pytest.mark.parametrize("lanes", [(1, 4), (16, 16)], ids=str)
def test_products_of_six_and_more_move_nothing(is_skip_gram: bool, lanes: tuple[int, int]) -> None:
    settings = SETTINGS._replace(is_skip_gram=is_skip_gram, alpha=0.01)
    plain = assert_as_plain(settings, lanes=lanes, scale=1.5)
    assert plain.n_stilled > 50


@pytest.mark.parametrize("window", [1, 40])
def test_windows_shorter_and_longer_than_sessions(window: int) -> None:
    assert_as_plain(SETTINGS._replace(window=window), lanes=(4, 4))


def test_a_songs_own_negative_is_no_negative() -> None:
    assert assert_as_plain(SETTINGS, lanes=(4, 4)).n_own_negatives > 50


@pytest.mark.parametrize("plays_per_rate", [1, 8, 10_000])
def test_rate_falls_after_so_many_plays(plays_per_rate: int) -> None:
    share = whole(listened(), plays_per_rate=plays_per_rate)
    assert_as_plain(SETTINGS._replace(alpha=0.1), lanes=(3, 4), share=share)


def test_a_share_trains_its_own_sessions_alone() -> None:
    share = whole(listened())._replace(first=20, stop=45)
    plain = assert_as_plain(SETTINGS, lanes=(16, 16), share=share)
    assert plain.next_session == 45


def test_sessions_begun_are_told() -> None:
    sessions = listened()
    share = whole(sessions)._replace(first=20)
    assert train(sessions, SETTINGS, share, vectors(4), lanes=(4, 4))[1] == 40


def test_a_stop_that_is_set_ends_training_before_the_first_step() -> None:
    sessions, trained = listened(), vectors(4)
    state, done, stop = np.array([SEED], np.uint64), np.zeros(1, np.int64), np.ones(1, np.bool_)
    train_share(sessions, SETTINGS, whole(sessions), trained, state, 1, 4, done, stop)
    assert np.array_equal(trained.input, vectors(4).input)
    assert np.array_equal(trained.output, vectors(4).output)
    assert done[0] == 0


def test_lanes_beyond_the_open_ones_change_nothing() -> None:
    sessions, few, many = listened(), vectors(20), vectors(20)
    train(sessions, SETTINGS, whole(sessions), few, lanes=(4, 4))
    train(sessions, SETTINGS, whole(sessions), many, lanes=(4, 16))
    np.testing.assert_allclose(few.input, many.input, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(few.output, many.output, rtol=1e-4, atol=1e-6)


def test_sessions_that_sampling_empties_are_passed_over() -> None:
    sessions = listened()._replace(kept=np.zeros(N_SONGS, np.float32))
    trained = vectors(4)
    train(sessions, SETTINGS, whole(sessions), trained, lanes=(4, 4))
    assert np.array_equal(trained.input, vectors(4).input)
    assert np.array_equal(trained.output, vectors(4).output)
