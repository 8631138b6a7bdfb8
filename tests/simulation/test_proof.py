"""A small form of the proof that experiments find what is true; `tests.benchmarks.experiments` is the whole."""

import numpy as np
import pytest

from tests.benchmarks import experiments
from tests.benchmarks.experiments import NOT_KNOWN, Line, Read, article, fault, lift, listed, measured, same
from tests.simulation.reading import METRICS

N_RUNS = 30
N_USERS = 400


@pytest.fixture(scope="module")
def equal() -> list[dict[str, Read]]:
    return [same(seed, n_users=N_USERS) for seed in range(N_RUNS)]


@pytest.mark.parametrize("metric", METRICS)
def test_two_equal_variants_are_seldom_told_apart_however_often_one_looks(
    metric: str, equal: list[dict[str, Read]]
) -> None:
    reads = [run[metric] for run in equal]
    # With a chance of 5 % more than 5 of 30 happen once in 300 times.
    assert sum(read.is_claimed for read in reads) <= 5
    assert sum(read.is_claimed_on_any_day for read in reads) <= 5
    assert sum(read.is_covered for read in reads) >= N_RUNS - 5


def test_intervals_hold_lifts_that_are_known() -> None:
    runs = [lift(seed, n_users=N_USERS) for seed in range(N_RUNS)]
    assert runs[0].keys() == METRICS.keys() - {NOT_KNOWN}
    for metric in runs[0]:
        assert sum(run[metric].is_covered for run in runs) >= N_RUNS - 5, metric


def test_a_lift_in_arabic_alone_is_reported_as_that() -> None:
    reports = [article(seed, n_users=25_000, size=1.2) for seed in range(3)]
    assert sum(report.is_right for report in reports) >= 2


def test_lost_exposures_are_seen_each_time_and_none_is_seen_where_none_is_lost() -> None:
    assert [fault(seed) for seed in range(3)] == [True] * 3
    assert [fault(seed, lost=0.0) for seed in range(3)] == [False] * 3


def test_users_are_what_votes_and_the_better_of_two_interleaved_models_is_found() -> None:
    assert np.mean([listed(seed, liking=1.0) for seed in range(N_RUNS)], axis=0)[0] <= 5 / N_RUNS
    assert np.mean([listed(seed, liking=1.5) for seed in range(5)], axis=0)[0] == 1.0


def test_the_table_tells_what_is_out_of_bounds() -> None:
    runs = [{metric: Read(is_claimed=True, is_claimed_on_any_day=True, is_covered=False) for metric in METRICS}]
    kept = measured("fault", n_runs=1, first=0, spread=lambda function, seeds: list(map(function, seeds)))
    assert [line.is_kept for line in kept] == [True, True]
    missed = experiments.lines_of_metrics("same", runs)
    assert len(missed) == 3 * len(METRICS)
    assert all("MISSED" in str(line) for line in missed)
    assert "MISSED" not in str(Line("a share", 0.05, 1_000, 0.035, 0.065))
