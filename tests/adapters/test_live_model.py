"""A loaded model refuses parts that do not fit together, and tells what it holds as JSON has it."""

import datetime as dt
import json
import math
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from app.adapters import live_model
from app.adapters.id_lookup import LISTED_TEXTS
from app.adapters.live_model import LoadedModel, written_songs
from app.domain.embedding import Matrix
from app.domain.errors import DamagedArtifact


class FixedIndex:
    """Finds what it is told to."""

    def __init__(self, *rows: int) -> None:
        self.rows = np.array([rows], dtype=np.int64)

    def search(self, queries: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        del queries
        return self.rows[:, :k], np.ones((1, len(self.rows[0, :k])), dtype=np.float32)


def model(
    *,
    n_songs: int = 3,
    neighbours: list[list[int]] | None = None,
    scores: list[list[float]] | None = None,
    index: FixedIndex | None = None,
    queries: Matrix | None = None,
    **details: object,
) -> LoadedModel:
    rows = [[1, 2], [0, 2], [0, -1]][:n_songs] if neighbours is None else neighbours
    return LoadedModel(
        "mdl_a",
        songs=pa.table(
            {
                "song_id": pa.array([f"s{row}" for row in range(n_songs)], pa.string()),
                "title": pa.array([None] * n_songs, pa.string()),
                "artist": pa.array(["a"] * n_songs, pa.string()),
                "n_plays": pa.array(range(n_songs, 0, -1), pa.int64()),
                **details,
            }
        ),
        queries=np.ones((n_songs, 2), dtype=np.float32) if queries is None else queries,
        neighbours=np.array(rows, dtype=np.int32).reshape(n_songs, -1 if n_songs else 2),
        neighbour_scores=np.array([[0.5, 0.25]] * n_songs if scores is None else scores, dtype=np.float32).reshape(
            n_songs, 2
        ),
        index=index or FixedIndex(0, 1, 2),
    )


def test_padding_is_not_a_neighbour() -> None:
    assert [near["song_id"] for near in model().neighbours(2, 2)] == ["s0"]


@pytest.mark.parametrize("listed", [LISTED_TEXTS, 2])
def test_songs_are_written_as_they_are_told(listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_model, "written_songs", partial(written_songs, listed=listed))
    titles = ['a "b" %d \\', None, "\u00e9"]
    written = model(title=pa.array(titles, pa.string())).written_songs([2, 0, 1], [0.25, -1e-06, None])
    assert json.loads(written) == [
        {"song_id": "s2", "title": "\u00e9", "artist": "a", "score": 0.25},
        {"song_id": "s0", "title": 'a "b" %d \\', "artist": "a", "score": -1e-06},
        {"song_id": "s1", "title": None, "artist": "a", "score": None},
    ]
    assert json.loads(model().written_songs([], [])) == []


@pytest.mark.parametrize(
    "neighbours",
    [[[1, 2], [0, 3], [0, 1]], [[1, 2], [0, -2], [0, 1]], [[1, 2], [0, 1], [0, 1]]],
    ids=["beyond the songs", "below the padding", "a song beside itself"],
)
def test_a_table_of_neighbours_that_cannot_be_is_refused(neighbours: list[list[int]]) -> None:
    with pytest.raises(DamagedArtifact, match="table of neighbours"):
        model(neighbours=neighbours)


def test_parts_of_different_sizes_are_refused() -> None:
    with pytest.raises(DamagedArtifact, match="different numbers"):
        model(queries=np.ones((2, 2), dtype=np.float32))


def test_warming_up_passes_a_sound_model() -> None:
    model().warm_up()
    model(n_songs=1, neighbours=[[-1, -1]], index=FixedIndex(0)).warm_up()


def test_warming_up_refuses_a_model_without_songs() -> None:
    with pytest.raises(DamagedArtifact, match="no song"):
        model(n_songs=0).warm_up()


@pytest.mark.parametrize("found", [(-1, -1), (0, 7)], ids=["nothing found", "a row that is no song"])
def test_warming_up_refuses_an_index_that_does_not_answer(found: tuple[int, int]) -> None:
    with pytest.raises(DamagedArtifact, match="does not answer"):
        model(index=FixedIndex(*found)).warm_up()


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DamagedArtifact, match="not one of its 3 songs"):
        model(scores=[[math.nan, 0.0]] * 3).warm_up()


def test_a_model_with_the_same_id_twice_is_refused() -> None:
    songs = pa.table({"song_id": ["a", "a"], "title": ["", ""], "artist": ["", ""], "n_plays": [2, 1]})
    with pytest.raises(DamagedArtifact, match="not all different"):
        LoadedModel(
            "mdl_a",
            songs=songs,
            queries=np.ones((2, 2), dtype=np.float32),
            neighbours=np.array([[1], [0]], dtype=np.int32),
            neighbour_scores=np.ones((2, 1), dtype=np.float32),
            index=FixedIndex(0, 1),
        )


def test_further_columns_are_told_as_json_has_them() -> None:
    song = model(
        year=[1999, None, 3],
        mean=[math.nan, 1.5, math.inf],
        released=[dt.date(2020, 1, 2)] * 3,
        seen=pa.array([dt.datetime(2020, 1, 2, tzinfo=dt.UTC)] * 3, pa.timestamp("ms", "UTC")),
        tags=[["x", "y"]] * 3,
        live=[True] * 3,
    ).song(0)

    assert song.details == {
        "year": 1999,
        "mean": None,
        "released": "2020-01-02",
        "seen": "2020-01-02T00:00:00+00:00",
        "tags": "['x', 'y']",
        "live": True,
    }


def test_without_histories_nobody_has_one() -> None:
    assert model().history("ann") is None


def test_filters_read_values_of_any_type_as_json_has_them() -> None:
    songs = model(
        year=[1999, None, 3],
        mean=[math.nan, 1.5, 2.0],
        released=[dt.date(2020, 1, 2)] * 3,
        tags=[["x", "y"], None, ["x"]],
        live=[True, False, None],
    )

    def which(column: str, *values: str) -> list[int]:
        return np.flatnonzero(songs.carriers(column, values)).tolist()

    assert which("year", "1999", "3") == [0, 2]
    assert which("mean", "1.5") == [1]
    assert which("mean", "2") == [2]
    assert which("mean", "nan") == []
    assert which("released", "2020-01-02") == [0, 1, 2]
    assert which("tags", "['x']") == [2]
    assert which("live", "true") == [0]
    assert which("artist", "a") == [0, 1, 2]
