"""Listening that is made up, and compiled once for all houses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.adapters.preparation import prepare
from app.domain.datasets import DatasetSpec, SourceReference, Statistics

N_SONGS = 200
N_USERS = 20


@dataclass(frozen=True)
class Compiled:
    """A compiled dataset, of which every house gets a copy, and the files that it was made from."""

    folder: Path
    plays: Path
    songs: Path
    spec: DatasetSpec
    statistics: Statistics
    fingerprint: str


def compiled_ring(folder: Path, *, n_sessions: int = 600, length: int = 8) -> Compiled:
    """Sessions that wander along a ring of songs: what comes next can be learnt."""
    generator = np.random.default_rng(7)
    starts = generator.integers(0, N_SONGS, size=(n_sessions, 1))
    steps = generator.integers(1, 4, size=(n_sessions, length)).cumsum(axis=1)
    sessions = np.repeat(np.arange(n_sessions), length)
    minutes = np.arange(n_sessions * length) * 3 + sessions * 60
    plays = {
        "user_id": [f"user-{session % N_USERS}" for session in sessions],
        "song_id": [f"song-{song}" for song in ((starts + steps) % N_SONGS).ravel()],
        "played_at": pa.array(minutes * 60_000, type=pa.timestamp("ms", tz="UTC")),
    }
    return compiled(folder, plays=pa.table(plays), n_songs=N_SONGS)


def compiled_crowd(folder: Path, *, n_songs: int, length: int = 30) -> Compiled:
    """Sessions in which no song comes twice: a large vocabulary from few plays."""
    songs = np.arange(n_songs)
    plays = {
        "session_id": [f"session-{song // length}" for song in songs],
        "song_id": [f"song-{song}" for song in songs],
        "position": songs % length,
    }
    return compiled(folder, plays=pa.table(plays), n_songs=n_songs)


def compiled(folder: Path, *, plays: pa.Table, n_songs: int) -> Compiled:
    """Write the plays and the songs, and compile them."""
    songs = {
        "song_id": [f"song-{song}" for song in range(n_songs)],
        "title": [f"Title {song}" for song in range(n_songs)],
        "artist": [f"Artist {song % 9}" for song in range(n_songs)],
    }
    pq.write_table(plays, folder / "plays.parquet")
    pq.write_table(pa.table(songs), folder / "songs.parquet")
    target = folder / "compiled"
    target.mkdir()
    spec = DatasetSpec(name="listening", plays=SourceReference(source="plays"), songs=SourceReference(source="songs"))
    prepared = prepare(
        plays=folder / "plays.parquet",
        songs=folder / "songs.parquet",
        spec=spec,
        staged=target,
        memory_limit="512MB",
        threads=1,
        on_progress=lambda _: None,
    )
    return Compiled(
        folder=target,
        plays=folder / "plays.parquet",
        songs=folder / "songs.parquet",
        spec=spec,
        statistics=prepared.statistics,
        fingerprint=prepared.fingerprint,
    )
