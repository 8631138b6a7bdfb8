"""Files of a simulation: songs, plays and exposures, Parquet or CSV, written a day at a time."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.simulation.rows import EXPOSURES, PLAYS, SONGS, Names, exposures_table, plays_table, songs_table
from app.simulation.scenario import Scenario, World

Format = Literal["parquet", "csv"]

Write = Callable[[pa.Table], None]


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows of each kind, and how many exposures a sample-ratio fault lost."""

    n_plays: int
    n_exposures: int
    n_lost: int


def write(scenario: Scenario, folder: Path, *, kind: Format, console: Console, names: Names | None = None) -> Written:
    """Write `songs`, `plays` and `exposures` into a folder; each is there whole or not at all. Raises: OSError."""
    named = Names() if names is None else names
    world = World.of(scenario)
    n_plays = 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".simulated-") as name:
        staged = Path(name)
        _write_one(
            staged / f"songs.{kind}", songs_table(world.songs, [each.name for each in scenario.languages]), SONGS
        )
        with (
            _bar(console, scenario.days_before + scenario.days) as advance,
            _written(staged / f"plays.{kind}", PLAYS) as keep,
        ):
            for place, plays in enumerate(world.days()):
                keep(plays_table(plays, world, day=place, names=named))
                n_plays += len(plays)
                advance()
        exposures = exposures_table(world, names=named)
        _write_one(staged / f"exposures.{kind}", exposures, EXPOSURES)
        for path in sorted(staged.iterdir()):
            path.replace(folder / path.name)
    n_all = int((world.exposed_at_ms >= 0).sum())
    return Written(n_plays, exposures.num_rows, n_all - exposures.num_rows)


def _write_one(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    with _written(path, schema) as keep:
        keep(table)


@contextmanager
def _written(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """What takes tables one after the other."""
    with ExitStack() as stack:
        if path.suffix == ".parquet":
            writer = stack.enter_context(pq.ParquetWriter(path, schema))
            yield writer.write_table
        else:
            stack.enter_context(closing(writer := pa_csv.CSVWriter(path, schema)))
            yield writer.write


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("days", total=total)
        yield lambda: progress.advance(bar)
