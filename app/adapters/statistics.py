"""Count what is in a compiled dataset, overall and by segment.

Length quantiles interpolate linearly between the two nearest sessions.
"""

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from app.adapters.compiling import Compiled
from app.adapters.duckdb_engine import Engine
from app.adapters.filtering import Chosen
from app.domain.datasets import Counts, LengthQuantiles, Statistics

ROWS_AT_ONCE = 1 << 20


def gather_statistics(
    engine: Engine, chosen: Chosen, compiled: Compiled, *, folder: Path, has_users: bool
) -> Statistics:
    """The statistics of what `write_arrays` wrote to the folder."""
    pairs = {
        name: _pair_counts(folder / f"{name}.npy", n_segments=len(compiled.segments)) for name in ("validation", "test")
    }
    overall = engine.rows(_length_counts(compiled.sessions))[0]
    overall |= engine.rows(compiled.vocabulary.agg(songs=compiled.vocabulary.count()))[0]
    segments: dict[str, Counts] = {}
    if compiled.segments:
        lengths = {row["segment"]: row for row in engine.rows(_length_counts(compiled.sessions, by="segment"))}
        songs = {row["segment"]: row for row in engine.rows(_song_counts(chosen.events, compiled.sessions))}
        segments = {
            name: _counts(
                lengths[i] | songs[i], has_users=has_users, pairs={key: each[i] for key, each in pairs.items()}
            )
            for i, name in enumerate(compiled.segments)
        }
    return Statistics(
        raw_plays=chosen.raw_plays,
        overall=_counts(overall, has_users=has_users, pairs={key: each.sum(axis=0) for key, each in pairs.items()}),
        segments=segments,
        dropped=chosen.dropped,
    )


def _length_counts(sessions: ir.Table, *, by: str | None = None) -> ir.Table:
    numbers = {
        "plays": sessions.n.sum(),
        "sessions": sessions.count(),
        "users": sessions.user_id.nunique(),
        "shortest": sessions.n.min(),
        "longest": sessions.n.max(),
        **{f"p{percent}": sessions.n.quantile(percent / 100).cast("float64") for percent in (25, 50, 75, 95)},
    }
    return sessions.agg(**numbers) if by is None else sessions.group_by(by).agg(**numbers)


def _song_counts(events: ir.Table, sessions: ir.Table) -> ir.Table:
    played = events.join(sessions.select("index", "segment"), "index").select("segment", "song").distinct()
    return played.group_by("segment").agg(songs=ibis._.count())


def _pair_counts(path: Path, *, n_segments: int) -> NDArray[np.int64]:
    """Pairs and repeats by segment, int64 `(n_segments or 1, 2)`."""
    pairs = np.load(path, mmap_mode="r", allow_pickle=False)
    counts = np.zeros((max(n_segments, 1), 2), np.int64)
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        query, target, segment = pairs[start : start + ROWS_AT_ONCE].T
        counts[:, 0] += np.bincount(segment, minlength=len(counts))
        counts[:, 1] += np.bincount(segment[query == target], minlength=len(counts))
    return counts


def _counts(numbers: dict[str, Any], *, has_users: bool, pairs: dict[str, NDArray[np.int64]]) -> Counts:
    return Counts(
        plays=numbers["plays"],
        sessions=numbers["sessions"],
        songs=numbers["songs"],
        users=numbers["users"] if has_users else None,
        validation_pairs=int(pairs["validation"][0]),
        test_pairs=int(pairs["test"][0]),
        repeat_pairs=int(pairs["validation"][1] + pairs["test"][1]),
        session_length=LengthQuantiles(
            min=numbers["shortest"],
            p25=numbers["p25"],
            p50=numbers["p50"],
            p75=numbers["p75"],
            p95=numbers["p95"],
            max=numbers["longest"],
        ),
    )
