"""A model in memory, ready to answer: tables to look up, an index to search, songs and histories.

Notation: n songs, most played first, named by their row; `neighbours` int32 and `neighbour_scores` float32, both
`(n, width)`, best first, -1 pads; `queries` float32 `(n, dim)` unit rows.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from app.adapters.corpus import Histories
from app.adapters.id_lookup import LISTED_TEXTS, IdLookup, texts_of
from app.adapters.mapped_tables import whole
from app.adapters.song_columns import SongColumns
from app.adapters.song_search import SongSearch, words_of
from app.adapters.song_segments import durations_of, segments_of
from app.adapters.vector_index import VectorIndex, others
from app.domain.embedding import Matrix
from app.domain.errors import DamagedArtifact
from app.domain.filtering import Mask, Rows, Scores, SongFilter, best_passing, first_passing, masked
from app.domain.recommending import History
from app.domain.serving import SCORE_DECIMALS, Detail, Neighbour, Song, told_songs

NAMED_COLUMNS = ("song_id", "title", "artist", "n_plays")
WRITTEN = b'%%b,"score":%%.%df}' % SCORE_DECIMALS
"""A song and its score as JSON, from the song as it is written."""

WRITTEN_WITHOUT = b'%b,"score":null}'
"""The same of a song that was compared with nothing."""

ROWS_CHECKED_AT_ONCE = 65_536


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
        words: pa.Array | None = None,
        segment_by: str | None = None,
    ) -> None:
        n_songs = songs.num_rows
        if not len(queries) == len(neighbours) == len(neighbour_scores) == n_songs:
            raise DamagedArtifact(f"Model {model_id}: its files tell of different numbers of songs.")
        _demand_neighbours(model_id, neighbours, neighbour_scores)
        self._model_id = model_id
        # Plain views of the maps save a microsecond an access. A mapped file is never cut short: folders are replaced.
        self._queries = np.asarray(queries)
        self._vectors = self._queries if vectors is None or vectors is queries else np.asarray(vectors)
        self._neighbours = np.asarray(neighbours)
        self._scores = np.asarray(neighbour_scores)
        self._index = index
        self._ids = texts_of(songs.column("song_id"))
        self._titles = texts_of(songs.column("title"))
        self._artists = texts_of(songs.column("artist"))
        self._n_plays = whole(songs.column("n_plays")).to_numpy()
        self._details = songs.drop_columns(list(NAMED_COLUMNS))
        self._durations_s = durations_of(self._details)
        self._segments = segments_of(self._details, segment_by)
        self._columns = SongColumns(songs.drop_columns(["song_id", "title", "n_plays"]), told=_detail)
        self._rows = IdLookup(self._ids)
        if self._rows.has_twins():
            raise DamagedArtifact(f"Model {model_id}: its songs are not all different.")
        self._written = written_songs(self._ids, self._titles, self._artists)
        self._search = SongSearch(words_of(songs) if words is None else words)
        self._histories = None if histories is None else _viewed(histories)
        self._users = None if histories is None else IdLookup(texts_of(histories.users))

    @property
    def model_id(self) -> str:
        """Which model it is."""
        return self._model_id

    @property
    def n_songs(self) -> int:
        """How many songs it knows."""
        return len(self._ids)

    def with_neighbours(self, neighbours: NDArray[np.int32], scores: NDArray[np.float32]) -> "LoadedModel":
        """The same model, all else shared, that looks its neighbours up in these; this one stays as it is.

        Raises: DamagedArtifact when they are not those of its songs.
        """
        if not len(neighbours) == len(scores) == self.n_songs:
            raise DamagedArtifact(f"Model {self._model_id}: its table of neighbours has another number of songs.")
        _demand_neighbours(self._model_id, neighbours, scores)
        tabled = copy.copy(self)
        tabled._neighbours = np.asarray(neighbours)
        tabled._scores = np.asarray(scores)
        return tabled

    def row(self, song_id: str) -> int | None:
        """The song's row; None when the model does not know it."""
        return self._rows.row(song_id)

    def rows(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        """The songs' rows, -1 for those that the model does not know."""
        return self._rows.rows(song_ids)

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        """The song's k nearest, looked up while so many are kept, else searched; fewer when the model knows fewer."""
        ids, titles, artists = self._ids, self._titles, self._artists
        found, scores = self.nearest(row, k)
        return [
            {
                "song_id": str(ids[near]),
                "title": titles[near],
                "artist": artists[near],
                "score": round(score, SCORE_DECIMALS),
            }
            for near, score in zip(found, scores, strict=True)
            if near >= 0
        ]

    def written_neighbours(self, row: int, k: int) -> bytes:
        """The same as a JSON array."""
        written = self._written
        if written is None:
            return orjson.dumps(self.neighbours(row, k))
        found, scores = self.nearest(row, k)
        return b"[%b]" % b",".join(
            [WRITTEN % (written[near], score) for near, score in zip(found, scores, strict=True) if near >= 0]
        )

    def written_songs(self, rows: Sequence[int], scores: Sequence[float | None]) -> bytes:
        """Songs and their scores as a JSON array of recommendations."""
        written = self._written
        if written is None:
            return orjson.dumps(told_songs(self, rows, scores))
        return b"[%b]" % b",".join(
            [
                WRITTEN % (written[row], score) if score is not None else WRITTEN_WITHOUT % written[row]
                for row, score in zip(rows, scores, strict=True)
            ]
        )

    def nearest(self, row: int, k: int) -> tuple[list[int], list[float]]:
        """The rows and scores of the same; -1 pads."""
        n_kept = self._neighbours.shape[1]
        if k <= n_kept or n_kept >= self.n_songs - 1:
            return self._neighbours[row, :k].tolist(), self._scores[row, :k].tolist()
        found, scores = self._index.search(self._queries[row : row + 1], k + 1)
        kept = others(found, np.array([row]))
        return np.take_along_axis(found, kept, axis=1)[0].tolist(), np.take_along_axis(scores, kept, axis=1)[0].tolist()

    def query_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' unit query rows, float32 `(n, dim)`, a copy."""
        return self._queries.take(rows, axis=0)  # two thirds of the time of self._queries[rows]

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' rows that are searched, float32 `(n, dim)`, a copy."""
        return self._vectors.take(rows, axis=0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a filter may name."""
        return self._columns.names

    def carriers(self, column: str, values: tuple[str, ...]) -> Mask:
        """Which songs have one of the values in a column, bool `(n,)`; not to be changed."""
        return self._columns.carriers(column, values)

    @property
    def artists(self) -> NDArray[np.int32]:
        """The numbers of the songs' artists, -1 for none; not to be changed."""
        return self._columns.codes("artist").of_song

    def artist_number(self, artist: str) -> int | None:
        """The artist's number; None when no song has it."""
        return self._columns.codes("artist").number_of.get(artist)

    def search_within(self, vector: Matrix, k: int, *, wanted: SongFilter, excluded: Rows) -> tuple[Rows, Scores]:
        """The k best songs that the filter lets pass, but for rows excluded. Raises: InvalidRequest."""
        passing, excluded = self._passing(wanted, excluded)
        return best_passing(self, vector, k=k, passing=passing, excluded=excluded, max_per_artist=wanted.max_per_artist)

    def popular_within(self, k: int, *, wanted: SongFilter, excluded: Rows) -> Rows:
        """The k most played songs that the filter lets pass, but for rows excluded. Raises: InvalidRequest."""
        passing, excluded = self._passing(wanted, excluded)
        return first_passing(
            self.n_songs,
            k=k,
            passing=passing,
            excluded=excluded,
            artists=self.artists,
            max_per_artist=wanted.max_per_artist,
        )

    def _passing(self, wanted: SongFilter, excluded: Rows) -> tuple[Mask | None, Rows]:
        wanted.demand_columns(self.columns)
        rows = self.rows(wanted.exclude)
        return masked(wanted, self.carriers), np.concatenate([excluded, rows[rows >= 0]])

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k songs nearest to a vector `(dim,)`, best first, and their scores; -1 pads."""
        rows, scores = self._index.search(vector[np.newaxis], k)
        return rows[0], scores[0]

    def search_many(self, vectors: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same of many vectors `(n, dim)` at once: rows and scores `(n, k)`."""
        return self._index.search(vectors, k)

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

    def is_provisional(self, row: int) -> bool:
        """It trained on all that it knows."""
        del row
        return False

    def find(self, words: str, *, start: int, limit: int) -> list[int]:
        """Up to `limit` rows from `start` on of songs with all the words in title or artist, case and accents aside."""
        return self._search.find(words, start=start, limit=limit)

    def history(self, user_id: str) -> History | None:
        """The user's plays in the model's dataset, newest first; None when it has none."""
        row = None if self._users is None else self._users.row(user_id)
        if row is None or self._histories is None:
            return None
        start, end = self._histories.offsets[row : row + 2].tolist()
        return History(
            self._histories.songs[start:end][::-1].astype(np.int64),
            np.array(self._histories.played_at_ms[start:end][::-1], dtype=np.int64),
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
        self.written_neighbours(0, 1)
        self.find("a", start=0, limit=1)
        self.history("")


def written_songs(
    ids: Sequence[str | None],
    titles: Sequence[str | None],
    artists: Sequence[str | None],
    *,
    listed: int = LISTED_TEXTS,
) -> tuple[bytes, ...] | None:
    """The songs as JSON objects that lack a score and their end; None where there are too many to keep."""
    if len(ids) > listed:
        return None
    return tuple(
        orjson.dumps({"song_id": song_id, "title": title, "artist": artist})[:-1]
        for song_id, title, artist in zip(ids, titles, artists, strict=True)
    )


def _viewed(histories: Histories) -> Histories:
    return replace(
        histories,
        offsets=np.asarray(histories.offsets),
        songs=np.asarray(histories.songs),
        played_at_ms=np.asarray(histories.played_at_ms),
    )


def _demand_neighbours(model_id: str, neighbours: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
    """Refuse rows that are not songs, a song among its own neighbours, and scores of none. Raises: DamagedArtifact."""
    n_songs = len(neighbours)
    for start in range(0, n_songs, ROWS_CHECKED_AT_ONCE):
        part = neighbours[start : start + ROWS_CHECKED_AT_ONCE]
        itself = np.arange(start, start + len(part))[:, np.newaxis]
        is_scored = np.isfinite(scores[start : start + ROWS_CHECKED_AT_ONCE]) | (part < 0)
        if ((part < -1) | (part >= n_songs) | (part == itself) | ~is_scored).any():
            raise DamagedArtifact(f"Model {model_id}: its table of neighbours is not one of its {n_songs} songs.")


def _detail(value: object) -> Detail:
    """The value as JSON has it: instants and dates in ISO 8601, other foreign types as text, no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
