"""Run Ibis expressions on DuckDB, out of core.

Tables live in a database file in the given folder, sorts and joins spill beside it, and results leave in Arrow batches.
Expressions are compiled by Ibis and run on DuckDB's own connection, for Ibis 12 still calls methods that DuckDB 2
deprecates. No extension is ever fetched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from app.domain.errors import StorageFull

BATCH_ROWS = 65_536


class Engine:
    """One DuckDB database that keeps what expressions give under a name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def store(self, name: str, expression: ir.Table) -> ir.Table:
        """Compute the expression into the table `name`, to be read any number of times.

        Raises: MemoryError, StorageFull, duckdb.Error.
        """
        self.execute(f"CREATE TABLE {quoted(name)} AS {ibis.to_sql(expression, dialect='duckdb')}")
        return ibis.table(expression.schema(), name=name)

    def load(self, name: str, rows: pa.Table) -> None:
        """Store rows as the table `name`. Raises: MemoryError, StorageFull, duckdb.Error."""
        with _translated():
            self._connection.from_arrow(rows).create(name)

    def drop(self, name: str) -> None:
        """Give back the space of a stored table."""
        self.execute(f"DROP TABLE {quoted(name)}")

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """All rows of a small result; sums of integers, which DuckDB widens to 128 bits, are `int` again."""
        return [
            {name: int(value) if isinstance(value, Decimal) else value for name, value in row.items()}
            for batch in self.batches(expression)
            for row in batch.to_pylist()
        ]

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """The result in batches of at most 65,536 rows; read it to the end before running anything else."""
        with _translated():
            result = self._connection.sql(str(ibis.to_sql(expression, dialect="duckdb")))
            yield from result.to_arrow_reader(BATCH_ROWS)

    def execute(self, sql: str) -> None:
        """Run one statement. Raises: MemoryError, StorageFull, duckdb.Error."""
        with _translated():
            self._connection.execute(sql)


@contextmanager
def open_engine(folder: Path, *, memory_limit: str, threads: int) -> Iterator[Engine]:
    """An engine whose files are all in `folder`, closed on leaving; `memory_limit` as DuckDB writes it (`2GB`)."""
    with _translated():
        connection = duckdb.connect(
            folder / "preparing.duckdb",
            config={
                "memory_limit": memory_limit,
                "threads": threads,
                "temp_directory": str(folder / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield Engine(connection)
    finally:
        connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Names a full disk, which DuckDB tells in errors of several classes, and memory that does not suffice."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        if any(sign in text for sign in ("No space left", "Could not write", "max_temp_directory_size")):
            raise StorageFull("No space is left for preparing the dataset.") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise MemoryError("Preparing the dataset needs more memory than DuckDB may use.") from error
        raise


def quoted(name: str) -> str:
    """The name as an SQL identifier.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL string.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
