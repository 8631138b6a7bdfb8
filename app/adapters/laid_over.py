"""A loaded model as the catalogue has its songs: some denied, some told otherwise, and new ones behind the last.

Notation: the n songs of the model keep their rows; m new songs, which it has not trained on, have rows n to n + m - 1.
With c_j plays beside song j, a new song's query row is the mean of the c_j q_j over its length, and its song row the
mean of the c_j s_j, made as long as the s_j are in the mean. Both are of this model alone: nothing of them is stored.

A denied song keeps its row, for histories name it, but no list holds it. Many threads may ask at once: nothing in it
changes; a later revision of the catalogue makes another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from app.adapters.song_search import SongSearch, words_of
from app.domain.catalogue import CatalogueSong
from app.domain.embedding import Matrix
from app.domain.filtering import (
    Mask,
    Rows,
    Scores,
    SongFilter,
    best_passing,
    first_passing,
    masked,
    text_of,
)
from app.domain.recommending import LEAST_PROFILE, History
from app.domain.serving import SCORE_DECIMALS, LiveModel, Neighbour, Song, told_songs

MASKS_KEPT = 16

SPARE = 16
"""Neighbours that are looked up beyond those asked for, so that a few denied ones need no search."""


class LaidOverModel:
    """The port `LiveModel`; see the module header. `song_of` holds the catalogue's songs that touch the model."""

    def __init__(self, model: LiveModel, songs: Sequence[CatalogueSong]) -> None:
        self._model = model
        self._n_known = model.n_songs
        rows = model.rows([song.song_id for song in songs]).tolist()
        self._said = {
            row: _laid(model.song(row), song) for row, song in zip(rows, songs, strict=True) if row >= 0 and song.said
        }
        new = [song for song, row in zip(songs, rows, strict=True) if row < 0 and song.beside]
        made = [(song, *vectors) for song in new if (vectors := _vectors(model, song.beside or {})) is not None]
        self._new = [song for song, _, _ in made]
        dim = model.query_rows(np.zeros(1, dtype=np.int64)).shape[1]
        self._queries = np.array([query for _, query, _ in made], dtype=np.float32).reshape(-1, dim)
        self._vectors = np.array([vector for _, _, vector in made], dtype=np.float32).reshape(-1, dim)
        self._row_of_new = {song.song_id: self._n_known + place for place, song in enumerate(self._new)}
        for song_id, row in self._row_of_new.items():
            self._said[row] = _laid(
                Song(song_id=song_id, title=None, artist=None, n_plays=0, is_provisional=True),
                self._new[row - self._n_known],
            )
        self.n_songs = self._n_known + len(self._new)
        denied = [self._row_of_new.get(song.song_id, row) for song, row in zip(songs, rows, strict=True) if song.denial]
        self._denied = np.array(sorted(row for row in denied if row >= 0), dtype=np.int64)
        self._denied_rows = frozenset(self._denied.tolist())
        self._is_allowed = np.ones(self.n_songs, dtype=np.bool_)
        self._is_allowed[self._denied] = False
        self.columns = tuple(
            dict.fromkeys([*model.columns, *(name for song in self._said.values() for name in song.details)])
        )
        self._said_rows = sorted(self._said)
        titles = [self._said[row].title for row in self._said_rows]
        artists = [self._said[row].artist for row in self._said_rows]
        said = pa.table({"title": pa.array(titles, pa.string()), "artist": pa.array(artists, pa.string())})
        self._said_search = SongSearch(words_of(said))
        self._numbers, self.artists = self._artists()
        self._mask = lru_cache(maxsize=MASKS_KEPT)(self._made_mask)

    @property
    def model_id(self) -> str:
        """Which model it is."""
        return self._model.model_id

    @property
    def is_touched(self) -> bool:
        """Whether the catalogue changes anything of the model."""
        return bool(self._said) or len(self._denied) > 0

    # Songs

    def row(self, song_id: str) -> int | None:
        """The song's row; None when the model does not know it and it has no provisional vector."""
        row = self._model.row(song_id)
        return self._row_of_new.get(song_id) if row is None else row

    def rows(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        """The songs' rows, -1 for those without one."""
        rows = self._model.rows(song_ids)
        for place in np.flatnonzero(rows < 0).tolist() if self._row_of_new else []:
            rows[place] = self._row_of_new.get(song_ids[place], -1)
        return rows

    def song(self, row: int) -> Song:
        """What is known of a song."""
        song = self._said.get(row)
        song = self._model.song(row) if song is None else song
        return song if self._is_allowed[row] else replace(song, is_denied=True)

    def names(self, row: int) -> tuple[str, str | None, str | None]:
        """The song's id, title and artist."""
        song = self._said.get(row)
        return self._model.names(row) if song is None else (song.song_id, song.title, song.artist)

    def is_provisional(self, row: int) -> bool:
        """Whether the song's vector stands in until a model has trained on it."""
        return row >= self._n_known

    def find(self, words: str, *, start: int, limit: int) -> list[int]:
        """Up to `limit` rows from `start` on of songs with all the words; those of the catalogue by what it says."""
        found: list[int] = []
        said = [self._said_rows[place] for place in self._said_search.find(words, start=0, limit=len(self._said_rows))]
        position = start
        while len(found) < limit and position < self._n_known:
            some = self._model.find(words, start=position, limit=limit)
            found += [row for row in some if row not in self._said and self._is_allowed[row]]
            if len(some) < limit:
                break
            position = some[-1] + 1
        rows = sorted([*found, *(row for row in said if row >= start and self._is_allowed[row])])
        return rows[:limit]

    # Vectors

    def query_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' unit query rows, float32 `(n, dim)`, a copy."""
        return self._gathered(self._model.query_rows, self._queries, rows)

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        """The songs' rows that are searched, float32 `(n, dim)`, a copy."""
        return self._gathered(self._model.song_rows, self._vectors, rows)

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k songs nearest to a vector `(dim,)`, best first, and their scores; -1 pads."""
        rows = np.full(k, -1, dtype=np.int64)
        scores = np.full(k, -np.inf, dtype=np.float32)
        most = min(k + len(self._denied), self._n_known)
        n_asked = min(2 * k, most)
        while True:
            found, found_scores = self._model.search(vector, n_asked)
            if n_asked == most or self._n_allowed(found) >= k:
                break
            n_asked = min(4 * n_asked, most)
        best, best_scores = self._allowed(found, found_scores, vector)
        best, best_scores = best[:k], best_scores[:k]
        rows[: len(best)], scores[: len(best)] = best, best_scores
        return rows, scores

    def search_many(self, vectors: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same of many vectors `(n, dim)` at once: rows and scores `(n, k)`."""
        rows = np.full((len(vectors), k), -1, dtype=np.int64)
        scores = np.full((len(vectors), k), -np.inf, dtype=np.float32)
        most = min(k + len(self._denied), self._n_known)
        n_asked = min(2 * k, most)
        found, found_scores = self._model.search_many(vectors, n_asked)
        for place, vector in enumerate(vectors):
            if n_asked < most and self._n_allowed(found[place]) < k:
                rows[place], scores[place] = self.search(vector, k)
                continue
            best, best_scores = self._allowed(found[place], found_scores[place], vector)
            best, best_scores = best[:k], best_scores[:k]
            rows[place, : len(best)], scores[place, : len(best)] = best, best_scores
        return rows, scores

    def nearest(self, row: int, k: int) -> tuple[list[int], list[float]]:
        """The rows and scores of the k nearest; -1 pads."""
        looked_up = self._looked_up(row, k) if row < self._n_known else None
        if looked_up is not None:
            return looked_up
        itself = np.array([row], dtype=np.int64)
        rows, scores = self.search_within(self.query_rows(itself)[0], k, wanted=SongFilter(), excluded=itself)
        return rows.tolist(), scores.tolist()

    def _looked_up(self, row: int, k: int) -> tuple[list[int], list[float]] | None:
        """The same of a song of the model, from what it has looked up; None where too many of those are denied."""
        n_asked = k + SPARE if len(self._denied) else k
        near, near_scores = self._model.nearest(row, n_asked)
        is_whole = len(near) < n_asked or -1 in near
        places = [place for place, song in enumerate(near) if song >= 0 and song not in self._denied_rows]
        if len(places) < k and not is_whole:
            return None
        if not self._new:  # nothing can come between them
            return [near[place] for place in places[:k]], [near_scores[place] for place in places[:k]]
        vector = self.query_rows(np.array([row], dtype=np.int64))[0]
        rows, scores = self._allowed(np.array(near, dtype=np.int64), np.array(near_scores, dtype=np.float32), vector)
        return rows[:k].tolist(), scores[:k].tolist()

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        """The song's k nearest."""
        answer: list[Neighbour] = []
        for near, score in zip(*self.nearest(row, k), strict=True):
            if near < 0:
                continue
            song_id, title, artist = self.names(near)
            told: Neighbour = {
                "song_id": song_id,
                "title": title,
                "artist": artist,
                "score": round(score, SCORE_DECIMALS),
            }
            if near >= self._n_known:
                told["provisional"] = True
            answer.append(told)
        return answer

    def written_neighbours(self, row: int, k: int) -> bytes:
        """The same as a JSON array."""
        return orjson.dumps(self.neighbours(row, k))

    def written_songs(self, rows: Sequence[int], scores: Sequence[float | None]) -> bytes:
        """Songs and their scores as a JSON array of recommendations."""
        return orjson.dumps(told_songs(self, rows, scores))

    # Filters

    def carriers(self, column: str, values: tuple[str, ...]) -> Mask:
        """Which songs have one of the values in a column, bool `(n,)`; not to be changed."""
        return self._mask(column, values)

    def artist_number(self, artist: str) -> int | None:
        """The artist's number; None when no song has it."""
        number = self._numbers.get(artist)
        return self._model.artist_number(artist) if number is None else number

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

    def popular(self, n: int, *, segment: int | None = None) -> NDArray[np.int64]:
        """The n most played songs, of one segment or of all; fewer where there are fewer."""
        rows = self._model.popular(n + len(self._denied), segment=segment)
        return rows[self._is_allowed[rows]][:n]

    # The rest is the model's, which has nothing of new songs

    def durations_s(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """How long the songs are, NaN where the songs table does not say."""
        is_known = (rows >= 0) & (rows < self._n_known)
        durations = np.full(len(rows), np.nan, dtype=np.float32)
        durations[is_known] = self._model.durations_s(rows[is_known])
        return durations

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its songs, by number."""
        return self._model.segments

    def segments_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of the songs' segments, -1 for a song without one."""
        is_known = (rows >= 0) & (rows < self._n_known)
        segments = np.full(len(rows), -1, dtype=np.int32)
        segments[is_known] = self._model.segments_of(rows[is_known])
        return segments

    def history(self, user_id: str) -> History | None:
        """The user's plays in the model's dataset, newest first; None when it has none."""
        return self._model.history(user_id)

    def _passing(self, wanted: SongFilter, excluded: Rows) -> tuple[Mask, Rows]:
        wanted.demand_columns(self.columns)
        mask = masked(wanted, self.carriers)
        rows = self.rows(wanted.exclude)
        passing = self._is_allowed if mask is None else mask & self._is_allowed
        return passing, np.concatenate([excluded, rows[rows >= 0]])

    def _made_mask(self, column: str, values: tuple[str, ...]) -> Mask:
        mask = np.zeros(self.n_songs, dtype=np.bool_)
        if column in self._model.columns:
            mask[: self._n_known] = self._model.carriers(column, values)
        for row, song in self._said.items():
            value = song.artist if column == "artist" else song.details.get(column)
            mask[row] = text_of(value) in values
        mask.flags.writeable = False
        return mask

    def _artists(self) -> tuple[dict[str, int], NDArray[np.int32]]:
        of_model = self._model.artists
        artists = np.full(self.n_songs, -1, dtype=np.int32)
        artists[: self._n_known] = of_model
        numbers: dict[str, int] = {}
        free = int(of_model.max(initial=-1)) + 1
        for row, song in self._said.items():
            if song.artist is None:
                artists[row] = -1
                continue
            number = numbers.get(song.artist, self._model.artist_number(song.artist))
            if number is None:
                number = free + len(numbers)
            numbers[song.artist] = number
            artists[row] = number
        return numbers, artists

    def _n_allowed(self, rows: Rows) -> int:
        return int(self._is_allowed[rows[rows >= 0]].sum())

    def _allowed(self, rows: Rows, scores: Scores, vector: Matrix) -> tuple[Rows, Scores]:
        """Those that are not denied, and the new songs among them, best first."""
        new = np.arange(self._n_known, self.n_songs)
        rows = np.concatenate([rows, new])
        scores = np.concatenate([scores, self._vectors @ vector])
        is_kept = (rows >= 0) & self._is_allowed[rows]
        rows, scores = rows[is_kept], scores[is_kept]
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]

    def _gathered(
        self, of_model: Callable[[NDArray[np.int64]], Matrix], of_new: Matrix, rows: NDArray[np.int64]
    ) -> Matrix:
        is_new = rows >= self._n_known
        if not is_new.any():
            return of_model(rows)
        gathered = np.empty((len(rows), of_new.shape[1]), dtype=np.float32)
        gathered[~is_new] = of_model(rows[~is_new])
        gathered[is_new] = of_new[rows[is_new] - self._n_known]
        return gathered


def _laid(song: Song, over: CatalogueSong) -> Song:
    said = over.said
    if said is None:
        return song
    return replace(
        song,
        title=song.title if said.title is None else said.title,
        artist=song.artist if said.artist is None else said.artist,
        details={**song.details, **said.details},
    )


def _vectors(model: LiveModel, beside: Mapping[str, int]) -> tuple[Matrix, Matrix] | None:
    """A new song's query row and song row; None when the model knows none of the songs, or they cancel out."""
    found = model.rows(list(beside))
    rows = found[found >= 0]
    if len(rows) == 0:
        return None
    weights = np.array(list(beside.values()), dtype=np.float64)[found >= 0]
    weights /= weights.sum()
    query = weights @ model.query_rows(rows)
    others = model.song_rows(rows)
    vector = weights @ others
    lengths = np.linalg.norm(query), np.linalg.norm(vector)
    if min(lengths) < LEAST_PROFILE:
        return None
    length = float(weights @ np.linalg.norm(others, axis=1))
    return (query / lengths[0]).astype(np.float32), (vector * (length / lengths[1])).astype(np.float32)
