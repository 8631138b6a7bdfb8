"""Two models' files beside each other: the songs of one as another knows them, and how their neighbours differ.

Notation: the n songs that both models know, in the order of the first one's rows (most played first); k neighbours of
each in either. A neighbour that the other model does not know counts as one that it lacks.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.adapters.model_files import StoredModel
from app.domain.differences import ChangedSong, NamedSong, NeighbourDifference
from app.domain.embedding import Rows, ScoringRows

BLOCK = 65_536
"""Songs compared at a time: k = 64 of them take a quarter of a gigabyte."""


def rows_in(model: StoredModel, song_ids: pa.ChunkedArray) -> ScoringRows:
    """The model's rows for these songs, in their order; those that it does not know are not known."""
    rows = _places(song_ids, model.songs.column("song_id"))
    is_known = rows >= 0
    chosen = np.where(is_known, rows, 0)
    songs = Rows(model.vectors, chosen=chosen)
    queries = songs if model.queries is model.vectors else Rows(model.queries, chosen=chosen)
    return ScoringRows(queries, songs, is_known)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both models, and the rows of the songs that both know in each, int64 `(n,)`."""

    one: StoredModel
    other: StoredModel
    rows: NDArray[np.int64]
    other_rows: NDArray[np.int64]


class StoredDifference:
    """How the neighbours of two stored models differ; see the port `NeighbourDifference`."""

    def __init__(self, one: StoredModel, other: StoredModel, *, k: int, segment_column: str | None) -> None:
        self._sides = _sides(one, other)
        sides = self._sides
        self._k = k
        self._in_other = _places(sides.one.songs.column("song_id"), sides.other.songs.column("song_id"))
        self._overlaps = self._measured()
        self._order = np.argsort(self._overlaps, kind="stable")  # the most played first among equals
        self.summary = NeighbourDifference(
            k=k,
            n_common=len(sides.rows),
            n_only_one=sides.one.index.n_songs - len(sides.rows),
            n_only_other=sides.other.index.n_songs - len(sides.rows),
            overlap=float(self._overlaps.mean()) if len(self._overlaps) else None,
            segments=self._by_segment(segment_column),
        )

    def changed(self, *, start: int, limit: int) -> list[ChangedSong]:
        """Songs from place `start` on, those first whose neighbours change most."""
        return [self._song(place) for place in self._order[start : start + limit].tolist()]

    def _measured(self) -> NDArray[np.float32]:
        sides, k = self._sides, self._k
        overlaps = np.empty(len(sides.rows), dtype=np.float32)
        for start in range(0, len(sides.rows), BLOCK):
            block = slice(start, start + BLOCK)
            mine = sides.one.neighbours[sides.rows[block], :k]
            theirs = sides.other.neighbours[sides.other_rows[block], :k]
            translated = np.where(mine >= 0, self._in_other[mine], -1)
            n_shared = np.zeros(len(mine), dtype=np.int32)
            for place in range(translated.shape[1]):  # k passes over (block, k): their product is never whole
                column = translated[:, place : place + 1]
                n_shared += ((column == theirs) & (column >= 0)).any(axis=1)
            longest = np.maximum((mine >= 0).sum(axis=1), (theirs >= 0).sum(axis=1))
            overlaps[block] = np.where(longest > 0, n_shared / np.maximum(longest, 1), 1.0)
        return overlaps

    def _by_segment(self, column: str | None) -> dict[str, tuple[int, float]]:
        songs = self._sides.one.songs
        if column is None or column not in songs.column_names:
            return {}
        names = pc.cast(songs.column(column).take(pa.array(self._sides.rows)), pa.large_string())
        grouped = pa.table({"segment": names, "overlap": self._overlaps}).group_by("segment")
        found = grouped.aggregate([("overlap", "mean"), ("overlap", "count")]).to_pylist()
        return {
            each["segment"]: (each["overlap_count"], each["overlap_mean"])
            for each in sorted(found, key=lambda each: str(each["segment"]))
            if each["segment"] is not None
        }

    def _song(self, place: int) -> ChangedSong:
        sides, k = self._sides, self._k
        row, other_row = int(sides.rows[place]), int(sides.other_rows[place])
        mine = [near for near in sides.one.neighbours[row, :k].tolist() if near >= 0]
        theirs = [near for near in sides.other.neighbours[other_row, :k].tolist() if near >= 0]
        shared = set(self._in_other[mine].tolist()) & set(theirs)
        return ChangedSong(
            song=_named(sides.one, row),
            n_plays=int(sides.one.songs.column("n_plays")[row].as_py()),
            overlap=float(self._overlaps[place]),
            only_one=[_named(sides.one, near) for near in mine if int(self._in_other[near]) not in shared],
            only_other=[_named(sides.other, near) for near in theirs if near not in shared],
        )


def _sides(one: StoredModel, other: StoredModel) -> _Sides:
    places = _places(one.songs.column("song_id"), other.songs.column("song_id"))
    rows = np.flatnonzero(places >= 0)
    return _Sides(one, other, rows, places[rows])


def _places(wanted: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each of the wanted ids is among others, -1 for nowhere."""
    found = pc.index_in(pc.cast(wanted, pa.string()), value_set=pc.cast(among, pa.string()))
    places: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return places


def _named(model: StoredModel, row: int) -> NamedSong:
    song_id, title, artist = (model.songs.column(name)[row].as_py() for name in ("song_id", "title", "artist"))
    return NamedSong(song_id=song_id, title=title, artist=artist)
