"""How two stored models' neighbours differ, against sets of ids."""

from pathlib import Path

import numpy as np
import pytest

from app.adapters.model_comparison import StoredDifference, rows_in
from app.adapters.model_files import StoredModel, read_model
from app.domain.embedding import Rows, ScoringRows, unit_rows
from tests.adapters.test_model_files import N_SONGS, scored, song_table, write

K = 5


def shaken() -> ScoringRows:
    """The same songs but for three, their vectors moved, those of late ones more."""
    rng = np.random.default_rng(1)
    vectors = scored().songs.whole()
    is_known = np.ones(N_SONGS, dtype=np.bool_)
    is_known[[5, 7, 9]] = False
    noise = rng.normal(size=vectors.shape) * np.linspace(0, 2, N_SONGS)[:, None]
    moved = unit_rows((vectors + noise).astype(np.float32))
    moved[~is_known] = 0
    rows = Rows(moved)
    return ScoringRows(rows, rows, is_known)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    write(tmp_path / "one")
    write(tmp_path / "other", rows=shaken())
    return tmp_path / "one", tmp_path / "other"


def near(model: StoredModel) -> dict[str, list[str]]:
    ids = model.songs.column("song_id").to_pylist()
    return {ids[row]: [ids[at] for at in found[:K] if at >= 0] for row, found in enumerate(model.neighbours.tolist())}


def test_overlaps_are_those_of_the_sets_and_the_most_changed_come_first(folders: tuple[Path, Path]) -> None:
    mine, theirs = (near(read_model(folder)) for folder in folders)
    expected = {song: len(set(mine[song]) & set(theirs[song])) / K for song in mine.keys() & theirs.keys()}
    difference = StoredDifference(*map(read_model, folders), k=K, segment_column="language")
    summary = difference.summary
    assert (summary.n_common, summary.n_only_one, summary.n_only_other) == (len(expected), 2, 1)
    assert summary.overlap == pytest.approx(np.mean(list(expected.values())))
    assert 0 < float(summary.overlap or 0) < 1
    changed = [*difference.changed(start=0, limit=20), *difference.changed(start=20, limit=99)]
    assert {each.song.song_id: each.overlap for each in changed} == pytest.approx(expected)
    assert [each.overlap for each in changed] == sorted(each.overlap for each in changed)
    for each in changed:
        song = each.song.song_id
        assert [found.song_id for found in each.only_one] == [s for s in mine[song] if s not in theirs[song]]
        assert [found.song_id for found in each.only_other] == [s for s in theirs[song] if s not in mine[song]]
    assert changed[0].song.artist == f"Artist {int(changed[0].song.song_id[1:]) % 3}"


def test_segments_are_those_of_the_songs(folders: tuple[Path, Path]) -> None:
    difference = StoredDifference(*map(read_model, folders), k=K, segment_column="language")
    languages = dict(zip(song_table()["song_id"].to_pylist(), song_table()["language"].to_pylist(), strict=True))
    of_songs = {each.song.song_id: each.overlap for each in difference.changed(start=0, limit=99)}
    for language, (n_songs, overlap) in difference.summary.segments.items():
        found = [of_songs[song] for song in of_songs if languages[song] == language]
        assert n_songs == len(found)
        assert overlap == pytest.approx(np.mean(found))
    assert set(difference.summary.segments) == {"en", "fr"}
    assert StoredDifference(*map(read_model, folders), k=K, segment_column=None).summary.segments == {}


def test_a_model_beside_itself_differs_in_nothing(folders: tuple[Path, Path]) -> None:
    difference = StoredDifference(read_model(folders[0]), read_model(folders[0]), k=K, segment_column=None)
    assert difference.summary.overlap == 1.0
    assert all(not each.only_one and not each.only_other for each in difference.changed(start=0, limit=99))


def test_models_without_a_song_in_common_have_no_overlap(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    renamed = song_table(columns={"song_id": [f"t{row}" for row in range(N_SONGS)]})
    write(tmp_path / "apart", songs=renamed)
    difference = StoredDifference(read_model(folders[0]), read_model(tmp_path / "apart"), k=K, segment_column=None)
    assert (difference.summary.n_common, difference.summary.overlap) == (0, None)
    assert difference.changed(start=0, limit=9) == []


def test_a_model_s_rows_are_found_for_the_songs_of_another_vocabulary(folders: tuple[Path, Path]) -> None:
    stored = read_model(folders[0])
    wanted = song_table().take([40, 3, 5, 0]).column("song_id")
    rows = rows_in(stored, wanted)
    assert rows.is_known.tolist() == [False, True, False, True]
    assert np.array_equal(rows.songs.whole()[[1, 3]], stored.vectors[[3, 0]])
