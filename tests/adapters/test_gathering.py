"""A file's plays and those that were sent become one file of plays."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.adapters.gathering import gathered
from app.adapters.sources import inspect
from app.domain.plays import Play

CSV = "user_id,song_id,played_at\n1,a,2026-01-01T12:00:00Z\n1,a,2026-01-01T12:00:00Z\n2,b,2026-01-01T12:05:00Z\n"
AT = 1_767_268_800_000


def sent(*plays: tuple[str, str, int]) -> Iterator[list[Play]]:
    for number, (user_id, song_id, at) in enumerate(plays):
        yield [Play(event_id=str(number), user_id=user_id, song_id=song_id, played_at_ms=at)]


def test_both_are_there_and_what_the_file_has_already_counts_once(tmp_path: Path) -> None:
    source, out = tmp_path / "plays.csv", tmp_path / "out.parquet"
    source.write_text(CSV)
    late = ("1", "c", AT + 7)
    assert gathered(source, sent(("1", "a", AT), late, late), out, erased={}, memory_limit="500MB") == 1
    rows = [tuple(row.values()) for row in pq.read_table(out).to_pylist()]
    assert sorted(rows) == [("1", "a", AT), ("1", "a", AT), late, ("2", "b", AT + 300_000)]
    assert {"user_id", "song_id", "played_at"} == set(inspect(out).columns)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("columns", ["session_id,song_id", "user_id,song_id,played_at,position"])
def test_plays_whose_sessions_or_places_the_file_names_are_joined_by_none(tmp_path: Path, columns: str) -> None:
    source, out = tmp_path / "plays.csv", tmp_path / "out.parquet"
    source.write_text(f"{columns}\n")
    assert gathered(source, sent(("1", "a", AT)), out, erased={}, memory_limit="500MB") is None
    assert not out.exists()


def test_without_any_sent_there_is_no_file(tmp_path: Path) -> None:
    source, out = tmp_path / "plays.csv", tmp_path / "out.parquet"
    source.write_text(CSV)
    assert gathered(source, sent(), out, erased={}, memory_limit="500MB") is None
    assert not out.exists()


def test_an_erased_users_plays_of_before_are_left_out_though_nothing_of_the_file_is_left(tmp_path: Path) -> None:
    source, out = tmp_path / "plays.csv", tmp_path / "out.parquet"
    source.write_text(CSV)
    late = ("1", "c", AT + 7)
    assert gathered(source, sent(late), out, erased={"1": AT, "2": AT + 300_000}, memory_limit="500MB") == 1
    assert [tuple(row.values()) for row in pq.read_table(out).to_pylist()] == [late]
