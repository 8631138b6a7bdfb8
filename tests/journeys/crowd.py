"""Many workers at one database, with trials so short that they do little but claim and report."""

import time
from collections import Counter
from dataclasses import dataclass

from app.domain.tuning.search_space import Value
from tests.journeys.doomed import Fate
from tests.journeys.house import House
from tests.journeys.mayhem import assert_untroubled

PARALLELISM = 8
LEASE_S = 30.0
"""As by default: on a busy machine a worker may not get a turn for seconds."""

TINY: dict[str, Value] = {"vector_size": 4, "window": 1, "negative": 1}


@dataclass(frozen=True)
class Rush:
    """What a crowd did, from the workers' start on, and how many trials each worker measured."""

    n_trials: int
    seconds: float
    shares: list[int]


def rush(house: House, *, n_workers: int, n_trials: int, n_studies: int) -> Rush:
    """So many workers share the trials of some studies; every trial is measured once, at the first attempt.

    Raises: AssertionError, also when a program wrote of a locked database or a deadlock.
    """
    dataset = house.dataset()
    began = time.monotonic()
    for _ in range(n_workers):
        house.doomed(Fate(notes=house.notes), lease_s=LEASE_S)
    budgets = [n_trials // n_studies + (number < n_trials % n_studies) for number in range(n_studies)]
    studies = [
        house.study(dataset_id=dataset.id, n_initial=budget, parallelism=PARALLELISM, seed=seed, fixed=TINY)
        for seed, budget in enumerate(budgets)
    ]
    for study in studies:
        house.over(study, within_s=60 + 2.0 * n_trials)
    seconds = time.monotonic() - began
    for study in studies:
        house.assert_complete(study)
        assert {trial.attempt for trial in house.trials(study, None)} == {1}
    assert_untroubled(house.log)
    shares = Counter(report["pid"] for report in house.noted("reported"))
    assert sum(shares.values()) == n_trials + n_studies, "each study confirms its winner"
    return Rush(n_trials=n_trials, seconds=seconds, shares=sorted(shares.values()))
