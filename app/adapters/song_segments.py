"""What a model's songs table says in columns of its own: the segment that a song is of, and how long it is."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.adapters.mapped_tables import whole

DURATION_COLUMNS = {"duration_s": 1, "duration_ms": 1000}
"""Columns that say how long a song is, and how many of their units make a second."""


@dataclass(frozen=True, slots=True)
class SongSegments:
    """The songs by segment: `of_song` int32 `(n,)` numbers, -1 for none.

    The rows of segment s, most played first, are `rows[starts[s]:starts[s + 1]]`.
    """

    names: tuple[str, ...]
    of_song: NDArray[np.int32]
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]

    def popular(self, segment: int, n: int) -> NDArray[np.int64]:
        """The rows of the n most played songs of a segment."""
        start, end = self.starts[segment : segment + 2].tolist()
        return self.rows[start : min(end, start + n)].astype(np.int64)


def segments_of(details: pa.Table, segment_by: str | None) -> SongSegments | None:
    """The songs' segments, numbered by name; None when the songs have no such column."""
    if segment_by is None or segment_by not in details.column_names:
        return None
    texts = whole(details.column(segment_by).cast(pa.large_string()))
    names = sorted(name for name in pc.unique(texts).to_pylist() if name)
    found = pc.index_in(texts, value_set=pa.array(names, pa.large_string())).fill_null(-1)
    of_song = found.to_numpy(zero_copy_only=False).astype(np.int32)
    order = np.argsort(of_song, kind="stable").astype(np.int32)
    starts = np.searchsorted(of_song[order], np.arange(len(names) + 1)).astype(np.int64)
    return SongSegments(tuple(names), of_song, order, starts)


def durations_of(details: pa.Table) -> NDArray[np.float32] | None:
    """How long each song is; None when the songs table has no column that tells."""
    for column, per_second in DURATION_COLUMNS.items():
        if column in details.column_names and _is_number(details.schema.field(column).type):
            values = details.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False) / per_second
            return np.where(values > 0, values, np.nan).astype(np.float32)
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
