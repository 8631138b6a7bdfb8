"""Many workers at once: the database is never found locked, nothing deadlocks, and each trial is measured once."""

from tests.journeys.crowd import rush
from tests.journeys.house import House

N_WORKERS = 4
N_TRIALS = 25
"""By each worker, were they all as quick."""


def test_many_workers_share_the_trials_and_no_lock_is_ever_told_of(house: House) -> None:
    done = rush(house, n_workers=N_WORKERS, n_trials=N_WORKERS * N_TRIALS, n_studies=3)
    assert len(done.shares) == N_WORKERS, "every worker had its share"
