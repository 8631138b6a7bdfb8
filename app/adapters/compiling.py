"""Write chosen sessions as a compiled dataset: vocabulary, segments, split, arrays and histories.

- Vocabulary: the songs of the chosen sessions by (plays descending, song id).
- A session's segment is the one that more than half of its songs have, counting a song as often as it was played, else
  `mixed`; a song that has none, or is not in the songs table, is of segment `unknown`. Segments are numbered by name.
- Each session gives one pair, its last two songs. The test set is the `test_fraction` of the sessions whose targets
  were played last (ties by session key); without times, those whose keys have the largest md5. Both sets keep one
  session wherever there are two.
- A history is the last 200 plays of a user in the whole source, sampled or not, of songs in the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.adapters.corpus import ArrayWriter
from app.adapters.duckdb_engine import Engine
from app.adapters.filtering import Chosen
from app.adapters.sessions import Listening
from app.domain.errors import InvalidSource
from app.domain.listening import MAX_ID_LENGTH, MIXED, UNKNOWN, Split

HISTORY_LENGTH = 200
MAX_SEGMENTS = 256
"""Segments a dataset may have: each is measured and stored with every trial."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Stored tables behind the arrays: `sessions` (index, user_id, n, segment, is_test) and `vocabulary`."""

    sessions: ir.Table
    vocabulary: ir.Table
    segments: tuple[str, ...]


def compile_vocabulary(engine: Engine, listening: Listening, chosen: Chosen) -> ir.Table:
    """The stored table `vocabulary`: song, row, song_id, n_plays."""
    counts = chosen.events.group_by("song").agg(n_plays=chosen.events.count()).join(listening.songs, "song")
    order = [counts.n_plays.desc(), counts.song_id.asc()]
    return engine.store("vocabulary", counts.mutate(row=ibis.row_number().over(ibis.window(order_by=order))))


def compile_sessions(
    engine: Engine,
    listening: Listening,
    chosen: Chosen,
    *,
    vocabulary: ir.Table,
    split: Split,
    catalogue: ir.Table | None,
    segment_by: str | None,
) -> Compiled:
    """Give every chosen session its segment and its side of the split.

    Raises: InvalidSource when the songs have too many segments.
    """
    segments: tuple[str, ...] = ()
    numbered = chosen.sessions.mutate(segment=ibis.literal(0, "int32"))
    if catalogue is not None and segment_by is not None:
        of_song = segments_of_songs(vocabulary, catalogue, segment_by)
        of_session = engine.store("session_segments", segments_of_sessions(chosen, of_song))
        names = of_session.select("name").distinct()
        segments = _segment_names(engine, names)
        numbers = names.mutate(segment=ibis.row_number().over(ibis.window(order_by=names.name.asc())))
        numbered = chosen.sessions.join(of_session, "index").join(numbers, "name")
    n_test = n_test_sessions(chosen.n_sessions, split.test_fraction)
    placed = rank_for_test(numbered, chosen.events, has_times=listening.has_times)
    sessions = placed.select("index", "user_id", "n", "segment", is_test=placed.test_rank < n_test)
    return Compiled(engine.store("compiled_sessions", sessions), vocabulary, segments)


def segments_of_songs(vocabulary: ir.Table, catalogue: ir.Table, segment_by: str) -> ir.Table:
    """The segment's name of every song in the vocabulary: song, name."""
    known = catalogue.select(known_id=catalogue.song_id, value=catalogue[segment_by].cast("string").nullif(""))
    joined = vocabulary.left_join(known, vocabulary.song_id == known.known_id)
    return joined.select("song", name=joined.value.fill_null(UNKNOWN))


def segments_of_sessions(chosen: Chosen, of_song: ir.Table) -> ir.Table:
    """The segment's name of every session: index, name."""
    played = chosen.events.join(of_song, "song")
    counts = played.group_by("index", "name").agg(n_songs=played.count())
    joined = counts.join(chosen.sessions.select("index", "n"), "index")
    winners = joined.filter(2 * joined.n_songs > joined.n).select(winner=joined.index, name=joined.name)
    sessions = chosen.sessions.select("index").left_join(winners, chosen.sessions.index == winners.winner)
    return sessions.select("index", name=sessions.name.fill_null(MIXED))


def n_test_sessions(n_sessions: int, test_fraction: float) -> int:
    """How many sessions are the test set: the nearest whole number that leaves either set one, where there are two.

    >>> [n_test_sessions(n, 0.3) for n in (1, 2, 10)]
    [0, 1, 3]
    """
    return max(min(int(n_sessions * test_fraction + 0.5), n_sessions - 1), min(1, n_sessions - 1))


def rank_for_test(sessions: ir.Table, events: ir.Table, *, has_times: bool) -> ir.Table:
    """The sessions with `test_rank`: 0 for the one that is the first to be in the test set."""
    if has_times:
        targets = events.group_by("index").agg(target_ms=events.played_at.argmax(events.place))
        sessions = sessions.join(targets, "index")
        order = [sessions.target_ms.desc(), sessions.session_key.desc()]
    else:
        order = [sessions.session_key.hexdigest("md5").desc(), sessions.session_key.desc()]
    return sessions.mutate(test_rank=ibis.row_number().over(ibis.window(order_by=order)))


def _segment_names(engine: Engine, names: ir.Table) -> tuple[str, ...]:
    found = [row["name"] for row in engine.rows(names.order_by("name").limit(MAX_SEGMENTS + 1))]
    if len(found) > MAX_SEGMENTS:
        raise InvalidSource(f"The songs fall into more than {MAX_SEGMENTS} segments.", pointer="/segment_by")
    for name in found:
        if len(name) > MAX_ID_LENGTH or "\0" in name:
            raise InvalidSource(f"{name[:80]!r} cannot name a segment.", pointer="/segment_by")
    return tuple(found)


def write_arrays(
    engine: Engine, chosen: Chosen, compiled: Compiled, *, folder: Path, on_fraction: Callable[[float], None]
) -> None:
    """Write plays, offsets, segments and pairs. `on_fraction` hears how far the plays are."""
    rows = chosen.events.join(compiled.vocabulary.select("song", "row"), "song")
    plays = rows.order_by("index", "place").select("row")
    with ArrayWriter(folder / "plays.npy", dtype=np.int32, shape=(chosen.n_plays,)) as writer:
        n_written = 0
        for batch in engine.batches(plays):
            writer.append(_numbers(batch, "row"))
            n_written += batch.num_rows
            on_fraction(n_written / chosen.n_plays)
    sessions = compiled.sessions
    n_test = engine.rows(sessions.agg(n=sessions.is_test.sum()))[0]["n"]
    _write_sessions(engine, sessions, n_sessions=chosen.n_sessions, n_test=n_test, folder=folder)


def _write_sessions(engine: Engine, sessions: ir.Table, *, n_sessions: int, n_test: int, folder: Path) -> None:
    plays = np.load(folder / "plays.npy", mmap_mode="r", allow_pickle=False)
    with (
        ArrayWriter(folder / "offsets.npy", dtype=np.int64, shape=(n_sessions + 1,)) as offsets,
        ArrayWriter(folder / "session_segments.npy", dtype=np.int32, shape=(n_sessions,)) as segments,
        ArrayWriter(folder / "validation.npy", dtype=np.int32, shape=(n_sessions - n_test, 3)) as validation,
        ArrayWriter(folder / "test.npy", dtype=np.int32, shape=(n_test, 3)) as test,
    ):
        offsets.append(np.zeros(1, np.int64))
        end = 0
        for batch in engine.batches(sessions.order_by("index").select("n", "segment", "is_test")):
            ends = end + np.cumsum(_numbers(batch, "n"))
            end = int(ends[-1])
            segment = _numbers(batch, "segment")
            is_test = batch.column("is_test").to_numpy(zero_copy_only=False)
            pairs = np.stack([plays[ends - 2], plays[ends - 1], segment], axis=1)
            offsets.append(ends)
            segments.append(segment)
            validation.append(pairs[~is_test])
            test.append(pairs[is_test])


def write_songs(engine: Engine, vocabulary: ir.Table, catalogue: ir.Table | None, *, folder: Path) -> None:
    """Write `songs.parquet`: the vocabulary with what the songs table says of it."""
    if catalogue is None:
        songs = vocabulary.mutate(title=ibis.null("string"), artist=ibis.null("string"))
        extras: list[str] = []
    else:
        extras = [name for name in catalogue.columns if name not in {"song_id", "title", "artist"}]
        known = catalogue.rename(known_id="song_id").rename({f"known_{i}": name for i, name in enumerate(extras)})
        songs = vocabulary.left_join(known, vocabulary.song_id == known.known_id)
        songs = songs.mutate(**{name: songs[f"known_{i}"] for i, name in enumerate(extras)})
    ordered = songs.order_by("row").select("song_id", "title", "artist", "n_plays", *extras)
    _write_parquet(engine, ordered, folder / "songs.parquet")


def write_histories(engine: Engine, listening: Listening, vocabulary: ir.Table, *, folder: Path) -> None:
    """Write what each user heard last; nothing when the plays name no user or no time."""
    has_histories = listening.has_users and listening.has_times
    users = listening.sessions.filter(listening.sessions.user_id.notnull() & ibis.literal(has_histories))
    heard = (
        listening.events.join(users.select("session", "user_id"), "session")
        .join(vocabulary.select("song", "row"), "song")
        .select("user_id", "played_at", "session", "place", "row")
    )
    latest = ibis.window(
        group_by="user_id", order_by=[heard[name].desc() for name in ("played_at", "session", "place")]
    )
    last = heard.mutate(back=ibis.row_number().over(latest)).filter(lambda t: t.back < HISTORY_LENGTH)
    history = engine.store("history", last.select("user_id", "back", "played_at", "row"))
    by_user = engine.store("history_users", history.group_by("user_id").agg(n=history.count()))
    _write_parquet(engine, by_user.order_by("user_id").select("user_id"), folder / "history_users.parquet")
    n_users, n_plays = (engine.rows(table.agg(n=table.count()))[0]["n"] for table in (by_user, history))
    with ArrayWriter(folder / "history_offsets.npy", dtype=np.int64, shape=(n_users + 1,)) as offsets:
        offsets.append(np.zeros(1, np.int64))
        end = 0
        for batch in engine.batches(by_user.order_by("user_id").select("n")):
            ends = end + np.cumsum(_numbers(batch, "n"))
            end = int(ends[-1])
            offsets.append(ends)
    ordered = history.order_by(history.user_id.asc(), history.back.desc())
    with (
        ArrayWriter(folder / "history_songs.npy", dtype=np.int32, shape=(n_plays,)) as songs,
        ArrayWriter(folder / "history_played_at.npy", dtype=np.int64, shape=(n_plays,)) as played_at,
    ):
        for batch in engine.batches(ordered.select("row", "played_at")):
            songs.append(_numbers(batch, "row"))
            played_at.append(_numbers(batch, "played_at"))


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _write_parquet(engine: Engine, expression: ir.Table, path: Path) -> None:
    """Write a result that may be large; a column without values is text."""
    writer: pq.ParquetWriter | None = None
    try:
        for batch in engine.batches(expression):
            if writer is None:
                writer = pq.ParquetWriter(path, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            writer = pq.ParquetWriter(path, expression.schema().to_pyarrow())
    finally:
        if writer is not None:
            writer.close()
