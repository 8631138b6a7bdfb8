"""A model on disk: everything that serving needs, in one folder.

n songs that the model knows, most played first, named by their row; width = neighbours kept of each.

    vectors.npy float32 (n, dim): what is searched      queries.npy float32 (n, dim): absent when equal to vectors
    neighbours.npy int32 (n, width), best first, -1 pads           neighbour_scores.npy float32 (n, width)
    songs.arrow: song_id, title, artist, n_plays and what else the songs table had         words.arrow: `song_search`
    history_users.arrow, history_offsets.npy int64, history_songs.npy int32 (rows), history_played_at.npy int64
    index.faiss: with many songs alone                  model.json: format, dim, n_songs, scoring, index, lineage

Format 1 had songs.parquet and history_users.parquet, and no words; it is read still.

Neighbours come from comparing all pairs of songs while that is affordable (`IndexLimits`), through the inverted file
beyond; with many songs they are an artifact of their own (`table_files`), and width here is 0. Arrays, tables and index
are mapped: the servers of a machine share one copy. Nothing here is a pickle. The caller verifies the folder's manifest
before it is read.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.adapters.corpus import Histories
from app.adapters.disk import naming_a_full_disk
from app.adapters.exact_search import ExactNeighbourSearch
from app.adapters.live_model import LoadedModel
from app.adapters.mapped_tables import map_table, whole, write_table
from app.adapters.song_search import words_of
from app.adapters.vector_index import (
    BuiltInvertedFile,
    FlatIndex,
    InvertedFile,
    VectorIndex,
    built_inverted_file,
    open_inverted_file,
    others,
    planned,
    write_index,
)
from app.domain.embedding import Matrix, Rows, Scoring, ScoringRows
from app.domain.errors import DamagedArtifact, Infeasible
from app.domain.models import Coding, IndexFacts, IndexLimits
from app.domain.recommending import profile

FORMAT = 2
FORMAT_OF_PARQUET = 1

INDEX = "index.faiss"

PROFILES_SAMPLED = 500
PROFILE_PLAYS = 50
"""Users whose profiles the index is tuned for, and the last plays of each that make such a profile."""

BATCH_ROWS = 8_192
"""Songs whose neighbours are searched at a time."""

COLUMNS = frozenset({"song_id", "title", "artist", "n_plays"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model's files, the arrays memory-mapped and read-only; see the module header."""

    path: Path
    songs: pa.Table
    words: pa.Array | None
    queries: Matrix
    vectors: Matrix
    neighbours: NDArray[np.int32]
    neighbour_scores: NDArray[np.float32]
    histories: Histories
    scoring: Scoring
    index: IndexFacts
    lineage: dict[str, Any]


def write_model(
    *,
    rows: ScoringRows,
    songs: pa.Table,
    histories: Histories,
    staged: Path,
    scoring: Scoring,
    lineage: Mapping[str, object],
    on_progress: Callable[[float], None],
    limits: IndexLimits,
    threads: int = 1,
) -> IndexFacts:
    """Write the files into an existing folder; `rows`, `songs` and `histories` are in vocabulary order.

    `on_progress` is told the share of the songs whose neighbours are found. Raises: Infeasible when no song is known,
    DamagedArtifact when the songs are not unique, StorageFull.
    """
    known = np.flatnonzero(rows.is_known)
    _demand_songs(rows, songs, known)
    vectors = rows.songs.at(known).whole()
    queries = vectors if rows.queries is rows.songs else rows.queries.at(known).whole()
    is_symmetric = queries is vectors or np.array_equal(queries, vectors)
    coding = planned(*vectors.shape, limits=limits)
    built = None
    if coding is not None:
        profiles = sampled_profiles(histories, known, queries)
        built = built_inverted_file(vectors, queries, profiles=profiles, threads=threads, coding=coding)
    with naming_a_full_disk():
        kept = songs.take(pa.array(known))
        write_table(kept, staged / "songs.arrow")
        write_table(pa.table({"words": words_of(kept)}), staged / "words.arrow")
        np.save(staged / "vectors.npy", vectors, allow_pickle=False)
        if not is_symmetric:
            np.save(staged / "queries.npy", queries, allow_pickle=False)
        if built is not None:
            write_index(built.inverted, staged / INDEX)
        facts = _facts(staged, vectors, built, limits)
        inverted, n_probed = (None, None) if built is None else (built.inverted, built.n_probed_for_songs)
        search = neighbour_search(vectors, inverted, n_probed=n_probed, limits=limits, threads=threads)
        write_neighbours(staged, queries, search, n_neighbours=facts.n_neighbours, on_progress=on_progress)
        _write_histories(staged, histories, known, n_songs=songs.num_rows)
        _write_told(staged, facts, inverted, scoring=scoring, lineage=lineage)
    return facts


def read_model(path: Path) -> StoredModel:
    """The model in a folder whose manifest was verified. Raises: DamagedArtifact when its files do not fit together."""
    facts, scoring, lineage, format_ = _read_told(path)
    vectors = load_array(path / "vectors.npy", np.float32, (facts.n_songs, facts.dim))
    has_queries = (path / "queries.npy").exists()
    offsets = load_array(path / "history_offsets.npy", np.int64, (None,))
    heard = load_array(path / "history_songs.npy", np.int32, (None,))
    played_at = load_array(path / "history_played_at.npy", np.int64, (len(heard),))
    songs, words, users = _read_texts(path, format_, n_songs=facts.n_songs)
    _demand_histories(path, users, offsets, heard, n_songs=facts.n_songs)
    return StoredModel(
        path=path,
        songs=songs,
        words=words,
        queries=load_array(path / "queries.npy", np.float32, (facts.n_songs, facts.dim)) if has_queries else vectors,
        vectors=vectors,
        neighbours=load_array(path / "neighbours.npy", np.int32, (facts.n_songs, facts.n_neighbours)),
        neighbour_scores=load_array(path / "neighbour_scores.npy", np.float32, (facts.n_songs, facts.n_neighbours)),
        histories=Histories(users=users, offsets=offsets, songs=heard, played_at_ms=played_at),
        scoring=scoring,
        index=facts,
        lineage=lineage,
    )


def open_index(model: StoredModel) -> VectorIndex:
    """The index that finds songs near any vector. Raises: DamagedArtifact."""
    if model.index.kind == "flat":
        return FlatIndex(model.vectors)
    return open_inverted_file(model.path / INDEX, model.vectors, coding=model.index.coding)


def load_model(path: Path, model_id: str) -> LoadedModel:
    """The model in a verified folder, ready to serve: it has answered once. Raises: DamagedArtifact."""
    stored = read_model(path)
    model = LoadedModel(
        model_id,
        songs=stored.songs,
        queries=stored.queries,
        neighbours=stored.neighbours,
        neighbour_scores=stored.neighbour_scores,
        index=open_index(stored),
        histories=stored.histories,
        vectors=stored.vectors,
        words=stored.words,
        segment_by=stored.lineage.get("segment_by"),
    )
    model.warm_up()
    return model


def sampled_profiles(histories: Histories, known: NDArray[np.int64], queries: Matrix) -> Matrix:
    """Profiles of a sample of the users, as serving makes them of equally old plays: float32 `(n_profiles, dim)`.

    `known` are the model's songs in vocabulary order, `queries` their rows.
    """
    n_users = len(histories.users)
    users = np.random.default_rng(0).choice(n_users, size=min(PROFILES_SAMPLED, n_users), replace=False)
    profiles = []
    for user in users.tolist():
        start, end = histories.offsets[user : user + 2].tolist()
        heard = histories.songs[max(start, end - PROFILE_PLAYS) : end]
        rows = known.searchsorted(heard).clip(max=len(known) - 1)
        rows = rows[known[rows] == heard]
        vector = profile(queries[rows], np.ones(len(rows)))
        if vector is not None:
            profiles.append(vector)
    return np.array(profiles, dtype=np.float32).reshape(len(profiles), queries.shape[1])


def _facts(staged: Path, vectors: Matrix, built: BuiltInvertedFile | None, limits: IndexLimits) -> IndexFacts:
    n_songs, dim = vectors.shape
    n_neighbours = limits.stored(n_songs=n_songs)
    recall = 1.0 if built is None else built.recall
    return IndexFacts(
        kind="flat" if built is None else "ivf",
        n_songs=n_songs,
        dim=dim,
        n_neighbours=n_neighbours,
        recall=recall,
        profile_recall=1.0 if built is None else built.profile_recall,
        neighbour_recall=None
        if n_neighbours == 0
        else 1.0
        if built is None or n_songs <= limits.exact_up_to
        else built.song_recall,
        coding=Coding.FLOAT32 if built is None else built.inverted.coding,
        size_bytes=0 if built is None else (staged / INDEX).stat().st_size,
    )


_Search = Callable[[Matrix, int], tuple[NDArray[np.signedinteger], NDArray[np.float32]]]


def neighbour_search(
    vectors: Matrix,
    inverted: InvertedFile | None,
    *,
    n_probed: int | None = None,
    limits: IndexLimits,
    threads: int,
) -> _Search:
    """How songs' neighbours are found: by comparing all pairs while that is affordable, else by the inverted file.

    `n_probed`: the cells that it looks into; None: as many as for any vector.
    """
    if inverted is not None and len(vectors) > limits.exact_up_to:
        return partial(inverted.search, threads=threads, n_probed=n_probed)
    exact = ExactNeighbourSearch(threads=threads)
    return lambda queries, k: exact.search(Rows(vectors), Rows(queries), k)


def _demand_songs(rows: ScoringRows, songs: pa.Table, known: NDArray[np.int64]) -> None:
    if not len(rows.queries) == len(rows.songs) == len(rows.is_known) == songs.num_rows:
        msg = f"There are {len(rows.queries)} query rows and {len(rows.songs)} song rows for {songs.num_rows} songs."
        raise ValueError(msg)
    if len(known) == 0:
        raise Infeasible("The model knows no song.")
    ids = songs.column("song_id")
    if ids.null_count or pc.count_distinct(ids).as_py() != songs.num_rows:
        raise DamagedArtifact("The dataset's songs are not all different.")
    if (np.diff(songs.column("n_plays").to_numpy()) > 0).any():
        raise DamagedArtifact("The dataset's songs are not in the order of their plays.")


@contextmanager
def _array_file(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """A `.npy` file to whose end the values are written: with `numpy.memmap` a full disk would kill the program."""
    with path.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        yield file


def write_neighbours(
    staged: Path, queries: Matrix, search: _Search, *, n_neighbours: int, on_progress: Callable[[float], None]
) -> None:
    """Write the best songs of each, itself left out by its row: `neighbours.npy` and `neighbour_scores.npy`.

    `on_progress` is told the share of the songs whose neighbours are found. Raises: StorageFull.
    """
    n_songs = len(queries)
    shape = (n_songs, n_neighbours)
    with (
        _array_file(staged / "neighbours.npy", np.int32, shape) as near_file,
        _array_file(staged / "neighbour_scores.npy", np.float32, shape) as score_file,
    ):
        for start in range(0, n_songs, BATCH_ROWS):
            if n_neighbours == 0:
                break
            itself = np.arange(start, min(start + BATCH_ROWS, n_songs))
            found, scores = search(queries[itself], n_neighbours + 1)
            kept = others(found, itself)
            near_file.write(np.take_along_axis(found, kept, axis=1).astype(np.int32).tobytes())
            score_file.write(np.take_along_axis(scores, kept, axis=1).tobytes())
            on_progress((start + len(itself)) / n_songs)


def _write_histories(staged: Path, histories: Histories, known: NDArray[np.int64], *, n_songs: int) -> None:
    """The histories with the model's rows for the songs, those that it does not know left out."""
    row_of = np.full(n_songs, -1, dtype=np.int32)
    row_of[known] = np.arange(len(known), dtype=np.int32)
    songs = row_of[histories.songs]
    is_kept = songs >= 0
    n_kept_before = np.concatenate([[0], np.cumsum(is_kept)]).astype(np.int64)
    write_table(pa.table({"user_id": histories.users}), staged / "history_users.arrow")
    np.save(staged / "history_offsets.npy", n_kept_before[histories.offsets], allow_pickle=False)
    np.save(staged / "history_songs.npy", songs[is_kept], allow_pickle=False)
    np.save(staged / "history_played_at.npy", histories.played_at_ms[is_kept], allow_pickle=False)


def _write_told(
    staged: Path, facts: IndexFacts, inverted: InvertedFile | None, *, scoring: Scoring, lineage: Mapping[str, object]
) -> None:
    told = {
        "format": FORMAT,
        "dim": facts.dim,
        "n_songs": facts.n_songs,
        "scoring": scoring.value,
        "index": asdict(facts),
        "lineage": dict(lineage),
    }
    if inverted is not None:
        told["inverted_file"] = {"n_lists": inverted.n_lists, "n_probed": inverted.n_probed}
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    (staged / "model.json").write_text(text + "\n", encoding="utf-8")


def _read_told(path: Path) -> tuple[IndexFacts, Scoring, dict[str, Any], int]:
    try:
        told = json.loads((path / "model.json").read_text(encoding="utf-8"))
        format_ = told["format"]
        if format_ not in {FORMAT_OF_PARQUET, FORMAT}:
            raise DamagedArtifact(f"{path.name}/model.json has format {format_!r}, not {FORMAT}.")
        facts = IndexFacts(**{**told["index"], "coding": Coding(told["index"].get("coding", Coding.FLOAT32))})
        if facts.kind not in {"flat", "ivf"} or facts.n_songs < 1:
            raise DamagedArtifact(f"{path.name}/model.json tells of an index of a kind or size that there is not.")
        return facts, Scoring(told["scoring"]), dict(told["lineage"]), format_
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"{path.name}/model.json cannot be read.") from error


def load_array(path: Path, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array, memory-mapped; None stands for any length. Raises: DamagedArtifact when it is another."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} cannot be read.") from error
    fits = array.ndim == len(shape) and all(
        wanted in {None, got} for got, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} holds {array.dtype} of shape {array.shape}.")
    return array


def _read_texts(path: Path, format_: int, *, n_songs: int) -> tuple[pa.Table, pa.Array | None, pa.ChunkedArray]:
    """The songs, the words that they are found by, which the format before had not, and the ids of the users."""
    words = None
    if format_ == FORMAT_OF_PARQUET:
        songs = _read_parquet(path / "songs.parquet", COLUMNS)
        users = _read_parquet(path / "history_users.parquet", {"user_id"})
    else:
        songs = map_table(path / "songs.arrow", COLUMNS)
        users = map_table(path / "history_users.arrow", {"user_id"})
        words = whole(map_table(path / "words.arrow", {"words"}).column("words"))
    has_all = songs.num_rows == n_songs and (words is None or len(words) == n_songs)
    if not has_all or songs.column("song_id").null_count:
        raise DamagedArtifact(f"{path.name}: its tables do not hold {n_songs} songs.")
    return songs, words, users.column("user_id")


def _read_parquet(path: Path, columns: Collection[str]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} cannot be read.") from error
    if not set(columns) <= set(table.column_names):
        raise DamagedArtifact(f"{path.parent.name}/{path.name} lacks columns.")
    return table


def _demand_histories(
    path: Path, users: pa.ChunkedArray, offsets: NDArray[np.int64], heard: NDArray[np.int32], *, n_songs: int
) -> None:
    divides = len(offsets) == len(users) + 1 and offsets[0] == 0 and offsets[-1] == len(heard)
    if not divides or (np.diff(offsets) < 0).any() or ((heard < 0) | (heard >= n_songs)).any():
        raise DamagedArtifact(f"{path.name}: the files of the users' histories do not fit together.")
