"""Files of a simulation: songs, plays and exposures, Parquet or CSV, written a day of some listeners at a time."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.simulation.rows import EXPOSURES, PLAYS, SONGS, Names, exposures_table, plays_table, songs_table
from app.simulation.scenario import Scenario, World

Format = Literal["parquet", "csv"]

Write = Callable[[pa.Table], None]

USERS_AT_ONCE = 50_000
"""Listeners whose days are held in memory: a few hundred megabytes."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows of each kind, and how many exposures a sample-ratio fault lost."""

    n_plays: int
    n_exposures: int
    n_lost: int


def write(
    scenario: Scenario,
    folder: Path,
    *,
    kind: Format,
    console: Console,
    names: Names | None = None,
    users_at_once: int = USERS_AT_ONCE,
) -> Written:
    """Write `songs`, `plays` and `exposures` into a folder; each is there whole or not at all. Raises: OSError."""
    named = Names() if names is None else names
    n_plays = n_exposures = n_lost = 0
    blocks = _blocks(scenario, users_at_once)
    songs = World.of(blocks[0]).songs
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".simulated-") as name:
        staged = Path(name)
        with _written(staged / f"songs.{kind}", SONGS) as keep:
            keep(songs_table(songs, [each.name for each in scenario.languages]))
        with (
            _bar(console, len(blocks) * (scenario.days_before + scenario.days)) as advance,
            _written(staged / f"plays.{kind}", PLAYS) as keep_plays,
            _written(staged / f"exposures.{kind}", EXPOSURES) as keep_exposures,
        ):
            for number, block in enumerate(blocks):
                world, own = World.of(block, songs=songs), replace(named, first_user=number * users_at_once)
                for place, plays in enumerate(world.days()):
                    keep_plays(plays_table(plays, world, day=place, names=own))
                    n_plays += len(plays)
                    advance()
                exposures = exposures_table(world, names=own)
                keep_exposures(exposures)
                n_exposures += exposures.num_rows
                n_lost += int((world.exposed_at_ms >= 0).sum()) - exposures.num_rows
        for path in sorted(staged.iterdir()):
            path.replace(folder / path.name)
    return Written(n_plays, n_exposures, n_lost)


def _blocks(scenario: Scenario, users_at_once: int) -> list[Scenario]:
    """The same for some listeners at a time, each with draws of its own: memory does not grow with their number."""
    starts = range(0, scenario.n_users, users_at_once)
    seeds = np.random.SeedSequence(scenario.seed).generate_state(len(starts), np.uint64) >> 12  # exact in a double too
    return [
        replace(
            scenario,
            n_users=min(users_at_once, scenario.n_users - start),
            seed=scenario.seed if start == 0 else int(seeds[place]),
        )
        for place, start in enumerate(starts)
    ]


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
