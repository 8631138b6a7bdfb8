"""Tables that are mapped: the same values, used where they lie, and no other when the file is damaged."""

from pathlib import Path

import pyarrow as pa
import pytest

from app.adapters.mapped_tables import map_table, whole, write_table
from app.domain.errors import DamagedArtifact

TABLE = pa.table(
    {
        "title": pa.chunked_array([["a", None], ["é", ""]]),
        "n_plays": pa.array([3, 2, 1, None], pa.int64()),
        "is_live": [True, False, None, True],
    }
)


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(1, 2), TABLE.slice(4)], ids=["whole", "slice", "no rows"])
def test_what_is_written_is_read(tmp_path: Path, table: pa.Table) -> None:
    write_table(table, tmp_path / "table.arrow")
    read = map_table(tmp_path / "table.arrow", {"title"})
    assert read.to_pylist() == table.to_pylist()
    assert read.schema.types == [pa.large_string(), pa.int64(), pa.bool_()]


def test_it_is_used_where_it_lies(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "table.arrow")
    before = pa.total_allocated_bytes()
    column = map_table(tmp_path / "table.arrow", ()).column("title")
    assert whole(column).to_pylist() == ["a", None, "é", ""]
    assert pa.total_allocated_bytes() == before


def test_columns_in_parts_are_put_together() -> None:
    assert whole(TABLE.column("title")).to_pylist() == ["a", None, "é", ""]


def test_a_missing_column_or_file_is_damage(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "table.arrow")
    with pytest.raises(DamagedArtifact, match="lacks columns"):
        map_table(tmp_path / "table.arrow", {"artist"})
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        map_table(tmp_path / "other.arrow", ())


def test_no_byte_that_is_changed_or_missing_leads_out_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.arrow"
    write_table(TABLE, path)
    sound = path.read_bytes()
    damaged = [sound[:length] for length in range(0, len(sound), 7)]
    damaged += [sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :] for at in range(len(sound))]
    n_refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            map_table(path, {"title"}).to_pylist()
        except DamagedArtifact:
            n_refused += 1
    assert n_refused > len(damaged) / 4
