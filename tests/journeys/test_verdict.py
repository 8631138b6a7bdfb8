"""Verdicts of studies that were really trained: chance is never crowned, and what can be learnt is found."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.domain.training import Trainer
from app.domain.tuning.study import Study
from app.domain.tuning.verdict import Finding
from app.services.verdicts import Row, VerdictReport
from tests.journeys.house import PATIENT_LEASE_S, House, opened, settings_for
from tests.journeys.listening import Compiled, compiled

N_SONGS, N_SESSIONS, LENGTH = 80, 500, 6
SEEDS = range(1, 3)
N_REPLICATES = 3
POPULARITY = {"even": 0.0, "skewed": 0.8}
"""The exponent of the songs' popularity by rank."""


def songs_by_chance(folder: Path, *, exponent: float, seed: int) -> Compiled:
    """Songs drawn independently of each other: there is nothing to learn of what comes next."""
    folder.mkdir()
    weights = np.arange(1, N_SONGS + 1) ** -exponent
    songs = np.random.default_rng(seed).choice(N_SONGS, size=N_SESSIONS * LENGTH, p=weights / weights.sum())
    place = np.arange(N_SESSIONS * LENGTH)
    plays = {
        "session_id": [f"session-{session}" for session in place // LENGTH],
        "song_id": [f"song-{song}" for song in songs],
        "position": place % LENGTH,
    }
    return compiled(folder, plays=pa.table(plays), n_songs=N_SONGS)


@pytest.fixture
def house(sqlite_url: str, compiled: Compiled, tmp_path: Path) -> Iterator[House]:
    """A house whose studies all run at once."""
    settings = settings_for(tmp_path, compiled, database_url=sqlite_url, lease_s=PATIENT_LEASE_S, worker_slots=2)
    with opened(settings, compiled) as found:
        yield found


def asked(house: House, listening: Compiled, *, seed: int, epochs: int, n_iterations: int = 5) -> Study:
    """A bayesian study with everything that a verdict stands on. No worker runs yet: it would prepare other plays."""
    return house.study(
        dataset_id=replace(house, compiled=listening).dataset().id,
        algorithm="bayesian",
        trainer=Trainer.SEGUE,
        epochs=epochs,
        fixed={"vector_size": 16},
        n_initial=5,
        n_iterations=n_iterations,
        seed=seed,
        baselines=True,
        replicates=N_REPLICATES,
    )


def report(house: House, study: Study) -> VerdictReport:
    """Its verdict, all of it measured."""
    house.assert_complete(study)
    found = house.container.verdicts.of(study.id)
    assert found.verdict is not None, found.missing
    for row in found.rows[1:]:
        assert row.difference is not None
        assert row.difference.basis == "pairs"
    for row in found.rows:
        assert (_n_seeds(row) == N_REPLICATES) == (row.standing in {None, "reference"})
    return found


def _n_seeds(row: Row) -> int:
    return 0 if row.test_spread is None else row.test_spread.n


@pytest.mark.parametrize("popularity", POPULARITY)
def test_the_best_of_many_that_learnt_nothing_is_no_evidence(house: House, tmp_path: Path, popularity: str) -> None:
    studies = [
        asked(
            house,
            songs_by_chance(tmp_path / f"plays-{seed}", exponent=POPULARITY[popularity], seed=seed),
            seed=seed,
            epochs=2,
        )
        for seed in SEEDS
    ]
    house.worker()
    found = {study.spec.seed: report(house, study).verdict for study in studies}
    assert {seed: verdict.finding for seed, verdict in found.items() if verdict is not None} == dict.fromkeys(
        SEEDS, Finding.NO_EVIDENCE
    ), found


def test_what_can_be_learnt_is_found_and_a_table_that_knows_more_is_named(house: House, compiled: Compiled) -> None:
    """On the ring, counting what was played next tells more than ten epochs of vectors in 16 dimensions do."""
    studies = [asked(house, compiled, seed=seed, epochs=10) for seed in SEEDS]
    house.worker()
    for study in studies:
        verdict = report(house, study).verdict
        assert verdict is not None
        assert verdict.finding is Finding.IMPROVED, verdict
        assert "next_song" in verdict.beaten_by
        assert "It scores lower than next_song, which trains nothing." in verdict.reason
