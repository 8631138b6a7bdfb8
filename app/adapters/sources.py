"""Recognise a file of plays or songs by its content and name its columns.

Parquet: the magic bytes at both ends and a readable footer. CSV: UTF-8 text, comma-separated, double quotes, a header
line, and as many values in every line as in the header. Both name a `song_id` column: plays and songs have one.
Nothing here needs more than pyarrow, for the server process asks it about every upload.
"""

import codecs
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.errors import InvalidSource

SourceFormat = Literal["parquet", "csv"]

PARQUET_MAGIC = b"PAR1"
SMALLEST_PARQUET = 12
HEADER_BYTES = 64 * 1024
TAIL_BYTES = 64 * 1024


class ColumnKind(StrEnum):
    """What a column's values are, as far as preparation tells them apart."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    INSTANT = "instant"
    ZONED_INSTANT = "instant with a zone"
    DAY_OR_TIME = "day or time"
    TEXTS = "list of text"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A recognised file: where it is, how it is written and what its columns hold, in file order."""

    path: Path
    format: SourceFormat
    columns: Mapping[str, ColumnKind]


def recognise(path: Path, *, pointer: str = "") -> SourceFormat:
    """How the file is written, told from its content alone.

    Raises: InvalidSource when it is neither Parquet nor CSV, is cut short, or has no `song_id` column.
    """
    return inspect(path, pointer=pointer).format


def inspect(path: Path, *, pointer: str = "") -> SourceTable:
    """The file's format and columns. Raises: InvalidSource, as `recognise` does."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except OSError as error:
        raise InvalidSource(f"The file cannot be read: {error.strerror}.", pointer=pointer) from error
    if not head:
        raise InvalidSource("The file is empty.", pointer=pointer)
    if head.startswith(PARQUET_MAGIC):
        table = SourceTable(path, "parquet", _parquet_columns(path, tail=tail, size=size, pointer=pointer))
    else:
        names = _csv_header(head, is_whole=size <= HEADER_BYTES, pointer=pointer)
        _refuse_cut_csv(tail, is_whole=size <= TAIL_BYTES, pointer=pointer)
        table = SourceTable(path, "csv", dict.fromkeys(names, ColumnKind.TEXT))
    if "song_id" not in table.columns:
        raise InvalidSource("The file has no column song_id.", pointer=pointer)
    return table


def _parquet_columns(path: Path, *, tail: bytes, size: int, pointer: str) -> dict[str, ColumnKind]:
    if size < SMALLEST_PARQUET or not tail.endswith(PARQUET_MAGIC):
        raise InvalidSource("The Parquet file is cut short: its end is missing.", pointer=pointer)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise InvalidSource("The Parquet file's footer cannot be read.", pointer=pointer) from error
    _refuse_equal_names(schema.names, pointer=pointer)
    return {field.name: kind_of(field.type) for field in schema}


def kind_of(type_: pa.DataType) -> ColumnKind:
    """The kind of an Arrow type; dictionaries count as what they hold.

    >>> kind_of(pa.int32()).value
    'integer'
    """
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_timestamp(type_):
        return ColumnKind.INSTANT if type_.tz is None else ColumnKind.ZONED_INSTANT
    tests = (
        (ColumnKind.TEXT, _is_text(type_)),
        (ColumnKind.INTEGER, pa.types.is_integer(type_)),
        (ColumnKind.NUMBER, pa.types.is_floating(type_) or pa.types.is_decimal(type_)),
        (ColumnKind.BOOLEAN, pa.types.is_boolean(type_)),
        (ColumnKind.DAY_OR_TIME, pa.types.is_date(type_) or pa.types.is_time(type_)),
        (ColumnKind.TEXTS, _is_list(type_) and _is_text(type_.value_type)),
    )
    return next((kind for kind, is_it in tests if is_it), ColumnKind.OTHER)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _csv_header(head: bytes, *, is_whole: bool, pointer: str) -> list[str]:
    if b"\0" in head:
        raise InvalidSource("The file is neither Parquet nor CSV: it holds zero bytes.", pointer=pointer)
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, is_whole)
    except UnicodeDecodeError as error:
        raise InvalidSource("The file is neither Parquet nor CSV in UTF-8.", pointer=pointer) from error
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as error:
        raise InvalidSource("The CSV file's header line cannot be read.", pointer=pointer) from error
    if "song_id" not in names and any(mark in name for name in names for mark in ";\t|"):
        raise InvalidSource("The CSV file's header is not separated by commas.", pointer=pointer)
    if "song_id" not in names:
        raise InvalidSource("The file is neither Parquet nor CSV with a column song_id in its header.", pointer=pointer)
    _refuse_equal_names(names, pointer=pointer)
    return names


def _refuse_equal_names(names: list[str], *, pointer: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise InvalidSource(f"Column {name!r} is there twice; upper and lower case do not differ.", pointer=pointer)
        seen.add(name.casefold())


def _refuse_cut_csv(tail: bytes, *, is_whole: bool, pointer: str) -> None:
    """Refuse a last line that looks cut inside its last value.

    A cut in an earlier value leaves too few values and is found on reading, as is an open quote. Many programs write no
    line break at the end, so its absence alone proves nothing: the file counts as cut when, besides, the last value is
    shorter than the last value of every line before it in the final 64 KiB. A cut at a line break cannot be seen.
    """
    if tail.endswith((b"\n", b"\r")):
        return
    lines = tail.decode("utf-8", errors="replace").splitlines()
    *earlier, last = lines[1:] if len(lines) > 1 else lines
    lengths = [len(_last_value(line)) for line in earlier if line]
    if (lengths and len(_last_value(last)) < min(lengths)) or (is_whole and len(lines) == 1):
        raise InvalidSource(
            "The CSV file is cut short: its last line has no line break and a shorter last value than all before it.",
            pointer=pointer,
        )


def _last_value(line: str) -> str:
    return line.rpartition(",")[2]
