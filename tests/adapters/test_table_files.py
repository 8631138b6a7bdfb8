"""A table of neighbours beside its model: the same answers as search, and nothing that does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.adapters.live_model import LoadedModel
from app.adapters.model_files import load_model, read_model
from app.adapters.table_files import read_model_and_table, take_table, write_table
from app.domain.errors import DamagedArtifact
from app.domain.models import IndexLimits
from app.domain.neighbour_tables import TableFacts
from tests.adapters.test_model_files import brute_force, scored, song_table, write

BARE = IndexLimits(neighbours_kept=8, table_up_to=10)
N_KNOWN = 58


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a model without neighbours and one for its table, the latter's path."""
    write(tmp_path / "model", limits=BARE)
    return tabled(tmp_path)


def tabled(root: Path, *, limits: IndexLimits = BARE, model_id: str = "mdl_1", name: str = "table") -> Path:
    (root / name).mkdir()
    write_table(
        root / "model",
        model_id=model_id,
        staged=root / name,
        n_neighbours=8,
        on_progress=lambda _: None,
        limits=limits,
    )
    return root / name


def model_of(root: Path, model_id: str = "mdl_1") -> LoadedModel:
    return load_model(root / "model", model_id)


def test_a_model_of_many_songs_is_written_without_neighbours(folder: Path) -> None:
    stored = read_model(folder.parent / "model")
    assert stored.neighbours.shape == (N_KNOWN, 0)
    assert (stored.index.n_neighbours, stored.index.neighbour_recall) == (0, None)


@pytest.mark.parametrize("is_symmetric", [True, False], ids=["input", "output"])
def test_a_table_holds_the_neighbours_of_brute_force(tmp_path: Path, is_symmetric: bool) -> None:
    write(tmp_path / "model", limits=BARE, rows=scored(is_symmetric=is_symmetric))
    found = np.load(tabled(tmp_path) / "neighbours.npy")
    stored = read_model(tmp_path / "model")
    assert np.array_equal(found, brute_force(stored.queries, stored.vectors, 8))


def test_answers_are_the_same_by_search_and_by_table(folder: Path) -> None:
    searching = model_of(folder.parent)
    looking_up = take_table(searching, folder)
    assert looking_up.model_id == searching.model_id
    for row in range(N_KNOWN):
        for k in (1, 8, 20):
            looked_up, searched = looking_up.neighbours(row, k), searching.neighbours(row, k)
            assert [near["song_id"] for near in looked_up] == [near["song_id"] for near in searched]
            assert np.allclose([near["score"] for near in looked_up], [near["score"] for near in searched], atol=2e-6)


def test_files_and_table_together_are_the_model_with_its_neighbours(folder: Path) -> None:
    model = folder.parent / "model"
    assert read_model_and_table(model, None, model_id="mdl_1").neighbours.shape == (N_KNOWN, 0)

    whole = read_model_and_table(model, folder, model_id="mdl_1")

    assert np.array_equal(whole.neighbours, np.load(folder / "neighbours.npy"))
    assert np.array_equal(whole.neighbour_scores, np.load(folder / "neighbour_scores.npy"))
    with pytest.raises(DamagedArtifact, match="another model"):
        read_model_and_table(model, folder, model_id="mdl_2")


def test_the_model_that_serves_meanwhile_stays_as_it_is(folder: Path) -> None:
    searching = model_of(folder.parent)
    before = searching.neighbours(3, 5)
    take_table(searching, folder)
    assert searching._neighbours.shape == (N_KNOWN, 0)
    assert searching.neighbours(3, 5) == before


def test_a_table_through_the_inverted_file_tells_its_recall(tmp_path: Path) -> None:
    limits = IndexLimits(neighbours_kept=8, table_up_to=10, flat_up_to=500, exact_up_to=500)
    facts = write(
        tmp_path / "model",
        limits=limits,
        rows=scored(n=600, unknown=()),
        songs=song_table(600),
    )
    assert facts.kind == "ivf"
    told = json.loads((tabled(tmp_path, limits=limits) / "table.json").read_text())
    assert told["recall"] == facts.recall
    all_pairs = IndexLimits(neighbours_kept=8, table_up_to=10, flat_up_to=500)
    exact = json.loads((tabled(tmp_path, limits=all_pairs, name="exact") / "table.json").read_text())
    assert exact["recall"] == 1.0


def test_progress_rises_to_one(folder: Path) -> None:
    told: list[float] = []
    (folder.parent / "again").mkdir()
    facts = write_table(
        folder.parent / "model",
        model_id="mdl_1",
        staged=folder.parent / "again",
        n_neighbours=8,
        on_progress=told.append,
        limits=BARE,
    )
    assert told == [1.0]
    assert facts == TableFacts(n_songs=N_KNOWN, n_neighbours=8, recall=1.0)


def test_a_table_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(DamagedArtifact, match="another model"):
        take_table(model_of(folder.parent, "mdl_2"), folder)


def test_a_table_of_another_number_of_songs_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "model", limits=BARE, rows=scored(unknown=()))
    with pytest.raises(DamagedArtifact, match="58 songs, not of the model's 60"):
        take_table(model_of(tmp_path / "other"), folder)


@pytest.mark.parametrize(
    "told",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "model_id": "mdl_1"}'],
)
def test_a_table_that_does_not_tell_what_it_is_is_refused(folder: Path, told: str) -> None:
    (folder / "table.json").write_text(told)
    with pytest.raises(DamagedArtifact, match=r"table\.json"):
        take_table(model_of(folder.parent), folder)


@pytest.mark.parametrize("wrong", [N_KNOWN, -2, 0])
def test_rows_that_are_no_songs_or_the_song_itself_are_refused(folder: Path, wrong: int) -> None:
    neighbours = np.load(folder / "neighbours.npy")
    neighbours[0, 3] = wrong
    np.save(folder / "neighbours.npy", neighbours)
    with pytest.raises(DamagedArtifact, match="not one of its 58 songs"):
        take_table(model_of(folder.parent), folder)


def test_a_score_that_is_none_is_refused(folder: Path) -> None:
    scores = np.load(folder / "neighbour_scores.npy")
    scores[7, 0] = np.nan
    np.save(folder / "neighbour_scores.npy", scores)
    with pytest.raises(DamagedArtifact, match="not one of its 58 songs"):
        take_table(model_of(folder.parent), folder)


def test_arrays_of_another_shape_are_refused(folder: Path) -> None:
    np.save(folder / "neighbours.npy", np.zeros((N_KNOWN, 7), dtype=np.int32))
    with pytest.raises(DamagedArtifact, match="shape"):
        take_table(model_of(folder.parent), folder)
