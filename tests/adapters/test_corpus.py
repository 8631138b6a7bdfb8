import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.adapters.corpus import (
    ArrayWriter,
    read_corpus,
    read_histories,
    read_songs,
    write_artists,
    write_corpus,
)
from app.domain.errors import DamagedArtifact
from app.domain.listening import Repeats, Split

SPLIT = Split(query_in_training=True, repeats=Repeats.HIT, test_fraction=0.25)


def save(path: Path, values: object, dtype: type[np.int32] | type[np.int64]) -> None:
    array = np.asarray(values, dtype)
    with ArrayWriter(path, dtype=dtype, shape=array.shape) as writer:
        writer.append(array)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sessions of three songs, one user."""
    save(tmp_path / "plays.npy", [0, 1, 2, 0, 0, 1], np.int32)
    save(tmp_path / "offsets.npy", [0, 3, 6], np.int64)
    save(tmp_path / "session_segments.npy", [1, 0], np.int32)
    save(tmp_path / "validation.npy", [[1, 2, 1]], np.int32)
    save(tmp_path / "test.npy", [[0, 1, 0]], np.int32)
    save(tmp_path / "history_offsets.npy", [0, 2], np.int64)
    save(tmp_path / "history_songs.npy", [0, 1], np.int32)
    save(tmp_path / "history_played_at.npy", [5, 6], np.int64)
    songs = {"song_id": ["x", "y", "z"], "title": ["X", None, None], "artist": [None] * 3, "n_plays": [3, 2, 1]}
    pq.write_table(pa.table(songs), tmp_path / "songs.parquet")
    pq.write_table(pa.table({"user_id": ["u"]}), tmp_path / "history_users.parquet")
    write_corpus(tmp_path, segments=("pop", "rock"), split=SPLIT)
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    corpus = read_corpus(folder)
    assert [songs.tolist() for songs in corpus.training_sessions(held_out=False)] == [[0, 1, 2], [0, 0, 1]]
    assert (corpus.n_songs, corpus.segments, corpus.split) == (3, ("pop", "rock"), SPLIT)
    assert [array.tolist() for array in (corpus.test.query, corpus.test.target, corpus.test.segment)] == [[0], [1], [0]]
    assert corpus.validation.target.tolist() == [2]
    assert read_songs(folder).column("title").to_pylist() == ["X", None, None]
    histories = read_histories(folder)
    assert (histories.users.to_pylist(), histories.songs.tolist()) == (["u"], [0, 1])
    assert histories.played_at_ms.tolist() == [5, 6]


def test_arrays_are_mapped_and_cannot_be_written_to(folder: Path) -> None:
    corpus = read_corpus(folder)
    assert isinstance(corpus.plays, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.plays[0] = 1


def test_fingerprint_is_in_the_folder_and_ignores_how_parquet_is_written(folder: Path) -> None:
    told = json.loads((folder / "corpus.json").read_text())
    pq.write_table(read_songs(folder), folder / "songs.parquet", compression="zstd", row_group_size=1)
    assert write_corpus(folder, segments=("pop", "rock"), split=SPLIT) == told["fingerprint"]


@pytest.mark.parametrize("name", ["plays.npy", "test.npy", "history_played_at.npy", "session_segments.npy"])
def test_fingerprint_covers_every_array(folder: Path, name: str) -> None:
    before = json.loads((folder / "corpus.json").read_text())["fingerprint"]
    array = np.load(folder / name)
    array.flat[0] += 1
    np.save(folder / name, array)
    assert write_corpus(folder, segments=("pop", "rock"), split=SPLIT) != before


def test_fingerprint_covers_song_ids_and_segments(folder: Path) -> None:
    before = json.loads((folder / "corpus.json").read_text())["fingerprint"]
    assert write_corpus(folder, segments=("jazz", "rock"), split=SPLIT) != before
    songs = read_songs(folder).set_column(0, "song_id", pa.array(["x", "yz", ""]))
    pq.write_table(songs, folder / "songs.parquet")
    assert write_corpus(folder, segments=("pop", "rock"), split=SPLIT) != before


def test_array_that_lacks_values_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="lacks 1"),
        ArrayWriter(tmp_path / "a.npy", dtype=np.int32, shape=(3,)) as writer,
    ):
        writer.append(np.arange(2))


def test_array_written_in_pieces_is_whole(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "a.npy", dtype=np.int32, shape=(4, 3)) as writer:
        writer.append(np.arange(6).reshape(2, 3))
        writer.append(np.arange(6, 12).reshape(2, 3)[:, ::1])
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.int32
    np.testing.assert_array_equal(array, np.arange(12).reshape(4, 3))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def another_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def another_shape(path: Path) -> None:
    np.save(path, np.load(path)[None])


def one_less(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def falling(path: Path) -> None:
    np.save(path, np.array([0, 7, 6], np.int64))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[
            (name, damage)
            for name in ("plays.npy", "offsets.npy", "session_segments.npy")
            for damage in (cut, one_less)
        ],
        ("plays.npy", another_type),
        ("plays.npy", pickled),
        ("plays.npy", Path.unlink),
        ("offsets.npy", falling),
        ("validation.npy", another_shape),
        ("test.npy", cut),
        ("corpus.json", cut),
        ("corpus.json", lambda path: path.write_text("[]")),
        ("corpus.json", lambda path: path.write_text('{"format": 99}')),
        ("corpus.json", lambda path: path.write_text('{"format": 1}')),
        ("corpus.json", lambda path: path.write_text(path.read_text().replace('"hit"', '"perhaps"'))),
        ("corpus.json", lambda path: path.write_text(path.read_text().replace('"n_songs": 3', '"n_songs": "3"'))),
        ("corpus.json", Path.unlink),
    ],
)
def test_damaged_corpus_is_told(folder: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(folder / name)
    with pytest.raises(DamagedArtifact, match=folder.name):
        read_corpus(folder)


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: pq.write_table(pa.table({"song_id": ["x"]}), path)])
def test_damaged_songs_are_told(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / "songs.parquet")
    with pytest.raises(DamagedArtifact, match=r"songs\.parquet"):
        read_songs(folder)


@pytest.mark.parametrize("name", ["history_offsets.npy", "history_songs.npy", "history_played_at.npy"])
def test_histories_that_do_not_fit_together_are_told(folder: Path, name: str) -> None:
    one_less(folder / name)
    with pytest.raises(DamagedArtifact):
        read_histories(folder)


def test_damaged_users_are_told(folder: Path) -> None:
    shutil.copyfile(folder / "songs.parquet", folder / "history_users.parquet")
    with pytest.raises(DamagedArtifact):
        read_histories(folder)


# Artists


def with_artists(folder: Path, *artists: str | None) -> str:
    """Names the songs' artists, and gives the fingerprint."""
    songs = read_songs(folder).set_column(2, "artist", pa.array(artists, pa.string()))
    pq.write_table(songs, folder / "songs.parquet", row_group_size=1)
    write_artists(folder)
    return write_corpus(folder, segments=("pop", "rock"), split=SPLIT)


def test_artists_are_numbered_as_they_first_appear(folder: Path) -> None:
    with_artists(folder, "B", None, "B")
    corpus = read_corpus(folder)
    assert corpus.artists is not None
    assert corpus.artists.tolist() == [0, -1, 0]


def test_without_a_named_artist_there_are_none(folder: Path) -> None:
    with_artists(folder, None, "", None)
    assert read_corpus(folder).artists is None


def test_the_fingerprint_covers_artists_and_is_the_old_one_without(folder: Path) -> None:
    before = json.loads((folder / "corpus.json").read_text())["fingerprint"]
    assert with_artists(folder, None, None, None) == before
    fingerprints = {with_artists(folder, *names) for names in (("A", "B", "A"), ("C", "D", "C"), ("A", "A", "A"))}
    assert len(fingerprints) == 2
    assert before not in fingerprints


def test_a_dataset_compiled_before_there_were_artists_is_read(folder: Path) -> None:
    told = folder / "corpus.json"
    told.write_text(told.read_text().replace('"format": 2', '"format": 1'))
    corpus = read_corpus(folder)
    assert corpus.artists is None
    assert corpus.n_sessions == 2


@pytest.mark.parametrize("damage", [cut, one_less, another_type])
def test_damaged_artists_are_told(folder: Path, damage: Callable[[Path], object]) -> None:
    with_artists(folder, "A", "B", "C")
    damage(folder / "artists.npy")
    with pytest.raises(DamagedArtifact, match=folder.name):
        read_corpus(folder)


def test_a_session_s_segment_scopes_what_is_read(folder: Path) -> None:
    scoped = read_corpus(folder).scoped("pop")
    assert [songs.tolist() for songs in scoped.training_sessions(held_out=False)] == [[0, 0, 1]]
    assert (len(scoped.validation), len(scoped.test)) == (0, 1)
