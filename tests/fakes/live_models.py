"""Models that answer by brute force from dicts. The fakes of the ports `LiveModel` and `LiveModels`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from app.domain.embedding import Matrix
from app.domain.errors import ModelNotLive, NothingLive
from app.domain.filtering import Mask, Rows, Scores, SongFilter, text_of
from app.domain.plays import HeardSong
from app.domain.recommending import History
from app.domain.serving import Detail, Live, LiveModel, Neighbour, Song, told_songs


class BruteForceModel:
    """Songs, most played first, with one unit vector each that both asks and answers."""

    def __init__(
        self,
        model_id: str,
        songs: Sequence[Song],
        vectors: Matrix,
        *,
        histories: Mapping[str, Sequence[HeardSong]] | None = None,
        segment_by: str | None = None,
    ) -> None:
        self.model_id = model_id
        self.n_songs = len(songs)
        self._songs = list(songs)
        self._vectors = vectors
        self._histories = dict(histories or {})
        of_songs = [None if segment_by is None else song.details.get(segment_by) for song in songs]
        self.segments = tuple(sorted({str(segment) for segment in of_songs if segment}))
        self._segments = [self.segments.index(str(segment)) if segment else -1 for segment in of_songs]

    def row(self, song_id: str) -> int | None:
        return next((row for row, song in enumerate(self._songs) if song.song_id == song_id), None)

    def rows(self, song_ids: Sequence[str]) -> NDArray[np.int64]:
        found = [self.row(song_id) for song_id in song_ids]
        return np.array([-1 if row is None else row for row in found], dtype=np.int64)

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        rows, scores = self.search(self._vectors[row], self.n_songs)
        ranked = [(near, score) for near, score in zip(rows.tolist(), scores.tolist(), strict=True) if near != row]
        return [
            {
                "song_id": self._songs[near].song_id,
                "title": self._songs[near].title,
                "artist": self._songs[near].artist,
                "score": round(score, 6),
            }
            for near, score in ranked[:k]
        ]

    def written_neighbours(self, row: int, k: int) -> bytes:
        return orjson.dumps(self.neighbours(row, k))

    def written_songs(self, rows: Sequence[int], scores: Sequence[float | None]) -> bytes:
        return orjson.dumps(told_songs(self, rows, scores))

    def nearest(self, row: int, k: int) -> tuple[list[int], list[float]]:
        rows, scores = self.search(self._vectors[row], self.n_songs)
        return rows[rows != row][:k].tolist(), scores[rows != row][:k].tolist()

    def query_rows(self, rows: NDArray[np.int64]) -> Matrix:
        return self._vectors[rows]

    def song_rows(self, rows: NDArray[np.int64]) -> Matrix:
        return self._vectors[rows]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(["artist", *(name for song in self._songs for name in song.details)]))

    def carriers(self, column: str, values: tuple[str, ...]) -> Mask:
        return np.array([text_of(columns_of(song).get(column)) in values for song in self._songs])

    @property
    def artists(self) -> NDArray[np.int32]:
        numbers = [-1 if song.artist is None else self.artist_number(song.artist) for song in self._songs]
        return np.array(numbers, dtype=np.int32)

    def artist_number(self, artist: str) -> int | None:
        return next((row for row, song in enumerate(self._songs) if song.artist == artist), None)

    def search_within(self, vector: Matrix, k: int, *, wanted: SongFilter, excluded: Rows) -> tuple[Rows, Scores]:
        rows, scores = self.search(vector, self.n_songs)
        places = self._passing(rows.tolist(), wanted=wanted, excluded=excluded)[:k]
        return rows[places], scores[places]

    def popular_within(self, k: int, *, wanted: SongFilter, excluded: Rows) -> Rows:
        rows = list(range(self.n_songs))
        return np.array(self._passing(rows, wanted=wanted, excluded=excluded)[:k], dtype=np.int64)

    def _passing(self, rows: list[int], *, wanted: SongFilter, excluded: Rows) -> list[int]:
        """The places in `rows`, which are ranked, of those that may be answered with."""
        wanted.demand_columns(self.columns)
        left_out = {*excluded.tolist(), *wanted.exclude}
        n_of: dict[str, int] = {}
        places = []
        for place, song in enumerate(self._songs[row] for row in rows):
            if {rows[place], song.song_id} & left_out or not wanted.passes(columns_of(song)):
                continue
            if song.artist is not None and wanted.max_per_artist is not None:
                n_of[song.artist] = n_of.get(song.artist, 0) + 1
                if n_of[song.artist] > wanted.max_per_artist:
                    continue
            places.append(place)
        return places

    def search(self, vector: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = self._vectors @ vector
        order = np.argsort(-scores, kind="stable")[:k]
        return order, scores[order]

    def search_many(self, vectors: Matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = [self.search(vector, k) for vector in vectors]
        return np.stack([rows for rows, _ in found]), np.stack([scores for _, scores in found])

    def durations_s(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        told = [self._songs[row].details.get("duration_s") for row in rows.tolist()]
        return np.array([math.nan if seconds is None else float(seconds) for seconds in told], dtype=np.float32)

    def segments_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.array([self._segments[row] for row in rows.tolist()], dtype=np.int32)

    def popular(self, n: int, *, segment: int | None = None) -> NDArray[np.int64]:
        rows = [row for row in range(self.n_songs) if segment is None or self._segments[row] == segment]
        return np.array(rows[:n], dtype=np.int64)

    def song(self, row: int) -> Song:
        return self._songs[row]

    def names(self, row: int) -> tuple[str, str | None, str | None]:
        song = self._songs[row]
        return song.song_id, song.title, song.artist

    def is_provisional(self, row: int) -> bool:
        del row
        return False

    def find(self, words: str, *, start: int, limit: int) -> list[int]:
        wanted = words.casefold().split()
        texts = [f"{song.title}\n{song.artist}".casefold() for song in self._songs]
        rows = [row for row, text in enumerate(texts) if row >= start and all(word in text for word in wanted)]
        return rows[:limit]

    def history(self, user_id: str) -> History | None:
        heard = self._histories.get(user_id)
        if heard is None:
            return None
        heard = heard[::-1]
        times = [play.played_at_ms or 0 for play in heard]
        return History(self.rows([play.song_id for play in heard]), np.array(times, dtype=np.int64))


def columns_of(song: Song) -> dict[str, Detail]:
    return {"artist": song.artist, **song.details}


class FixedModels:
    """Models that are live for as long as the test does not say otherwise."""

    def __init__(self, **models: LiveModel) -> None:
        self.live = {alias: Live(alias, 1, model) for alias, model in models.items()}

    def get(self, alias: str) -> Live:
        if alias not in self.live:
            raise NothingLive(alias)
        return self.live[alias]

    def of_model(self, model_id: str) -> Live:
        for _, live in sorted(self.live.items()):
            if live.model.model_id == model_id:
                return live
        raise ModelNotLive(model_id)

    def all(self) -> list[Live]:
        return list(self.live.values())
