"""Filters are read as written, and what they find is what a look at every song finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.errors import InvalidRequest
from app.domain.filtering import SongFilter, best_passing, first_of_each, first_passing, masked, text_of

NONE = np.empty(0, dtype=np.int64)


class Searching:
    """Songs that are searched through what is like an inverted file: it never gives more than `reach` songs."""

    def __init__(self, vectors: Matrix, artists: NDArray[np.int32], *, reach: int) -> None:
        self.vectors = vectors
        self.artists = artists
        self.n_songs = len(vectors)
        self.reach = reach
        self.asked: list[int] = []

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        return self.vectors[rows]

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self.asked.append(k)
        scores = self.vectors @ vector
        rows = np.argsort(-scores, kind="stable")
        rows, scores = rows[:k], scores[rows][:k].copy()
        rows[self.reach :] = -1
        scores[self.reach :] = -np.inf
        return rows, scores


def searching(n_songs: int, *, n_artists: int = 5, reach: int | None = None) -> Searching:
    rng = np.random.default_rng(n_songs)
    vectors = rng.normal(size=(n_songs, 4)).astype(np.float32)
    artists = rng.integers(-1, n_artists, size=n_songs).astype(np.int32)
    return Searching(vectors, artists, reach=n_songs if reach is None else reach)


def by_hand(
    songs: Searching,
    vector: Matrix,
    *,
    k: int,
    passing: NDArray[np.bool_] | None,
    excluded: NDArray[np.int64],
    most: int | None,
) -> list[int]:
    scores = songs.vectors @ vector
    n_of: dict[int, int] = {}
    found: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if row in excluded or (passing is not None and not passing[row]):
            continue
        artist = int(songs.artists[row])
        n_of[artist] = n_of.get(artist, 0) + 1
        if most is None or artist < 0 or n_of[artist] <= most:
            found.append(row)
    return found[:k]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(1, 40),
    share=st.sampled_from([None, 0.0, 0.02, 0.3, 1.0]),
    most=st.sampled_from([None, 1, 3]),
    reach=st.sampled_from([5, 60, 400]),
    compared=st.sampled_from([0, 50, 1_000]),
)
def test_the_best_that_pass_are_found_completely(
    *, seed: int, k: int, share: float | None, most: int | None, reach: int, compared: int
) -> None:
    rng = np.random.default_rng(seed)
    songs = searching(400, reach=reach)
    vector = rng.normal(size=4).astype(np.float32)
    passing = None if share is None else rng.random(400) < share
    excluded = rng.integers(0, 400, size=rng.integers(0, 20))
    rows, scores = best_passing(
        songs, vector, k=k, passing=passing, excluded=excluded, max_per_artist=most, compared=compared
    )

    assert rows.tolist() == by_hand(songs, vector, k=k, passing=passing, excluded=excluded, most=most)
    assert scores.tolist() == pytest.approx((songs.vectors[rows] @ vector).tolist())


def test_few_songs_that_pass_are_compared_without_the_index() -> None:
    songs = searching(1_000)
    best_passing(songs, songs.vectors[0], k=5, passing=np.arange(1_000) < 100, excluded=NONE, max_per_artist=None)

    assert songs.asked == []


def test_the_index_is_asked_for_more_until_enough_pass_and_no_further_than_it_may() -> None:
    songs = searching(30_000, n_artists=1)
    songs.artists[:] = 0
    songs.artists[:4] = -1
    rows, _ = best_passing(songs, songs.vectors[0], k=5, passing=None, excluded=NONE, max_per_artist=1)

    assert songs.asked == [20, 80, 320, 1_280]
    assert rows.tolist() == by_hand(songs, songs.vectors[0], k=5, passing=None, excluded=NONE, most=1)


def test_equal_scores_go_by_row() -> None:
    songs = Searching(np.ones((50, 2), dtype=np.float32), np.full(50, -1, dtype=np.int32), reach=50)
    mask = np.arange(50) % 2 == 1
    rows, _ = best_passing(songs, songs.vectors[0], k=4, passing=mask, excluded=np.array([3]), max_per_artist=None)

    assert rows.tolist() == [1, 5, 7, 9]


def test_the_most_played_that_pass_come_first() -> None:
    artists = np.array([0, 0, 0, 1, -1, -1], dtype=np.int32)

    def first(**changes: object) -> list[int]:
        asked = {"k": 4, "passing": None, "excluded": NONE, "artists": artists, "max_per_artist": None, **changes}
        found: list[int] = first_passing(6, **asked).tolist()  # type: ignore[arg-type]
        return found

    assert first() == [0, 1, 2, 3]
    assert first(max_per_artist=1) == [0, 3, 4, 5]
    assert first(excluded=np.array([0, 3])) == [1, 2, 4, 5]
    assert first(passing=np.array([False, True, True, False, True, False])) == [1, 2, 4]


def test_songs_without_an_artist_are_each_by_themselves() -> None:
    assert first_of_each(np.array([-1, -1, 0, 0], dtype=np.int32), 1).tolist() == [True, True, True, False]


def test_columns_are_all_demanded_and_values_of_one_are_alternatives() -> None:
    wanted = SongFilter.parsed(["language=ar", "genre=rock", "language=fr", "language=ar"])

    assert wanted.where == (("genre", ("rock",)), ("language", ("ar", "fr")))
    assert wanted.passes({"language": "fr", "genre": "rock"})
    assert not wanted.passes({"language": "fr"})
    assert not wanted.passes({"language": "gd", "genre": "rock"})
    masks = {"genre": np.array([True, True, False]), "language": np.array([False, True, True])}
    found = masked(wanted, lambda column, _values: masks[column])
    assert found is not None
    assert found.tolist() == [False, True, False]
    assert masked(SongFilter(), lambda _column, _values: np.empty(0, dtype=np.bool_)) is None


def test_only_the_first_equals_sign_parts() -> None:
    assert SongFilter.parsed(["genre=a=b", "title="]).where == (("genre", ("a=b",)), ("title", ("",)))


def test_a_filter_of_nothing_lets_all_pass() -> None:
    assert SongFilter().lets_all_pass
    assert not SongFilter(exclude=("a",)).lets_all_pass
    assert not SongFilter(max_per_artist=1).lets_all_pass


@pytest.mark.parametrize(("value", "text"), [("ar", "ar"), (7, "7"), (7.0, "7"), (0.5, "0.5"), (False, "false")])
def test_values_are_written_as_they_are_read(value: str | float, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("written", ["", "language", "=ar"])
def test_what_is_no_filter_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest, match="column=value") as caught:
        SongFilter.parsed([written])

    assert caught.value.pointer == "filter"


@pytest.mark.parametrize(
    ("make", "pointer"),
    [
        (lambda: SongFilter.parsed([f"c{number}=1" for number in range(9)]), "filter"),
        (lambda: SongFilter.parsed([f"c={number}" for number in range(65)]), "filter"),
        (lambda: SongFilter.parsed(["c=" + "v" * 257]), "filter"),
        (lambda: SongFilter.parsed(["c" * 101 + "=v"]), "filter"),
        (lambda: SongFilter.of({"c": []}), "filter"),
        (lambda: SongFilter(exclude=("a",) * 1_001), "exclude"),
        (lambda: SongFilter(max_per_artist=0), "max_per_artist"),
        (lambda: SongFilter(max_per_artist=101), "max_per_artist"),
    ],
)
def test_filters_are_bounded(make: object, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make()  # type: ignore[operator]

    assert caught.value.pointer == pointer


def test_a_column_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="artist, genre"):
        SongFilter.parsed(["language=ar"]).demand_columns(["artist", "genre"])
    SongFilter.parsed(["genre=rock"]).demand_columns(["artist", "genre"])
