"""Read plays and songs into checked tables: ids as text, times as integer epoch milliseconds.

    plays   song_id, session_id?, user_id?, played_at?, position?, file_row?   (a column that the file lacks is absent)
    songs   song_id, title, artist, and the further columns of the file

- Ids: text or integers, 1 to 256 characters. Integers and their decimal text are the same id.
- `played_at`: a timestamp (without a zone: taken as UTC), ISO-8601 text with date and time (`2024-05-01T20:15:00Z`,
  a space for the T, an offset, no zone = UTC) or integer epoch milliseconds, from 1970 to 9999; finer is cut to
  milliseconds. Integers that can only be seconds are refused.
- `position` and `seconds_streamed`: numbers; `seconds_streamed` is checked, not kept; it may be empty or NaN.
- Without `position` and `played_at` the order of a session is the order of the file's rows.
- Further columns of songs: text, numbers and booleans as they are; times as text; lists of text joined by ", "; others
  are left out. From CSV every further column is text. An empty text is null.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa

from app.adapters.duckdb_engine import Engine, literal, quoted
from app.adapters.sources import ColumnKind, SourceTable
from app.domain.errors import InvalidSource
from app.domain.listening import MAX_ID_LENGTH

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

SECONDS = (500_000_000, 100_000_000_000)
"""Integers that are all in this range are seconds since 1985; as milliseconds they would be days of 1970 to 1973."""

ISO_INSTANT = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
WHOLE_NUMBER = r"^-?\d{1,18}$"
SHOWN_CHARACTERS = 80
FILE_ROW = "file_row"

IDS = frozenset({ColumnKind.TEXT, ColumnKind.INTEGER})
NUMBERS = frozenset({ColumnKind.INTEGER, ColumnKind.NUMBER})
INSTANTS = frozenset({ColumnKind.INSTANT, ColumnKind.ZONED_INSTANT})
PLAY_COLUMNS = {
    "song_id": IDS,
    "session_id": IDS,
    "user_id": IDS,
    "played_at": INSTANTS | {ColumnKind.TEXT, ColumnKind.INTEGER},
    "position": NUMBERS,
    "seconds_streamed": NUMBERS,
}
SONG_COLUMNS = {"song_id": IDS, "title": frozenset({ColumnKind.TEXT}), "artist": frozenset({ColumnKind.TEXT})}
OURS = frozenset({"n_plays"})
"""Names of compiled columns that a further column may not take."""

IBIS_TYPES = {
    ColumnKind.TEXT: dt.string,
    ColumnKind.INTEGER: dt.int64,
    ColumnKind.NUMBER: dt.float64,
    ColumnKind.BOOLEAN: dt.boolean,
    ColumnKind.INSTANT: dt.timestamp,
    ColumnKind.ZONED_INSTANT: dt.timestamp,
}


@ibis.udf.scalar.builtin(name="epoch_us", signature=((dt.timestamp,), dt.int64))  # type: ignore[untyped-decorator]
def _epoch_us(instant: Any) -> Any: ...  # noqa: ANN401 - a column gives a column; the signature has the types


@dataclass(frozen=True, slots=True)
class Demand:
    """What every row of a column must satisfy; null counts as not met."""

    column: str
    is_met: Callable[[ir.Table], ir.BooleanValue]
    told: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A file about to be read: the columns wanted of it, with the kinds they arrive in, and where a refusal points."""

    source: SourceTable
    kinds: dict[str, ColumnKind]
    pointer: str


def read_plays(engine: Engine, source: SourceTable) -> ir.Table:
    """The plays as the stored table `plays`. Raises: InvalidSource naming the column, row and value at fault."""
    _demand_kinds(source, PLAY_COLUMNS, pointer="/plays")
    kinds = {name: kind for name, kind in source.columns.items() if name in PLAY_COLUMNS}
    missing = [name for name in ("user_id", "played_at") if name not in kinds]
    if "session_id" not in kinds and missing:
        raise InvalidSource(
            f"Plays need session_id, or user_id and played_at: there is no session_id and no {' or '.join(missing)}.",
            pointer="/plays",
        )
    if "position" not in kinds and "played_at" not in kinds:
        kinds[FILE_ROW] = ColumnKind.INTEGER
    reading = Reading(source, kinds, "/plays")
    plays = _load(engine, reading, name="plays", normal=_normal_play)
    _check(engine, reading, plays, normal=_normal_play, demands=_play_demands(kinds))
    if kinds.get("played_at") in IDS:
        _refuse_seconds(engine, plays)
    return plays.drop("seconds_streamed") if "seconds_streamed" in kinds else plays


def forget(engine: Engine, plays: ir.Table, erased: Mapping[str, int]) -> None:
    """Remove, from the stored table `plays`, those of users up to an instant in epoch milliseconds.

    Of plays without instants all are removed, and without users none are known.
    """
    if not erased or "user_id" not in plays.columns:
        return
    users = pa.table({"user_id": list(erased), "erased_at": list(erased.values())})
    engine.load("erased", users)
    is_before = "AND plays.played_at <= erased.erased_at" if "played_at" in plays.columns else ""
    engine.execute(f"DELETE FROM plays USING erased WHERE plays.user_id = erased.user_id {is_before}")  # noqa: S608 - ours
    engine.drop("erased")


def read_songs(engine: Engine, source: SourceTable) -> ir.Table:
    """The songs as the stored table `catalogue`. Raises: InvalidSource naming the column, row and value at fault."""
    _demand_kinds(source, SONG_COLUMNS, pointer="/songs")
    plain = IDS | NUMBERS | {ColumnKind.BOOLEAN}
    kinds: dict[str, ColumnKind] = {
        name: kind if kind in plain else ColumnKind.TEXT
        for name, kind in source.columns.items()
        if name and name.casefold() not in OURS and kind is not ColumnKind.OTHER
    }
    reading = Reading(source, kinds, "/songs")
    songs = _load(engine, reading, name="catalogue", normal=_normal_song)
    _check(engine, reading, songs, normal=_normal_song, demands=[_id_demand("song_id")])
    twice = songs.group_by("song_id").agg(n=songs.count()).filter(lambda t: t.n > 1)
    named = engine.rows(twice.agg(song_id=twice.song_id.min(), n=twice.count()))[0]
    if named["n"]:
        raise InvalidSource(
            f"Ids must be unique in the songs table: {named['n']} are there more than once, "
            f"{_shown(named['song_id'])} the first of them.",
            pointer="/songs",
        )
    return songs


def _demand_kinds(source: SourceTable, wanted: dict[str, frozenset[ColumnKind]], *, pointer: str) -> None:
    for name, allowed in wanted.items():
        kind = source.columns.get(name)
        if source.format == "parquet" and kind is not None and kind not in allowed:
            told = " or ".join(sorted(each.value for each in allowed))
            raise InvalidSource(f"Column {name} holds {kind.value}; it must hold {told}.", pointer=pointer)


def _load(engine: Engine, reading: Reading, *, name: str, normal: Callable[[ir.Table], ir.Table]) -> ir.Table:
    try:
        return engine.store(name, normal(_view(engine, reading, name=f"{name}_source")))
    except duckdb.Error as error:
        raise InvalidSource(_told(error, reading.source), pointer=reading.pointer) from error


def _view(engine: Engine, reading: Reading, *, name: str) -> ir.Table:
    """The file's wanted columns; `file_row`, where wanted, counts its rows from 1."""
    source = reading.source
    path = literal(str(source.path.absolute()))
    if source.format == "csv":
        every = {column: f"c{i}" for i, column in enumerate(source.columns)}
        columns = ", ".join(f"'{column}': 'VARCHAR'" for column in every.values())
        scan = (
            f"read_csv({path}, columns={{{columns}}}, header=true, auto_detect=false, delim=',', quote='\"', "
            "escape='\"', nullstr='', strict_mode=true, null_padding=false, compression='none')"
        )
        picked = [f"{every[column]} AS {quoted(column)}" for column in reading.kinds if column != FILE_ROW]
    else:
        scan = f"read_parquet({path}, hive_partitioning=false)"
        picked = [
            f"{_in_kind(quoted(column), source.columns[column], kind)} AS {quoted(column)}"
            for column, kind in reading.kinds.items()
            if column != FILE_ROW
        ]
    if FILE_ROW in reading.kinds:
        picked.append(f"row_number() OVER () AS {FILE_ROW}")
    view = f"CREATE OR REPLACE VIEW {quoted(name)} AS SELECT {', '.join(picked)} FROM {scan}"  # noqa: S608 - all quoted
    engine.execute(view)
    return ibis.table({column: IBIS_TYPES[kind] for column, kind in reading.kinds.items()}, name=name)


def _in_kind(column: str, stored: ColumnKind, wanted: ColumnKind) -> str:
    """SQL for a Parquet column in the kind that the expressions expect."""
    if wanted is ColumnKind.TEXT:
        return f"array_to_string({column}, ', ')" if stored is ColumnKind.TEXTS else f"CAST({column} AS VARCHAR)"
    if wanted is ColumnKind.INTEGER:
        return column
    types = {
        ColumnKind.NUMBER: "DOUBLE",
        ColumnKind.BOOLEAN: "BOOLEAN",
        ColumnKind.INSTANT: "TIMESTAMP",
        ColumnKind.ZONED_INSTANT: "TIMESTAMPTZ",
    }
    return f"CAST({column} AS {types[wanted]})"


def _normal_play(raw: ir.Table) -> ir.Table:
    """The source's columns as ids, milliseconds and numbers; what cannot be read is null (-1 for seconds streamed)."""
    normal: dict[str, ir.Value] = {}
    for name in raw.columns:
        column = raw[name]
        if name == "played_at":
            normal[name] = _epoch_ms(column)
        elif name == "position":
            normal[name] = _number(column)
        elif name == "seconds_streamed":
            unknown = column.isnull() | column.isnan() if column.type().is_floating() else column.isnull()
            normal[name] = ibis.cases((unknown, ibis.null("float64")), else_=_number(column).fill_null(-1.0))
        elif name == FILE_ROW:
            normal[name] = column
        else:
            normal[name] = column.cast("string")
    return raw.select(**normal)


def _normal_song(raw: ir.Table) -> ir.Table:
    normal = {name: raw[name].nullif("") if raw[name].type().is_string() else raw[name] for name in raw.columns}
    normal["song_id"] = raw.song_id.cast("string")
    for name in ("title", "artist"):
        normal.setdefault(name, ibis.null("string"))
    return raw.select(**normal)


def _number(column: ir.Value) -> ir.Value:
    """The column as float64, null where it is no number.

    Text is matched before it is cast: DuckDB moves a bare TRY_CAST into its CSV reader and fails there as CAST would.
    """
    if column.type().is_string():
        return ibis.cases((column.re_search(NUMBER), column.try_cast("float64")))
    return column.try_cast("float64")


def _epoch_ms(column: ir.Value) -> ir.Value:
    """The column as int64 epoch milliseconds, null where it is no time."""
    if column.type().is_integer():
        return column.try_cast("int64")
    if column.type().is_timestamp():
        return _epoch_us(column) // 1000
    iso = column.replace(",", ".").try_cast("timestamp('UTC')")
    return ibis.cases(
        (column.re_search(WHOLE_NUMBER), column.try_cast("int64")),
        (column.re_search(ISO_INSTANT), _epoch_us(iso) // 1000),
    )


def _id_demand(name: str) -> Demand:
    return Demand(
        name, lambda t: t[name].length().between(1, MAX_ID_LENGTH), f"an id of 1 to {MAX_ID_LENGTH} characters"
    )


def _play_demands(kinds: dict[str, ColumnKind]) -> list[Demand]:
    demands = [_id_demand(name) for name in ("song_id", "session_id", "user_id") if name in kinds]
    if "played_at" in kinds:
        told = "a time: ISO-8601 with date and time, or integer epoch milliseconds, from 1970 on"
        demands.append(Demand("played_at", lambda t: t.played_at.between(0, LAST_MS), told))
    if "position" in kinds:
        demands.append(Demand("position", lambda t: t.position.between(-1e300, 1e300), "a number"))
    if "seconds_streamed" in kinds:
        demands.append(
            Demand(
                "seconds_streamed",
                lambda t: t.seconds_streamed.isnull() | t.seconds_streamed.between(0, 1e300),
                "a number of at least 0",
            )
        )
    return demands


def _check(
    engine: Engine,
    reading: Reading,
    table: ir.Table,
    *,
    normal: Callable[[ir.Table], ir.Table],
    demands: list[Demand],
) -> None:
    """Refuse the file at the first row that does not meet a demand."""
    bad = {demand.column: (~demand.is_met(table).fill_null(False)).sum() for demand in demands}
    counts = engine.rows(table.agg(n_rows=table.count(), **bad))[0]
    if counts["n_rows"] == 0:
        raise InvalidSource("The file has no rows.", pointer=reading.pointer)
    for demand in demands:
        if counts[demand.column]:
            numbered = Reading(reading.source, {**reading.kinds, FILE_ROW: ColumnKind.INTEGER}, reading.pointer)
            raw = _view(engine, numbered, name="numbered_source")
            first = _first_refused(engine, raw, normal=normal, demand=demand)
            raise InvalidSource(
                f"Column {demand.column}, row {first[FILE_ROW]}: {_shown(first['value'])} is not {demand.told}"
                f" ({counts[demand.column]} of {counts['n_rows']} rows are like that).",
                pointer=reading.pointer,
            )


def _first_refused(
    engine: Engine, raw: ir.Table, *, normal: Callable[[ir.Table], ir.Table], demand: Demand
) -> dict[str, Any]:
    normalised = normal(raw)
    refused = normalised.filter(~demand.is_met(normalised).fill_null(False))
    first = engine.rows(refused.agg(file_row=refused.file_row.min()))[0][FILE_ROW]
    found = raw.filter(raw.file_row == first).select(value=raw[demand.column].cast("string"))
    return {FILE_ROW: first, **engine.rows(found)[0]}


def _refuse_seconds(engine: Engine, plays: ir.Table) -> None:
    span = engine.rows(plays.agg(first=plays.played_at.min(), last=plays.played_at.max()))[0]
    if SECONDS[0] <= span["first"] and span["last"] < SECONDS[1]:
        raise InvalidSource(
            f"Column played_at seems to hold seconds ({span['first']} to {span['last']}); integers must be epoch"
            " milliseconds.",
            pointer="/plays",
        )


def _shown(value: str | None) -> str:
    if value is None:
        return "an empty value"
    return repr(value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…")


def _told(error: duckdb.Error, source: SourceTable) -> str:
    """What DuckDB found wrong, in a sentence without its advice on options."""
    text = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", text)
    at = f" at line {line[1]}" if line else ""
    columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
    if columns:
        return f"The CSV file is malformed or cut short{at}: {columns[2]} values where the header has {columns[1]}."
    if "unterminated quote" in text:
        return f"The CSV file is malformed or cut short{at}: a quote is not closed."
    if "unicode" in text:
        return f"The CSV file is not UTF-8{at}."
    if source.format == "csv":
        return f"The CSV file cannot be read{at}."
    return "The Parquet file cannot be read: it is damaged or cut short."
