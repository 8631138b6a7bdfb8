"""A model in memory, ready to answer: tables to look up, an index to search, songs and histories.

Notation: n songs, most played first, named by their row; `neighbours` int32 and `neighbour_scores` float32, both
`(n, width)`, best first, -1 pads; `queries` float32 `(n, dim)` unit rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.adapters.corpus import Histories
from app.adapters.id_lookup import IdLookup, texts_of
from app.adapters.song_search import SongSearch
from app.domain.embedding import Matrix
from app.domain.errors import DamagedArtifact
from app.domain.recommending import History
from app.domain.serving import Detail, Neighbour, Song

NAMED_COLUMNS = ("song_id", "title", "artist", "n_plays")
SCORE_DECIMALS = 6
ROWS_CHECKED_AT_ONCE = 65_536

DURATION_COLUMNS = {"duration_s": 1, "duration_ms": 1000}
"""Columns of the songs table that say how long a song is, and how many of their units make a second."""

RESIDENT_BYTES = 1 << 30
"""Bytes of an array up to which it is copied into memory: the neighbours of 2.6 million songs."""

T = TypeVar("T", bound=np.generic)


class VectorIndex(Protocol):
    """Searches a model's song rows by inner product."""

    def search(self, queries: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the k best of each query, both `(n_queries, k)`; -1 pads."""
        ...


class LoadedModel:
    """The port `LiveModel`; see the module header. Many threads may ask at once: nothing in it changes.

    Raises: DamagedArtifact when the parts do not fit together.
    """

    def __init__(
        self,
        model_id: str,
        *,
        songs: pa.Table,
        queries: Matrix,
        neighbours: NDArray[np.int32],
        neighbour_scores: NDArray[np.float32],
        index: VectorIndex,
        histories: Histories | None = None,
        vectors: Matrix | None = None,
        segment_by: str | None = None,
    ) -> None:
        n_songs = songs.num_rows
        if not len(queries) == len(neighbours) == len(neighbour_scores) == n_songs:
            raise DamagedArtifact(f"Model {model_id}: its files tell of different numbers of songs.")
        _demand_neighbours(model_id, neighbours)
        self._model_id = model_id
        self._queries = _resident(queries)
        self._vectors = self._queries if vectors is None or vectors is queries else _resident(vectors)
        self._neighbours = _resident(neighbours)
        self._scores = _resident(neighbour_scores)
        self._index = index
        self._ids = texts_of(songs.column("song_id"))
        self._titles = texts_of(songs.column("title"))
        self._artists = texts_of(songs.column("artist"))
        self._n_plays = songs.column("n_plays").to_numpy()
        self._details = songs.drop_columns(list(NAMED_COLUMNS))
        self._durations_s = _durations_s(self._details)
        self._segments = _segments(self._details, segment_by)
        self._rows = IdLookup(self._ids)
        self._search = SongSearch(songs.column("title"), songs.column("artist"))
        self._histories = None if histories is None else _resident_histories(histories)
        self._users = None if histories is None else IdLookup(texts_of(histories.users))

    @property
    def model_id(self) -> str:
        """Which model it is."""
        return self._model_id

    @property
    def n_songs(self) -> int:
        """How many songs it knows."""
        return len(self._ids)

    def row(self, song_id: str) -> int | None:
        """The song's row; None when the model does not know it."""
        return self._rows.row(song_id)

    def rows(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        """The songs' rows, -1 for those that the model does not know."""
        return self._rows.rows(song_ids)

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        """The song's k nearest, looked up; fewer when the model knows fewer."""
        ids, titles, artists = self._ids, self._titles, self._artists
        found = self._neighbours[row, :k].tolist()
        scores = self._scores[row, :k].tolist()
        return [
            {
                "song_id": ids[near],
                "title": titles[near],
                "artist": artists[near],
                "score": round(score, SCORE_DECIMALS),
            }
            for near, score in zip(found, scores, strict=True)
            if near >= 0
        ]

    def query_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' unit query rows, float32 `(n, dim)`, a copy."""
        return self._queries[rows]

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k songs nearest to a vector `(dim,)`, best first, and their scores; -1 pads."""
        rows, scores = self._index.search(vector[np.newaxis], k)
        return rows[0], scores[0]

    def search_many(self, vectors: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same of many vectors `(n, dim)` at once: rows and scores `(n, k)`."""
        return self._index.search(vectors, k)

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' rows that are searched, float32 `(n, dim)`, a copy."""
        return self._vectors[rows]

    def durations_s(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """How long the songs are, NaN where the songs table does not say."""
        if self._durations_s is None:
            return np.full(len(rows), np.nan, dtype=np.float32)
        return self._durations_s[rows]

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its songs, by number; none when its dataset has none."""
        return () if self._segments is None else self._segments.names

    def segments_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of the songs' segments, -1 for a song without one."""
        if self._segments is None:
            return np.full(len(rows), -1, dtype=np.int32)
        return self._segments.of_song[rows]

    def popular(self, n: int, *, segment: int | None = None) -> NDArray[np.int64]:
        """The n most played songs, of one segment or of all; fewer where there are fewer."""
        if segment is None or self._segments is None:
            return np.arange(min(n, self.n_songs), dtype=np.int64)
        return self._segments.popular(segment, n)

    def song(self, row: int) -> Song:
        """What is known of a song."""
        song_id, title, artist = self.names(row)
        details = {name: _detail(self._details.column(name)[row].as_py()) for name in self._details.column_names}
        return Song(song_id=song_id, title=title, artist=artist, n_plays=int(self._n_plays[row]), details=details)

    def names(self, row: int) -> tuple[str, str | None, str | None]:
        """The song's id, title and artist."""
        return str(self._ids[row]), self._titles[row], self._artists[row]

    def find(self, words: str, *, start: int, limit: int) -> list[int]:
        """Up to `limit` rows from `start` on of songs with all the words in title or artist, case and accents aside."""
        return self._search.find(words, start=start, limit=limit)

    def history(self, user_id: str) -> History | None:
        """The user's plays in the model's dataset; None when it has none."""
        row = None if self._users is None else self._users.row(user_id)
        if row is None or self._histories is None:
            return None
        start, end = self._histories.offsets[row : row + 2].tolist()
        return History(
            self._histories.songs[start:end].astype(np.int64),
            np.array(self._histories.played_at_ms[start:end], dtype=np.int64),
        )

    def warm_up(self) -> None:
        """Answer each kind of question once. Raises: DamagedArtifact when an answer is not sound."""
        if self.n_songs == 0:
            raise DamagedArtifact(f"Model {self._model_id} knows no song.")
        for row in {0, self.n_songs // 2, self.n_songs - 1}:
            song_id, _, _ = self.names(row)
            scores = [near["score"] for near in self.neighbours(row, self._neighbours.shape[1])]
            found, _ = self.search(self.query_rows(np.array([row], dtype=np.int64))[0], min(10, self.n_songs))
            is_sound = all(map(math.isfinite, scores)) and found[0] >= 0 and int(found.max()) < self.n_songs
            if self.row(song_id) != row or not is_sound:
                raise DamagedArtifact(f"Model {self._model_id} does not answer for its song in row {row}.")
        self.find("a", start=0, limit=1)
        self.history("")


@dataclass(frozen=True, slots=True)
class _Segments:
    """The songs by segment: `of_song` int32 `(n,)` numbers, -1 for none.

    The rows of segment s, most played first, are `rows[starts[s]:starts[s + 1]]`.
    """

    names: tuple[str, ...]
    of_song: NDArray[np.int32]
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]

    def popular(self, segment: int, n: int) -> NDArray[np.int64]:
        start, end = self.starts[segment : segment + 2].tolist()
        return self.rows[start : min(end, start + n)].astype(np.int64)


def _segments(details: pa.Table, segment_by: str | None) -> _Segments | None:
    """The songs' segments, numbered by name; None when the songs have no such column."""
    if segment_by is None or segment_by not in details.column_names:
        return None
    texts = details.column(segment_by).cast(pa.string()).combine_chunks()
    names = sorted(name for name in pc.unique(texts).to_pylist() if name)
    found = pc.index_in(texts, value_set=pa.array(names, pa.string())).fill_null(-1)
    of_song = found.to_numpy(zero_copy_only=False).astype(np.int32)
    order = np.argsort(of_song, kind="stable").astype(np.int32)
    starts = np.searchsorted(of_song[order], np.arange(len(names) + 1)).astype(np.int64)
    return _Segments(tuple(names), of_song, order, starts)


def _durations_s(details: pa.Table) -> NDArray[np.float32] | None:
    """How long each song is; None when the songs table has no column that tells."""
    for column, per_second in DURATION_COLUMNS.items():
        if column in details.column_names and _is_number(details.schema.field(column).type):
            values = details.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False) / per_second
            return np.where(values > 0, values, np.nan).astype(np.float32)
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _resident(array: NDArray[T]) -> NDArray[T]:
    """A copy in memory of an array that a file backs, unless it is huge.

    A file that somebody cuts short would end the server where it is mapped. Where it has to be, a plain view of the
    map at least saves a microsecond an access.
    """
    return np.array(array) if array.nbytes <= RESIDENT_BYTES else np.asarray(array)


def _resident_histories(histories: Histories) -> Histories:
    return replace(
        histories,
        offsets=_resident(histories.offsets),
        songs=_resident(histories.songs),
        played_at_ms=_resident(histories.played_at_ms),
    )


def _demand_neighbours(model_id: str, neighbours: NDArray[np.int32]) -> None:
    """Refuse rows that are not songs, and a song among its own neighbours. Raises: DamagedArtifact."""
    n_songs = len(neighbours)
    for start in range(0, n_songs, ROWS_CHECKED_AT_ONCE):
        part = neighbours[start : start + ROWS_CHECKED_AT_ONCE]
        itself = np.arange(start, start + len(part))[:, np.newaxis]
        if ((part < -1) | (part >= n_songs) | (part == itself)).any():
            raise DamagedArtifact(f"Model {model_id}: its table of neighbours is not one of its {n_songs} songs.")


def _detail(value: object) -> Detail:
    """The value as JSON has it: instants and dates in ISO 8601, other foreign types as text, no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
