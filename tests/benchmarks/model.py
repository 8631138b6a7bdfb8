"""A model to serve, of any size, without the training: made-up vectors and names, and users who heard something."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from app.adapters.corpus import Histories
from app.adapters.model_files import write_model
from app.adapters.sql.migrating import upgrade
from app.bootstrap import Container
from app.config import Settings
from app.domain.embedding import Matrix, Rows, Scoring, ScoringRows, unit_rows
from app.domain.models import IndexLimits
from app.domain.tuning.study import Study
from tests.keys import give_key
from tests.values import dataset_spec, outcome, statistics, study_spec

T = TypeVar("T")

DEFAULTS = IndexLimits()

SONGS_PER_CENTRE = 50
SPREAD = 0.7
"""Length of a song's own part beside its centre's."""

MADE_ROWS = 250_000
KINDS_HEARD = 4
N_USERS = 1_000
HISTORY_LENGTH = 100
WORDS = ("Night", "Río", "Glass", "Harbour", "Été", "Wolves", "Paper", "Sleep", "Signal", "Moth", "Ember", "Låt")


def song_id(row: int) -> str:
    """An id as catalogues have them."""
    return f"TR{(row * 2_654_435_761) % 2**32:08X}{row:08d}"


def user_id(row: int) -> str:
    """A user who heard something."""
    return f"user-{row:06d}"


def songs_table(n_songs: int) -> pa.Table:
    """Songs with titles and artists of usual length, most played first."""
    n_words = len(WORDS)
    return pa.table(
        {
            "song_id": [song_id(row) for row in range(n_songs)],
            "title": [f"{WORDS[row % n_words]} of {WORDS[row // n_words % n_words]} {row}" for row in range(n_songs)],
            "artist": [f"The {WORDS[row // 7 % n_words]} {row % 900}" for row in range(n_songs)],
            "n_plays": pa.array(range(n_songs, 0, -1), pa.int64()),
        }
    )


def unit_vectors(n_songs: int, dim: int, *, seed: int = 0) -> Matrix:
    """Directions around centres, as songs of a kind lie; song i is of centre i modulo their number."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng.normal(size=(_n_centres(n_songs), dim)).astype(np.float32))
    vectors = np.empty((n_songs, dim), dtype=np.float32)
    for start in range(0, n_songs, MADE_ROWS):
        part = vectors[start : start + MADE_ROWS]
        own = rng.normal(scale=SPREAD / np.sqrt(dim), size=part.shape)
        part[:] = unit_rows((centres[np.arange(start, start + len(part)) % len(centres)] + own).astype(np.float32))
    return vectors


def _n_centres(n_songs: int) -> int:
    return max(1, n_songs // SONGS_PER_CENTRE)


def histories(n_songs: int) -> Histories:
    """Users who each heard 100 songs of a few kinds over the last two months."""
    rng = np.random.default_rng(1)
    n_plays = N_USERS * HISTORY_LENGTH
    ages_ms = np.sort(rng.integers(0, 60 * 86_400_000, (N_USERS, HISTORY_LENGTH)), axis=1)[:, ::-1]
    n_centres = _n_centres(n_songs)
    kinds = rng.integers(0, n_centres, (N_USERS, KINDS_HEARD))
    heard = np.take_along_axis(kinds, rng.integers(0, KINDS_HEARD, (N_USERS, HISTORY_LENGTH)), axis=1)
    songs = np.minimum(heard + n_centres * rng.integers(0, SONGS_PER_CENTRE, heard.shape), n_songs - 1)
    return Histories(
        users=pa.chunked_array([[user_id(row) for row in range(N_USERS)]]),
        offsets=np.arange(0, n_plays + 1, HISTORY_LENGTH, dtype=np.int64),
        songs=songs.ravel().astype(np.int32),
        played_at_ms=(int(time.time() * 1000) - ages_ms).ravel(),
    )


def publish_model(settings: Settings, *, n_songs: int, dim: int, limits: IndexLimits = DEFAULTS, seed: int = 0) -> str:
    """Migrate the settings' database and make such a model live as production, all states walked through; its id."""
    upgrade(settings.database_url)
    container = Container(settings)
    try:
        give_key(container)
        container.models.promote(_completed_study(container).id)
        work = _there(container.models.claim("benchmark"))
        with container.store.stage() as staged:
            vectors = Rows(unit_vectors(n_songs, dim, seed=seed))
            index = write_model(
                rows=ScoringRows(vectors, vectors, np.ones(n_songs, dtype=np.bool_)),
                songs=songs_table(n_songs),
                histories=histories(n_songs),
                staged=staged,
                scoring=Scoring.INPUT,
                lineage={},
                limits=limits,
                on_progress=lambda _share: None,
            )
            return container.models.complete(work.claim, staged=staged, index=index).id
    finally:
        container.stop()


def _completed_study(container: Container) -> Study:
    container.datasets.create(dataset_spec())
    dataset = _there(container.datasets.claim("benchmark"))
    with _something_staged(container) as staged:
        container.datasets.complete(dataset.claim, staged=staged, statistics=statistics(), fingerprint="0" * 64)
    study = container.studies.create(study_spec(dataset.dataset.id, n_initial=1, n_iterations=0))
    if not isinstance(study, Study):
        raise TypeError(study)
    for _ in range(2):  # the trial, and its confirmation on the test pairs
        trial = _there(container.trials.claim("benchmark"))
        with _something_staged(container) as staged:
            container.trials.complete(trial.claim, outcome(0.2), staged=staged)
    return study


@contextmanager
def _something_staged(container: Container) -> Iterator[Path]:
    with container.store.stage() as staged:
        (staged / "made-up.txt").write_text("The benchmark reads no such file.")
        yield staged


def _there(work: T | None) -> T:
    if work is None:
        msg = "There is nothing to claim."
        raise RuntimeError(msg)
    return work
