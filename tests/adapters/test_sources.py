from pathlib import Path

import pyarrow as pa
import pytest

from app.adapters.sources import ColumnKind, inspect, recognise
from app.domain.errors import InvalidSource
from tests.adapters.prepared import write

PLAYS = {"user_id": ["u1", "u1", "u2"], "song_id": ["a", "b", "c"], "played_at": ["2024-05-01T20:15:00Z"] * 3}
HEADER = b"song_id,session_id\n"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return write(PLAYS, tmp_path / "plays.parquet")


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "unnamed"
    path.write_bytes(content)
    return path


def test_parquet_is_recognised_whatever_its_name(parquet: Path) -> None:
    assert recognise(parquet.rename(parquet.with_suffix(".csv"))) == "parquet"


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"a,1\nb,1\n",
        HEADER + b"a,1\r\nb,1",
        b"\xef\xbb\xbf" + HEADER + b"a,1\n",
        b'"song_id","session_id"\r\n"a,b",1\r\n',
        HEADER,
        b",song_id,session_id\n0,a,1\n",
        "song_id,title\na,Émile\n".encode(),
    ],
    ids=["lf", "crlf without an end", "byte order mark", "quoted", "header alone", "index column", "accents"],
)
def test_csv_is_recognised(tmp_path: Path, content: bytes) -> None:
    assert recognise(file_of(tmp_path, content)) == "csv"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00" + bytes(100), "neither"),
        (b"\xff\xfe" + "song_id,session_id\n".encode("utf-16-le"), "neither"),
        (HEADER + b"caf\xe9,1\n", "UTF-8"),
        (b"{}\n", "neither"),
        (b"track,session_id\na,1\n", "song_id"),
        (b"song_id;session_id\na;1\n", "commas"),
        (b"song_id,session_id,song_id\na,1,a\n", "twice"),
        (b"song_id,title,Title\na,1,a\n", "twice"),
        (b'song_id,"session_id\n', "header"),
        (b"PAR1", "cut short"),
        (b"PAR1" + bytes(100) + b"PAR1", "footer"),
        (b"song_id,sess", "cut short"),
    ],
)
def test_anything_else_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidSource, match=reason) as refused:
        recognise(file_of(tmp_path, content), pointer="/plays")
    assert refused.value.pointer == "/plays"


@pytest.mark.parametrize("n_missing", [1, 4, 8, 100])
def test_parquet_cut_short_is_refused(parquet: Path, n_missing: int) -> None:
    parquet.write_bytes(parquet.read_bytes()[:-n_missing])
    with pytest.raises(InvalidSource, match="cut short"):
        recognise(parquet)


@pytest.mark.parametrize("name", ["missing", "."])
def test_file_that_cannot_be_read_is_refused_without_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSource, match="cannot be read") as refused:
        recognise(tmp_path / name)
    assert str(tmp_path) not in str(refused.value)


def test_parquet_without_song_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="song_id"):
        recognise(write({"track": ["a"]}, tmp_path / "plays.parquet"))


@pytest.mark.parametrize("n_missing", range(2, 21))
def test_csv_cut_inside_its_last_value_is_refused(tmp_path: Path, n_missing: int) -> None:
    line = b"u1,a,2024-05-01T20:15:00Z\n"
    content = b"user_id,song_id,played_at\n" + 3 * line
    with pytest.raises(InvalidSource, match="cut short"):
        recognise(file_of(tmp_path, content[:-n_missing]))


def test_large_csv_without_a_last_line_break_is_recognised(tmp_path: Path) -> None:
    content = b"song_id,played_at\n" + 5_000 * b"a,2024-05-01T20:15:00Z\n"
    assert recognise(file_of(tmp_path, content[:-1])) == "csv"


def test_character_on_the_edge_of_what_is_looked_at_is_no_error(tmp_path: Path) -> None:
    content = b"song_id,t\n" + 30_000 * "é,é\n".encode()
    assert recognise(file_of(tmp_path, content)) == "csv"


def test_columns_have_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "song_id": pa.array(["a"]).dictionary_encode(),
            "n": pa.array([1], pa.uint8()),
            "x": pa.array([1.5], pa.float32()),
            "is_live": [True],
            "at": pa.array([0], pa.timestamp("ms")),
            "zoned_at": pa.array([0], pa.timestamp("ns", tz="Europe/Paris")),
            "released": pa.array([0], pa.date32()),
            "tags": [["a", "b"]],
            "raw": [b"a"],
            "nothing": pa.nulls(1),
            "pair": [{"a": 1}],
        }
    )
    assert inspect(write(table, tmp_path / "songs.parquet")).columns == {
        "song_id": ColumnKind.TEXT,
        "n": ColumnKind.INTEGER,
        "x": ColumnKind.NUMBER,
        "is_live": ColumnKind.BOOLEAN,
        "at": ColumnKind.INSTANT,
        "zoned_at": ColumnKind.ZONED_INSTANT,
        "released": ColumnKind.DAY_OR_TIME,
        "tags": ColumnKind.TEXTS,
        "raw": ColumnKind.OTHER,
        "nothing": ColumnKind.OTHER,
        "pair": ColumnKind.OTHER,
    }


def test_recognising_needs_neither_ibis_nor_duckdb() -> None:
    import subprocess
    import sys

    program = "import sys, app.adapters.sources; sys.exit(bool({'ibis', 'duckdb', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
