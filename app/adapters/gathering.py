"""Gather the plays of a file and those that were sent since into one file of plays.

Only plays with `user_id` and `played_at`, and neither `session_id` nor `position`, can be joined by what is sent: it
says neither which session of the file it belongs to, nor at which place. A play that both have counts once.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.adapters.disk import naming_a_full_disk
from app.adapters.duckdb_engine import literal, open_engine
from app.adapters.reading import forget, read_plays
from app.adapters.sources import inspect
from app.domain.plays import Play

SCHEMA = pa.schema({"user_id": pa.string(), "song_id": pa.string(), "played_at": pa.int64()})


def gathered(
    source: Path,
    sent: Iterator[list[Play]],
    out: Path,
    *,
    erased: Mapping[str, int],
    memory_limit: str,
    threads: int = 1,
) -> int | None:
    """Write the plays of both to `out`, as Parquet; how many that were sent the file did not have.

    Of the file those of users who are `erased` are left out, up to an instant in epoch milliseconds.

    None, and no file, when they cannot be joined or none were sent. Raises: InvalidSource, StorageFull, MemoryError.
    """
    table = inspect(source, pointer="/plays")
    columns = set(table.columns)
    if not {"user_id", "played_at"} <= columns or columns & {"session_id", "position"}:
        return None
    working = Path(tempfile.mkdtemp(prefix="gathering-", dir=out.parent))
    try:
        with naming_a_full_disk():
            if _written(sent, working / "sent.parquet") == 0:
                return None
            with open_engine(working, memory_limit=memory_limit, threads=threads) as engine:
                plays = read_plays(engine, table)
                forget(engine, plays, erased)
                (counted,) = engine.rows(plays.agg(n=plays.count()))
                names = ", ".join(SCHEMA.names)
                later = f"read_parquet({literal(str(working / 'sent.parquet'))})"
                engine.execute(
                    f"COPY (SELECT {names} FROM plays UNION ALL SELECT {names} FROM "  # noqa: S608 - names of ours
                    f"(SELECT DISTINCT * FROM {later}) ANTI JOIN plays USING ({names})) "
                    f"TO {literal(str(out))} (FORMAT parquet)"
                )
        return int(pq.read_metadata(out).num_rows) - int(counted["n"])
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _written(sent: Iterator[list[Play]], path: Path) -> int:
    n_written = 0
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for plays in sent:
            columns = [
                [play.user_id for play in plays],
                [play.song_id for play in plays],
                [play.played_at_ms for play in plays],
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            n_written += len(plays)
    return n_written
