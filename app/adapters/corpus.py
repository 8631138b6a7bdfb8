"""A compiled dataset on disk: integer arrays that every trial maps, the songs, and the users' histories.

    plays.npy int32 (n_plays,)          offsets.npy int64 (n_sessions + 1,)    session_segments.npy int32 (n_sessions,)
    validation.npy, test.npy int32 (n_pairs, 3): query, target, segment        songs.parquet, in vocabulary order
    artists.npy int32 (n_songs,): the artist's number, -1 for none; absent when no song has one
    history_users.parquet               history_offsets.npy int64 (n_users + 1,)
    history_songs.npy int32, history_played_at.npy int64 (n_history,)          corpus.json

The fingerprint is the SHA-256 of the content, not of the files: Parquet bytes differ between versions of a library.
Without segments, every segment number is 0 and names nothing.
"""

import hashlib
import json
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.domain.errors import DamagedArtifact
from app.domain.listening import Corpus, Pairs, Repeats, Split

FORMAT = 2
READABLE = frozenset({1, FORMAT})
"""Format 1 has no artists."""

FINGERPRINT_FORMAT = 1
"""Content without artists has the fingerprint that it had before there were any."""

ARTISTS = "artists.npy"
BATCH_ROWS = 65_536
CONTENT = (
    "plays.npy",
    "offsets.npy",
    "session_segments.npy",
    "validation.npy",
    "test.npy",
    "history_offsets.npy",
    "history_songs.npy",
    "history_played_at.npy",
)
"""The arrays that make the fingerprint, in its order; then the artists."""


@dataclass(frozen=True, slots=True)
class Histories:
    """What users heard last, oldest first: user i has `songs[offsets[i]:offsets[i + 1]]`; users ascend by id.

    `songs` int32 vocabulary rows, `played_at_ms` int64 epoch milliseconds, `offsets` int64 `(n_users + 1,)`.
    """

    users: pa.ChunkedArray
    offsets: NDArray[np.int64]
    songs: NDArray[np.int32]
    played_at_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Told:
    """What `corpus.json` says beside the fingerprint."""

    n_songs: int
    segments: tuple[str, ...]
    split: Split


class ArrayWriter:
    """Writes a `.npy` file of a known shape piece by piece, so that no array is ever whole in memory."""

    def __init__(self, path: Path, *, dtype: type[np.int32] | type[np.int64], shape: tuple[int, ...]) -> None:
        self._dtype = np.dtype(dtype)
        self._missing = int(np.prod(shape))
        self._path = path
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, piece: NDArray[Any]) -> None:
        """Write the next values, converted to the file's type."""
        self._missing -= piece.size
        self._file.write(np.ascontiguousarray(piece, dtype=self._dtype).tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        if kind is None and self._missing != 0:
            msg = f"{self._path.name} lacks {self._missing} of the values that its header promises."
            raise ValueError(msg)


def write_corpus(folder: Path, *, segments: tuple[str, ...], split: Split) -> str:
    """Write `corpus.json` beside arrays and songs that are already there; gives the fingerprint."""
    n_songs = pq.read_metadata(folder / "songs.parquet").num_rows
    told = {
        "query_in_training": split.query_in_training,
        "repeats": split.repeats,
        "test_fraction": split.test_fraction,
    }
    fingerprint = _fingerprint(folder, segments=segments, split=told)
    content = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "n_songs": n_songs,
        "segments": list(segments),
        "split": told,
    }
    (folder / "corpus.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return fingerprint


def _fingerprint(folder: Path, *, segments: tuple[str, ...], split: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    digest.update(
        json.dumps({"format": FINGERPRINT_FORMAT, "segments": segments, "split": split}, sort_keys=True).encode()
    )
    for name in (*CONTENT, *([ARTISTS] if (folder / ARTISTS).is_file() else [])):
        array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        for start in range(0, len(array), BATCH_ROWS):
            digest.update(array[start : start + BATCH_ROWS].tobytes())
    for name, column in (("songs.parquet", "song_id"), ("history_users.parquet", "user_id")):
        digest.update(name.encode())
        for identity in _texts(folder / name, column):
            digest.update(len(identity).to_bytes(4, "little"))
            digest.update(identity)
    return digest.hexdigest()


def write_artists(folder: Path) -> None:
    """Write the numbers of the artists that `songs.parquet` names, as they first appear; nothing when it names none."""
    numbers: dict[str, int] = {}
    artists = np.full(pq.read_metadata(folder / "songs.parquet").num_rows, -1, dtype=np.int32)
    row = 0
    with pq.ParquetFile(folder / "songs.parquet") as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=["artist"]):
            for artist in batch.column(0).to_pylist():
                if artist:
                    artists[row] = numbers.setdefault(artist, len(numbers))
                row += 1
    if numbers:
        np.save(folder / ARTISTS, artists, allow_pickle=False)


def _texts(path: Path, column: str) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[column]):
            yield from (text.encode() for text in batch.column(0).to_pylist())


def read_corpus(path: Path) -> Corpus:
    """The compiled dataset, its arrays memory-mapped and read-only. Raises: DamagedArtifact."""
    told = _read_told(path)
    plays = _load(path / "plays.npy", dtype=np.int32, n_columns=None)
    offsets = _load(path / "offsets.npy", dtype=np.int64, n_columns=None)
    segments = _load(path / "session_segments.npy", dtype=np.int32, n_columns=None)
    _demand_offsets(path / "offsets.npy", offsets=offsets, n_values=len(plays))
    if len(segments) != len(offsets) - 1:
        raise DamagedArtifact(f"{path.name}/session_segments.npy has {len(segments)} rows for {len(offsets) - 1}.")
    artists = _load(path / ARTISTS, dtype=np.int32, n_columns=None) if (path / ARTISTS).is_file() else None
    if artists is not None and len(artists) != told.n_songs:
        raise DamagedArtifact(f"{path.name}/{ARTISTS} has {len(artists)} rows for {told.n_songs} songs.")
    return Corpus(
        n_songs=told.n_songs,
        plays=plays,
        offsets=offsets,
        segments=told.segments,
        validation=_pairs(path / "validation.npy"),
        test=_pairs(path / "test.npy"),
        split=told.split,
        session_segments=segments,
        artists=artists,
    )


def read_songs(path: Path) -> pa.Table:
    """The songs in vocabulary order: `song_id`, `title`, `artist`, `n_plays` and what else the songs table had.

    Raises: DamagedArtifact.
    """
    songs = _read_parquet(path / "songs.parquet")
    n_songs = _read_told(path).n_songs
    if songs.num_rows != n_songs or not {"song_id", "title", "artist", "n_plays"} <= set(songs.column_names):
        raise DamagedArtifact(f"{path.name}/songs.parquet does not hold the {n_songs} songs that it should.")
    return songs


def read_histories(path: Path) -> Histories:
    """What users heard last; empty when the plays name no user or no time. Raises: DamagedArtifact."""
    users = _read_parquet(path / "history_users.parquet")
    offsets = _load(path / "history_offsets.npy", dtype=np.int64, n_columns=None)
    songs = _load(path / "history_songs.npy", dtype=np.int32, n_columns=None)
    played_at = _load(path / "history_played_at.npy", dtype=np.int64, n_columns=None)
    _demand_offsets(path / "history_offsets.npy", offsets=offsets, n_values=len(songs))
    if users.num_rows != len(offsets) - 1 or len(songs) != len(played_at):
        raise DamagedArtifact(f"{path.name}: the files of the users' histories do not fit together.")
    return Histories(users=users.column("user_id"), offsets=offsets, songs=songs, played_at_ms=played_at)


def _read_told(path: Path) -> Told:
    try:
        told = json.loads((path / "corpus.json").read_text(encoding="utf-8"))
        if told["format"] not in READABLE:
            raise DamagedArtifact(f"{path.name}/corpus.json has format {told['format']!r}, not {FORMAT}.")
        split = told["split"]
        return Told(
            n_songs=operator.index(told["n_songs"]),
            segments=tuple(map(str, told["segments"])),
            split=Split(
                query_in_training=bool(split["query_in_training"]),
                repeats=Repeats(split["repeats"]),
                test_fraction=float(split["test_fraction"]),
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"{path.name}/corpus.json cannot be read.") from error


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} cannot be read.") from error


def _load(path: Path, *, dtype: type[np.int32] | type[np.int64], n_columns: int | None) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} cannot be read.") from error
    expected = 1 if n_columns is None else 2
    if array.dtype != dtype or array.ndim != expected or (n_columns is not None and array.shape[1] != n_columns):
        raise DamagedArtifact(f"{path.parent.name}/{path.name} holds {array.dtype} of shape {array.shape}.")
    return array


def _pairs(path: Path) -> Pairs:
    rows = _load(path, dtype=np.int32, n_columns=3)
    return Pairs(query=rows[:, 0], target=rows[:, 1], segment=rows[:, 2])


def _demand_offsets(path: Path, *, offsets: NDArray[np.int64], n_values: int) -> None:
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != n_values or bool(np.any(np.diff(offsets) < 0)):
        raise DamagedArtifact(f"{path.parent.name}/{path.name} does not divide {n_values} values.")
