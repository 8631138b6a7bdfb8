import json
import resource
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from app.adapters import live_model
from app.adapters.corpus import Histories
from app.adapters.id_lookup import texts_of
from app.adapters.mapped_tables import map_table, write_table
from app.adapters.model_files import StoredModel, load_model, open_index, read_model, write_model
from app.domain.embedding import Matrix, Rows, Scoring, ScoringRows, unit_rows
from app.domain.errors import DamagedArtifact, Infeasible, StorageFull
from app.domain.models import IndexFacts, IndexLimits

N_SONGS = 60
THROUGH_CELLS = IndexLimits(neighbours_kept=8, exact_up_to=500, flat_up_to=500)
LINEAGE = {"dataset_id": "dst_1", "trial_number": 7}


def scored(*, n: int = N_SONGS, unknown: Sequence[int] = (5, 40), is_symmetric: bool = True) -> ScoringRows:
    rng = np.random.default_rng(0)
    songs = rng.normal(size=(n, 6)).astype(np.float32)
    queries = unit_rows(rng.normal(size=(n, 6)).astype(np.float32))
    is_known = np.ones(n, dtype=np.bool_)
    is_known[list(unknown)] = False
    songs[~is_known] = queries[~is_known] = 0
    if is_symmetric:
        rows = Rows(songs, is_unit=True)
        return ScoringRows(rows, rows, is_known)
    return ScoringRows(Rows(queries), Rows(songs), is_known)


def song_table(n: int = N_SONGS, columns: dict[str, list[Any]] | None = None) -> pa.Table:
    return pa.table(
        {
            "song_id": [f"s{row}" for row in range(n)],
            "title": [None if row == 1 else f"Title {row}" for row in range(n)],
            "artist": [f"Artist {row % 3}" for row in range(n)],
            "n_plays": [1_000 - row for row in range(n)],
            "language": ["fr" if row % 2 else "en" for row in range(n)],
            **(columns or {}),
        }
    )


def histories(heard: dict[str, list[int]] | None = None) -> Histories:
    heard = {} if heard is None else heard
    songs = np.array([song for row in heard.values() for song in row], dtype=np.int32)
    return Histories(
        users=pa.chunked_array([pa.array(list(heard), type=pa.string())]),
        offsets=np.cumsum([0, *map(len, heard.values())], dtype=np.int64),
        songs=songs,
        played_at_ms=np.arange(len(songs), dtype=np.int64) * 1_000,
    )


def write(folder: Path, **changes: Any) -> IndexFacts:  # noqa: ANN401 - any argument of write_model
    """A model's files in `folder`, made of what the test names and defaults."""
    folder.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "rows": scored(),
        "songs": song_table(),
        "histories": histories({"ann": [0, 5, 6], "bob": [5], "cy": [41, 40, 0]}),
        "scoring": Scoring.INPUT,
        "lineage": LINEAGE,
        "on_progress": lambda fraction: None,
        "limits": IndexLimits(neighbours_kept=8),
    }
    return write_model(staged=folder, **(given | changes))


def brute_force(queries: Matrix, vectors: Matrix, k: int) -> NDArray[np.int64]:
    """The k best of each row, itself left out."""
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def test_songs_that_the_model_knows_are_kept_in_order_with_all_columns(tmp_path: Path) -> None:
    write(tmp_path)
    model = read_model(tmp_path)
    expected = song_table().take([row for row in range(N_SONGS) if row not in {5, 40}])
    assert model.songs.to_pylist() == expected.to_pylist()
    assert np.array_equal(model.vectors, scored().songs.whole()[scored().is_known])


@pytest.mark.parametrize("is_symmetric", [True, False], ids=["input", "output"])
def test_neighbours_are_those_of_brute_force(tmp_path: Path, is_symmetric: bool) -> None:
    facts = write(tmp_path, rows=scored(is_symmetric=is_symmetric))
    model = read_model(tmp_path)
    assert np.array_equal(model.neighbours, brute_force(model.queries, model.vectors, 8))
    products = model.queries @ model.vectors.T
    assert np.allclose(model.neighbour_scores, np.take_along_axis(products, model.neighbours, axis=1), atol=1e-6)
    assert (
        facts
        == model.index
        == IndexFacts(
            kind="flat", n_songs=58, dim=6, n_neighbours=8, recall=1.0, profile_recall=1.0, neighbour_recall=1.0
        )
    )


def test_query_rows_are_stored_only_when_they_are_not_the_song_rows(tmp_path: Path) -> None:
    symmetric = scored()
    write(tmp_path / "same")
    write(tmp_path / "equal", rows=ScoringRows(Rows(symmetric.queries.whole()), symmetric.songs, symmetric.is_known))
    write(tmp_path / "other", rows=scored(is_symmetric=False), scoring=Scoring.OUTPUT)
    assert [(tmp_path / name / "queries.npy").exists() for name in ("same", "equal", "other")] == [False, False, True]
    assert read_model(tmp_path / "same").queries is not None
    assert not np.array_equal(read_model(tmp_path / "other").queries, read_model(tmp_path / "other").vectors)


def test_files_tell_what_the_model_is(tmp_path: Path) -> None:
    write(tmp_path, scoring=Scoring.SUM)
    model = read_model(tmp_path)
    assert (model.scoring, model.lineage) == (Scoring.SUM, LINEAGE)
    assert not any(array.flags.writeable for array in (model.vectors, model.neighbours, model.neighbour_scores))


def test_histories_name_the_models_rows_and_leave_unknown_songs_out(tmp_path: Path) -> None:
    write(tmp_path)
    heard = read_model(tmp_path).histories
    assert heard.users.to_pylist() == ["ann", "bob", "cy"]
    assert heard.offsets.tolist() == [0, 2, 2, 4]
    assert heard.songs.tolist() == [0, 5, 39, 0]
    assert heard.played_at_ms.tolist() == [0, 2_000, 4_000, 6_000]


def test_model_without_users_has_no_histories(tmp_path: Path) -> None:
    write(tmp_path, histories=histories())
    assert len(read_model(tmp_path).histories.users) == 0
    assert load_model(tmp_path, "mdl_1").history("ann") is None


def test_progress_rises_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.adapters.model_files.BATCH_ROWS", 20)
    told: list[float] = []
    write(tmp_path, on_progress=told.append)
    assert told == [20 / 58, 40 / 58, 1.0]
    model = read_model(tmp_path)
    assert np.array_equal(model.neighbours, brute_force(model.queries, model.vectors, 8))


def test_songs_beyond_the_limit_go_through_an_inverted_file(tmp_path: Path) -> None:
    facts = write(tmp_path, rows=scored(n=900, unknown=[3]), songs=song_table(900), limits=THROUGH_CELLS)
    assert (facts.kind, facts.n_songs) == ("ivf", 899)
    assert 0.98 <= facts.recall <= 1.0
    assert facts.neighbour_recall is not None
    assert 0.98 <= facts.neighbour_recall <= facts.recall
    model = read_model(tmp_path)
    expected = brute_force(model.queries, model.vectors, 8)
    assert np.mean(model.neighbours[:, :, np.newaxis] == expected[:, np.newaxis, :]) * 8 > 0.9
    assert not (model.neighbours == np.arange(899)[:, np.newaxis]).any()
    told = json.loads((tmp_path / "model.json").read_text())["inverted_file"]
    assert 1 <= told["n_probed"] <= told["n_lists"] == round(4 * 899**0.5)
    rows, _ = open_index(model).search(model.queries[:50], 1)
    assert (rows[:, 0] == np.arange(50)).mean() > 0.9


def test_all_pairs_are_compared_while_that_is_affordable_whatever_serves_other_queries(tmp_path: Path) -> None:
    facts = write(
        tmp_path,
        rows=scored(n=900, unknown=[3]),
        songs=song_table(900),
        limits=IndexLimits(neighbours_kept=8, exact_up_to=900, flat_up_to=500),
    )
    assert (facts.kind, facts.neighbour_recall) == ("ivf", 1.0)
    model = read_model(tmp_path)
    assert np.array_equal(model.neighbours, brute_force(model.queries, model.vectors, 8))


@pytest.mark.parametrize("kept", [0, 3])
def test_more_neighbours_than_are_kept_are_searched(tmp_path: Path, kept: int) -> None:
    facts = write(tmp_path, limits=IndexLimits(neighbours_kept=kept))
    assert (facts.n_neighbours, facts.neighbour_recall) == (kept, 1.0 if kept else None)
    stored, model = read_model(tmp_path), load_model(tmp_path, "mdl_1")
    expected = brute_force(stored.queries, stored.vectors, 10)
    ids = stored.songs.column("song_id").to_pylist()
    for row in (0, 30, 57):
        found = [near["song_id"] for near in model.neighbours(row, 10)]
        assert found == [ids[near] for near in expected[row]]
    assert len(model.neighbours(4, 100)) == 57


def test_as_many_songs_as_the_limit_are_compared_exactly(tmp_path: Path) -> None:
    assert write(tmp_path, limits=IndexLimits(flat_up_to=58)).kind == "flat"
    assert not (tmp_path / "index.faiss").exists()


@pytest.mark.parametrize("coding_bytes", [None, 58 * 32, 58 * 14], ids=["flat", "float32", "int8"])
def test_loaded_model_answers(tmp_path: Path, coding_bytes: int | None) -> None:
    is_flat = coding_bytes is None
    facts = write(
        tmp_path, limits=IndexLimits(flat_up_to=58 if is_flat else 0, exact_up_to=0, memory_bytes=coding_bytes or 1)
    )
    assert (facts.size_bytes > 0) is not is_flat
    model = load_model(tmp_path, "mdl_1")
    assert (model.model_id, model.n_songs, model.row("s6"), model.row("s5")) == ("mdl_1", 58, 5, None)
    neighbours = model.neighbours(5, 3)
    assert len(neighbours) == 3
    assert "s6" not in {near["song_id"] for near in neighbours}
    heard = model.history("ann")
    assert heard is not None
    assert heard.songs.tolist() == [5, 0]


@pytest.mark.parametrize(("n", "width"), [(1, 0), (2, 1)])
def test_tiny_model_has_fewer_neighbours(tmp_path: Path, n: int, width: int) -> None:
    facts = write(tmp_path, rows=scored(n=n, unknown=()), songs=song_table(n), histories=histories())
    assert facts.n_neighbours == width
    assert len(load_model(tmp_path, "mdl_1").neighbours(0, 10)) == width


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name, limits=IndexLimits(flat_up_to=10, exact_up_to=10))
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second


def test_model_that_knows_no_song_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Infeasible):
        write(tmp_path, rows=scored(unknown=range(N_SONGS)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"song_id": ["s1", *(f"s{row}" for row in range(1, N_SONGS))]},
        {"song_id": [None, *(f"s{row}" for row in range(1, N_SONGS))]},
        {"n_plays": list(range(N_SONGS))},
    ],
    ids=["id twice", "no id", "least played first"],
)
def test_songs_that_are_not_a_vocabulary_are_refused(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    with pytest.raises(DamagedArtifact):
        write(tmp_path, songs=song_table(columns=columns))
    assert list(tmp_path.iterdir()) == []


def test_rows_and_songs_of_different_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="60 query rows"):
        write(tmp_path, songs=song_table(59))


@pytest.mark.parametrize("name", ["songs.arrow", "words.arrow", "vectors.npy", "neighbours.npy", "index.faiss"])
def test_full_disk_is_named(tmp_path: Path, name: str) -> None:
    many: dict[str, Any] = {"rows": scored(n=900, unknown=[3]), "songs": song_table(900), "limits": THROUGH_CELLS}
    write(tmp_path / "whole", **many)
    limit = (tmp_path / "whole" / name).stat().st_size - 1
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, allowed[1]))
    try:
        with pytest.raises(StorageFull):
            write(tmp_path / "cut", **many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)


def as_format_1(folder: Path) -> None:
    """The files of a model as they were before tables were mapped."""
    for name in ("songs", "history_users"):
        table = map_table(folder / f"{name}.arrow", ())
        texts = [pa.string() if pa.types.is_large_string(kind) else kind for kind in table.schema.types]
        plain = pa.schema(zip(table.column_names, texts, strict=True))
        pq.write_table(table.cast(plain), folder / f"{name}.parquet")
        (folder / f"{name}.arrow").unlink()
    (folder / "words.arrow").unlink()
    changed_told(folder, format=1)


def test_a_model_of_the_format_before_answers_as_one_of_this(tmp_path: Path) -> None:
    told = []
    write(tmp_path / "model", rows=scored(is_symmetric=False))
    for change in (lambda _: None, as_format_1):
        change(tmp_path / "model")
        model = load_model(tmp_path / "model", "mdl")
        told.append(
            (
                [model.song(row) for row in range(model.n_songs)],
                [model.written_neighbours(row, 5) for row in range(model.n_songs)],
                model.find("title 3", start=0, limit=99),
                model.carriers("language", ("fr",)).tolist(),
                [None if heard is None else heard.songs.tolist() for heard in map(model.history, ("ann", "bob", "x"))],
            )
        )
    assert told[0] == told[1]
    assert told[0][2]


def test_songs_that_are_not_all_different_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write_table(song_table(58, {"song_id": ["s", "t"] * 29}), tmp_path / "songs.arrow")
    with pytest.raises(DamagedArtifact, match="different"):
        load_model(tmp_path, "mdl")


def test_the_texts_of_many_songs_are_used_where_they_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "texts_of", partial(texts_of, listed=10))
    write(tmp_path, rows=scored(n=900, unknown=[3]), songs=song_table(900))
    before = pa.total_allocated_bytes()
    model = load_model(tmp_path, "mdl")
    assert model.find("title 899", start=0, limit=5) == [898]
    assert model.names(0) == ("s0", "Title 0", "Artist 0")
    texts_bytes = sum((tmp_path / name).stat().st_size for name in ("songs.arrow", "words.arrow"))
    assert pa.total_allocated_bytes() - before < texts_bytes / 20


def changed_told(folder: Path, **changes: object) -> None:
    told = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(told | changes))


DAMAGES = {
    "no facts": lambda folder: (folder / "model.json").unlink(),
    "facts cut short": lambda folder: (folder / "model.json").write_text('{"format": 1'),
    "facts of no kind": lambda folder: (folder / "model.json").write_text("[]"),
    "another format": lambda folder: changed_told(folder, format=3),
    "unknown scoring": lambda folder: changed_told(folder, scoring="product"),
    "unknown index": lambda folder: changed_told(
        folder, index={"kind": "hnsw", "n_songs": 58, "dim": 6, "n_neighbours": 8, "recall": 1.0}
    ),
    "no vectors": lambda folder: (folder / "vectors.npy").unlink(),
    "empty vectors": lambda folder: (folder / "vectors.npy").write_bytes(b""),
    "vectors of another type": lambda folder: np.save(folder / "vectors.npy", np.zeros((58, 6))),
    "vectors of another shape": lambda folder: np.save(folder / "vectors.npy", np.zeros((57, 6), np.float32)),
    "flat vectors": lambda folder: np.save(folder / "vectors.npy", np.zeros(58, np.float32)),
    "pickled vectors": lambda folder: np.save(folder / "vectors.npy", np.array([{}] * 58), allow_pickle=True),
    "other neighbours": lambda folder: np.save(folder / "neighbours.npy", np.zeros((58, 7), np.int32)),
    "no songs": lambda folder: (folder / "songs.arrow").unlink(),
    "songs cut short": lambda folder: (folder / "songs.arrow").write_bytes(b"ARROW1\0\0"),
    "fewer songs": lambda folder: write_table(song_table(57), folder / "songs.arrow"),
    "songs without an id": lambda folder: write_table(song_table(58, {"song_id": [None] * 58}), folder / "songs.arrow"),
    "songs without titles": lambda folder: write_table(song_table(58).drop(["title"]), folder / "songs.arrow"),
    "no words": lambda folder: (folder / "words.arrow").unlink(),
    "fewer words": lambda folder: write_table(pa.table({"words": ["a"]}), folder / "words.arrow"),
    "more users": lambda folder: write_table(
        pa.table({"user_id": ["a", "b", "c", "d"]}), folder / "history_users.arrow"
    ),
    "history of an unknown song": lambda folder: np.save(
        folder / "history_songs.npy", np.array([0, 1, 2, 58], np.int32)
    ),
    "history that goes back": lambda folder: np.save(folder / "history_offsets.npy", np.array([0, 3, 2, 4])),
    "history without times": lambda folder: np.save(folder / "history_played_at.npy", np.array([0, 1, 2])),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_files_that_do_not_fit_together_are_refused(tmp_path: Path, damage: Any) -> None:  # noqa: ANN401 - a lambda
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(DamagedArtifact):
        read_model(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no index"])
def test_index_that_is_missing_or_damaged_is_refused(tmp_path: Path, content: bytes | None) -> None:
    write(tmp_path, limits=IndexLimits(flat_up_to=10))
    (tmp_path / "index.faiss").unlink()
    if content is not None:
        (tmp_path / "index.faiss").write_bytes(content)
    model: StoredModel = read_model(tmp_path)
    with pytest.raises(DamagedArtifact):
        open_index(model)
