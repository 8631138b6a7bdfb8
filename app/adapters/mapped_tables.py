"""Tables on disk as Arrow has them in memory: read by mapping, so that the servers of a machine share one copy.

One batch, nothing compressed, texts with offsets of 64 bits: what is read is used where it lies.
"""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from app.domain.errors import DamagedArtifact


def write_table(table: pa.Table, path: Path) -> None:
    """Write the table. Raises: OSError."""
    roomy = pa.schema(
        [
            field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field
            for field in table.schema.remove_metadata()
        ]
    )
    with path.open("wb") as file, pa.ipc.new_file(file, roomy) as writer:
        writer.write_table(table.cast(roomy).combine_chunks())


def map_table(path: Path, columns: Collection[str]) -> pa.Table:
    """The table, mapped. Raises: DamagedArtifact when it cannot be read or lacks any of the columns."""
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)  # once over all of it, so that no offset leads out of the file
        names = set(table.column_names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} cannot be read.") from error
    if not set(columns) <= names:
        raise DamagedArtifact(f"{path.parent.name}/{path.name} lacks columns.")
    return table


def whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece: itself, where it is one, for Arrow would copy it."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
