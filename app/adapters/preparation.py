"""Prepare a dataset: files of plays and songs in, a compiled dataset and its statistics out.

One chain of Ibis expressions (reading, sessions, filtering, compiling), run by DuckDB out of core; Python holds a batch
of rows at a time. The same content gives the same fingerprint whatever the file's format, row order or id types, and
whatever the number of threads.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.adapters.compiling import compile_sessions, compile_vocabulary, write_arrays, write_histories, write_songs
from app.adapters.corpus import write_artists, write_corpus
from app.adapters.disk import naming_a_full_disk
from app.adapters.duckdb_engine import Engine, open_engine
from app.adapters.filtering import choose_sessions
from app.adapters.reading import forget, read_plays, read_songs
from app.adapters.sessions import cut_sessions
from app.adapters.sources import ColumnKind, SourceTable, inspect
from app.adapters.statistics import gather_statistics
from app.domain.datasets import DatasetSpec, Statistics
from app.domain.errors import InvalidSource
from app.domain.lease import Progress

NOBODY: Mapping[str, int] = MappingProxyType({})

READING, CUTTING, CHOOSING, COMPILING, COUNTING = "reading", "cutting sessions", "filtering", "compiling", "counting"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation gives beside the files."""

    statistics: Statistics
    fingerprint: str


def prepare(
    *,
    plays: Path,
    songs: Path | None,
    spec: DatasetSpec,
    staged: Path,
    erased: Mapping[str, int] = NOBODY,
    temporary: Path | None = None,
    memory_limit: str,
    threads: int,
    on_progress: Callable[[Progress], None],
) -> Prepared:
    """Write the compiled dataset into the folder `staged`.

    `erased` holds users whose plays are left out, up to an instant in epoch milliseconds (all, where the file tells no
    instants).
    `temporary` (default: a folder inside `staged`) is made, filled and removed again, also on failure; the other files
    of a failed preparation are the caller's to remove with `staged`. `memory_limit` is DuckDB's (`2GB`).
    Raises: InvalidSource, StorageFull, MemoryError, and what `on_progress` raises.
    """
    play_source = inspect(plays, pointer="/plays")
    song_source = None if songs is None else inspect(songs, pointer="/songs")
    _demand_segment(song_source, spec.segment_by)
    working = temporary or staged / "preparing"
    try:
        working.mkdir(parents=True)
        with naming_a_full_disk(), open_engine(working, memory_limit=memory_limit, threads=threads) as engine:
            return _prepare(
                engine, play_source, song_source, spec=spec, staged=staged, erased=erased, on_progress=on_progress
            )
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _prepare(
    engine: Engine,
    play_source: SourceTable,
    song_source: SourceTable | None,
    *,
    spec: DatasetSpec,
    staged: Path,
    erased: Mapping[str, int],
    on_progress: Callable[[Progress], None],
) -> Prepared:
    on_progress(Progress(phase=READING, fraction=0.0))
    catalogue = None if song_source is None else read_songs(engine, song_source)
    plays = read_plays(engine, play_source)
    forget(engine, plays, erased)
    if erased and engine.rows(plays.agg(n=plays.count()))[0]["n"] == 0:
        raise InvalidSource("All of its users are erased.", pointer="/plays")
    on_progress(Progress(phase=CUTTING, fraction=0.3))
    listening = cut_sessions(engine, plays, gap_minutes=spec.preparation.session_gap_minutes)
    on_progress(Progress(phase=CHOOSING, fraction=0.6))
    chosen = choose_sessions(engine, listening, spec.preparation)
    on_progress(Progress(phase=COMPILING, fraction=0.7))
    vocabulary = compile_vocabulary(engine, listening, chosen)
    compiled = compile_sessions(
        engine,
        listening,
        chosen,
        vocabulary=vocabulary,
        split=spec.split,
        catalogue=catalogue,
        segment_by=spec.segment_by,
    )
    write_songs(engine, vocabulary, catalogue, folder=staged)
    write_artists(staged)
    write_arrays(
        engine,
        chosen,
        compiled,
        folder=staged,
        on_fraction=lambda done: on_progress(Progress(phase=COMPILING, fraction=0.75 + 0.1 * done)),
    )
    write_histories(engine, listening, vocabulary, folder=staged)
    on_progress(Progress(phase=COUNTING, fraction=0.95))
    statistics = gather_statistics(engine, chosen, compiled, folder=staged, has_users=listening.has_users)
    fingerprint = write_corpus(staged, segments=compiled.segments, split=spec.split)
    on_progress(Progress(phase=COUNTING, fraction=1.0))
    return Prepared(statistics, fingerprint)


def _demand_segment(songs: SourceTable | None, segment_by: str | None) -> None:
    if segment_by is None:
        return
    if songs is None:
        raise InvalidSource("segment_by needs a songs table, and none was given.", pointer="/segment_by")
    kind = songs.columns.get(segment_by)
    if kind is None:
        raise InvalidSource(f"The songs table has no column {segment_by!r} to segment by.", pointer="/segment_by")
    if kind in {ColumnKind.OTHER, ColumnKind.TEXTS}:
        raise InvalidSource(
            f"Column {segment_by!r} holds {kind.value}: it cannot name segments.", pointer="/segment_by"
        )
