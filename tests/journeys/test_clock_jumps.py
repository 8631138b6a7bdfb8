"""The database's clock jumps by an hour: nobody alive is declared dead, and nobody dead lives an hour longer."""

import time
from itertools import cycle
from pathlib import Path

import pytest

from tests.journeys.doomed import Fate
from tests.journeys.house import LONG, ON_SQLITE, PATIENT_LEASE_S, House
from tests.processes import kill, until

HOUR_S = 3600


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The seconds by which the database's clock is off."""
    file = tmp_path / "clock"
    file.write_text("0", encoding="ascii")
    return file


def set_off(clock: Path, seconds: int) -> None:
    """Let it jump. A reader sees the number of before or the one of now."""
    written = clock.with_suffix(".new")
    written.write_text(str(seconds), encoding="ascii")
    written.replace(clock)


@ON_SQLITE
def test_no_living_worker_is_declared_dead_however_the_clock_jumps(house: House, clock: Path) -> None:
    for _ in range(2):
        house.doomed(Fate(clock=clock), lease_s=PATIENT_LEASE_S, reap_interval_s=0.2)
    study = house.study(epochs=LONG, n_initial=2, parallelism=2)
    until(lambda: len(house.view(study).running) == 2, "both are at work")
    offsets = cycle([HOUR_S, 0, -HOUR_S, 0])

    def jump() -> bool:
        set_off(clock, next(offsets))
        return house.view(study).confirmation is not None

    until(jump, "both trials have ended", every_s=0.2)
    set_off(clock, 0)
    house.assert_complete(study)
    assert [trial.attempt for trial in house.trials(study, None)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("database_url", "jump_s"), [("sqlite", HOUR_S), ("postgresql", -HOUR_S)], indirect=["database_url"]
)
def test_a_dead_workers_trial_runs_again_within_a_lease_and_15_s_though_the_clock_jumps(
    house: House, clock: Path, jump_s: int
) -> None:
    workers = [house.doomed(Fate(clock=clock), lease_s=PATIENT_LEASE_S) for _ in range(2)]
    until(
        lambda: house.log.exists() and house.log.read_text(encoding="utf-8").count(" is ready.") == 2, "both are there"
    )
    study = house.study(epochs=LONG, n_initial=1)
    caught = house.caught_training(study)
    assert caught.lease is not None
    holder_id = caught.lease.worker_id  # host, process number and something random
    kill(next(worker for worker in workers if f"-{worker.pid}-" in holder_id))
    killed_at = time.monotonic()
    set_off(clock, jump_s)
    until(
        lambda: house.container.studies.trial(caught.id).attempt == 2,
        "another worker takes the trial",
        within_s=PATIENT_LEASE_S + 15 - (time.monotonic() - killed_at),
    )
    house.assert_complete(study)
