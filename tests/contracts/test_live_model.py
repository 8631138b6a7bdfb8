"""What every live model answers, the loaded one and the fake: the same songs, vectors and histories, the same words."""

from collections.abc import Callable

import numpy as np
import orjson
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from app.adapters.corpus import Histories
from app.adapters.laid_over import LaidOverModel
from app.adapters.live_model import LoadedModel
from app.domain.embedding import Matrix, unit_rows
from app.domain.errors import InvalidRequest
from app.domain.filtering import SongFilter
from app.domain.plays import HeardSong
from app.domain.serving import LiveModel, Song
from tests.fakes.live_models import BruteForceModel

N_SONGS = 30
SONGS = [
    Song(
        song_id=f"song {row:02d} é",
        title=None if row == 4 else f"Title {row}",
        artist="Mogwai" if row % 3 else None,
        n_plays=100 - row,
        details={"language": "gd" if row % 2 else None, "year": 1990 + row},
    )
    for row in range(N_SONGS)
]
VECTORS = unit_rows(np.random.default_rng(7).normal(size=(N_SONGS, 4)).astype(np.float32))
HEARD = {
    "ann": [HeardSong(SONGS[3].song_id, 10), HeardSong(SONGS[1].song_id, 20)],
    "bob": [HeardSong(SONGS[0].song_id, 5)],
}


class Scan:
    """An index that compares with every song."""

    def __init__(self, songs: Matrix) -> None:
        self._songs = songs

    def search(self, queries: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = queries @ self._songs.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return order, np.take_along_axis(scores, order, axis=1)


def loaded() -> LiveModel:
    scores = VECTORS @ VECTORS.T
    np.fill_diagonal(scores, -np.inf)
    neighbours = np.argsort(-scores, axis=1, kind="stable")[:, : N_SONGS - 1].astype(np.int32)
    return LoadedModel(
        "mdl_a",
        songs=pa.table(
            {
                "song_id": [song.song_id for song in SONGS],
                "title": [song.title for song in SONGS],
                "artist": [song.artist for song in SONGS],
                "n_plays": [song.n_plays for song in SONGS],
                "language": [song.details["language"] for song in SONGS],
                "year": [song.details["year"] for song in SONGS],
            }
        ),
        queries=VECTORS,
        neighbours=neighbours,
        neighbour_scores=np.take_along_axis(scores, neighbours, axis=1),
        index=Scan(VECTORS),
        histories=Histories(
            users=pa.chunked_array([["ann", "bob"]]),
            offsets=np.array([0, 2, 3]),
            songs=np.array([3, 1, 0], dtype=np.int32),
            played_at_ms=np.array([10, 20, 5]),
        ),
    )


@pytest.fixture(
    params=[
        loaded,
        lambda: BruteForceModel("mdl_a", SONGS, VECTORS, histories=HEARD),
        lambda: LaidOverModel(loaded(), []),
    ],
    ids=["loaded", "fake", "laid over"],
)
def model(request: pytest.FixtureRequest) -> LiveModel:
    make: Callable[[], LiveModel] = request.param
    return make()


def test_it_knows_its_songs_by_id_and_row(model: LiveModel) -> None:
    assert (model.model_id, model.n_songs) == ("mdl_a", N_SONGS)
    assert [model.row(song.song_id) for song in SONGS] == list(range(N_SONGS))
    assert model.row("song") is None
    assert model.rows([SONGS[5].song_id, "song", SONGS[0].song_id]).tolist() == [5, -1, 0]
    assert [model.song(row) for row in range(N_SONGS)] == SONGS
    assert model.names(4) == (SONGS[4].song_id, None, "Mogwai")


@pytest.mark.parametrize("k", [1, 10, 100])
def test_neighbours_are_a_full_ranking_without_the_song(model: LiveModel, k: int) -> None:
    for row in range(N_SONGS):
        scores = VECTORS.astype(np.float64) @ VECTORS[row]
        ranked = [near for near in np.argsort(-scores).tolist() if near != row][:k]
        found = model.neighbours(row, k)

        assert [near["song_id"] for near in found] == [SONGS[near].song_id for near in ranked]
        assert [near["title"] for near in found] == [SONGS[near].title for near in ranked]
        assert [near["score"] for near in found] == pytest.approx(scores[ranked].tolist(), abs=2e-6)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_neighbours_are_written_as_they_are_told(model: LiveModel, k: int) -> None:
    for row in range(N_SONGS):
        assert orjson.loads(model.written_neighbours(row, k)) == model.neighbours(row, k)


def test_a_search_ranks_songs_by_inner_product(model: LiveModel) -> None:
    vector = np.array([0.3, -0.2, 0.5, 0.1], dtype=np.float32)
    rows, scores = model.search(vector, 7)

    expected = VECTORS @ vector
    assert rows.tolist() == np.argsort(-expected)[:7].tolist()
    assert scores.tolist() == pytest.approx(np.sort(expected)[::-1][:7].tolist())


def test_query_rows_are_copies(model: LiveModel) -> None:
    rows = model.query_rows(np.array([2, 2]))
    rows[:] = 0

    assert model.query_rows(np.array([2]))[0].tolist() == VECTORS[2].tolist()


def test_words_find_songs_by_plays(model: LiveModel) -> None:
    assert model.find("MOGWAI title 1", start=0, limit=3) == [1, 10, 11]
    assert model.find("MOGWAI title 1", start=11, limit=3) == [11, 13, 14]
    assert model.find("nothing like it", start=0, limit=3) == []


def test_histories_are_those_of_the_dataset(model: LiveModel) -> None:
    history = model.history("ann")

    assert history is not None
    assert (history.songs.tolist(), history.played_at_ms.tolist()) == ([1, 3], [20, 10])
    assert model.history("cat") is None


NONE = np.empty(0, dtype=np.int64)


def test_a_filtered_search_gives_the_best_that_pass(model: LiveModel) -> None:
    wanted = SongFilter.parsed(["language=gd", "year=1991", "year=1995", "year=1996", "year=2019"])
    rows, scores = model.search_within(VECTORS[5], 10, wanted=wanted, excluded=NONE)

    expected = VECTORS @ VECTORS[5]
    assert rows.tolist() == sorted([1, 5, 29], key=lambda row: -expected[row])
    assert scores.tolist() == pytest.approx(expected[rows].tolist())


def test_excluded_songs_and_further_songs_of_an_artist_are_left_out(model: LiveModel) -> None:
    wanted = SongFilter(exclude=(SONGS[2].song_id, "song"), max_per_artist=1)
    rows, _ = model.search_within(VECTORS[1], N_SONGS, wanted=wanted, excluded=np.array([1, 3]))

    best = [row for row in np.argsort(-(VECTORS @ VECTORS[1])).tolist() if row not in {1, 2, 3}]
    first_mogwai = next(row for row in best if row % 3)
    assert rows.tolist() == [row for row in best if row % 3 == 0 or row == first_mogwai]
    popular = model.popular_within(4, wanted=wanted, excluded=np.array([1, 3]))
    assert popular.tolist() == [0, 4, 6, 9]


def test_a_filter_on_a_column_that_there_is_not_names_those_there_are(model: LiveModel) -> None:
    assert model.columns == ("artist", "language", "year")
    with pytest.raises(InvalidRequest, match="artist, language, year"):
        model.search_within(VECTORS[1], 3, wanted=SongFilter.parsed(["tempo=1"]), excluded=NONE)
    with pytest.raises(InvalidRequest, match="artist, language, year"):
        model.popular_within(3, wanted=SongFilter.parsed(["tempo=1"]), excluded=NONE)


def test_artists_are_numbered(model: LiveModel) -> None:
    number = model.artist_number("Mogwai")

    assert model.artists.tolist() == [number if row % 3 else -1 for row in range(N_SONGS)]
    assert model.artist_number("Björk") is None
    assert model.carriers("artist", ("Mogwai", "none")).tolist() == [row % 3 > 0 for row in range(N_SONGS)]


def test_the_nearest_are_named_by_row(model: LiveModel) -> None:
    rows, scores = model.nearest(7, 5)

    assert [SONGS[row].song_id for row in rows] == [near["song_id"] for near in model.neighbours(7, 5)]
    assert scores == pytest.approx((VECTORS[rows] @ VECTORS[7]).tolist())
    assert model.song_rows(np.array([3, 1])).tolist() == VECTORS[[3, 1]].tolist()
