"""Tables as files, written while they are read: CSV and Parquet."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula."""

_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def csv_bytes(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    """CSV by RFC 4180: a header, then a line a row. Texts that a spreadsheet would run get an apostrophe in front."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    yield _taken(text)
    for page in pages:
        writer.writerows([_cell(row[name]) for name in columns] for row in page)
        yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    written = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return written


def _cell(value: object) -> object:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case str() if value.startswith(FORMULA):
            return f"'{value}"
        case _:
            return value


def parquet_bytes(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    """Parquet, one row group a page."""
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    sink = _Drained()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:
        for page in pages:
            writer.write_table(pa.Table.from_pylist(page, schema=schema))
            yield sink.taken()
    yield sink.taken()


class _Drained(io.RawIOBase):
    """A file that only goes forward and forgets what was taken of it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Keep it until it is taken."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Bytes written in all."""
        return self._position

    def taken(self) -> bytes:
        """What was written since the last time."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole
