from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np
import pytest

from app.domain.errors import InvalidRequest
from app.domain.measurement import EpochMeasurement
from app.domain.tuning.pruning import (
    Curve,
    Pruned,
    Pruning,
    Rule,
    Savings,
    curve_of,
    decision,
    savings,
    worth,
)
from tests.values import epoch_measured, measurement

MEDIAN = Pruning(rule="median", n_startup_trials=2)
HALVING = Pruning(rule="successive_halving", n_startup_trials=1, reduction_factor=3)


def at_one(*values: float) -> list[Curve]:
    return [{1: value} for value in values]


@pytest.mark.parametrize(
    ("pruning", "n_epochs", "epochs"),
    [
        (Pruning(rule="median"), 3, (1, 2)),
        (Pruning(rule="median", min_epochs=3), 30, (3, 6, 12, 24)),
        (Pruning(rule="successive_halving"), 3, (1,)),
        (Pruning(rule="successive_halving"), 10, (1, 3, 9)),
        (Pruning(rule="successive_halving", min_epochs=2, reduction_factor=4), 33, (2, 8, 32)),
        (Pruning(rule="successive_halving"), 1, ()),
    ],
)
def test_a_trial_decides_at_epochs_that_grow_by_a_factor_and_never_at_its_last(
    pruning: Pruning, n_epochs: int, epochs: tuple[int, ...]
) -> None:
    assert pruning.decides_after(n_epochs) == epochs


def test_trials_of_different_lengths_decide_at_the_same_epochs() -> None:
    rule = Pruning(rule="successive_halving")
    assert rule.decides_after(100)[: len(rule.decides_after(20))] == rule.decides_after(20)


@pytest.mark.parametrize(
    ("curve", "peers", "is_pruned"),
    [
        ({1: 0.10}, at_one(0.2, 0.3), True),
        ({1: 0.25}, at_one(0.2, 0.3), False),  # as good as the median
        ({1: 0.24}, at_one(0.2, 0.3), True),
        ({1: 0.10}, at_one(0.2), False),  # too few to go by
        ({1: 0.10}, [{1: 0.2}, {2: 0.9}, {2: 0.8}], False),  # measured at other epochs only
        ({1: 0.30, 2: 0.10}, [{2: 0.2}, {2: 0.2}], False),  # its best epoch counts
        ({3: 0.10}, [{3: 0.2}, {3: 0.2}], False),  # the rule does not look at this epoch
        ({}, at_one(0.2, 0.3), False),  # no pair to measure
    ],
)
def test_the_median_rule(curve: Curve, peers: list[Curve], *, is_pruned: bool) -> None:
    assert (decision(MEDIAN, curve, peers=peers, n_epochs=10) is not None) is is_pruned


@pytest.mark.parametrize(
    ("value", "peers", "is_pruned"),
    [
        (0.1, (0.2,), True),  # one of two goes on
        (0.3, (0.2,), False),
        (0.2, (0.2,), True),  # ties go to the earlier
        (0.3, (0.5, 0.4, 0.2, 0.1), True),  # the best of five goes on
        (0.3, (0.5, 0.2, 0.2, 0.1, 0.1), False),  # the best two of six
        (0.3, (0.5, 0.4, 0.2, 0.1, 0.1), True),
        (0.5, (), False),  # the first
    ],
)
def test_successive_halving(value: float, peers: tuple[float, ...], *, is_pruned: bool) -> None:
    assert (decision(HALVING, {1: value}, peers=at_one(*peers), n_epochs=10) is not None) is is_pruned


def test_a_decision_says_what_it_went_by() -> None:
    found = decision(HALVING, {1: 0.1}, peers=at_one(0.2, 0.4), n_epochs=3)
    assert found == Pruned(rule="successive_halving", epoch=1, value=0.1, bound=0.4, n_peers=2)
    found = decision(MEDIAN, {1: 0.1}, peers=at_one(0.2, 0.4), n_epochs=3)
    assert found is not None
    assert found.bound == pytest.approx(0.3)


def test_the_last_epoch_is_never_too_late() -> None:
    assert decision(HALVING, {1: 0.1}, peers=at_one(0.2, 0.4), n_epochs=1) is None


Values = Sequence[Sequence[float]]


def run(pruning: Pruning, values: Values, *, n_workers: int, rng: np.random.Generator) -> list[dict[int, float]]:
    """Curves of trials that so many workers ran, each a step at a time in an order that chance decides.

    `values[i][e - 1]` is trial i's objective after e epochs.
    """
    waiting = list(range(len(values)))[::-1]
    curves: list[dict[int, float]] = [{} for _ in values]
    running: list[int] = []
    while waiting or running:
        while waiting and len(running) < n_workers:
            running.append(waiting.pop())
        trial = running[rng.integers(len(running))]
        n_epochs = len(values[trial])
        epoch = len(curves[trial]) + 1
        curves[trial][epoch] = values[trial][epoch - 1]
        peers = [curve for number, curve in enumerate(curves) if number != trial]
        if epoch == n_epochs or decision(pruning, curves[trial], peers=peers, n_epochs=n_epochs) is not None:
            running.remove(trial)
    return curves


N_TRIALS, N_EPOCHS, FACTOR = 81, 9, 3


@pytest.mark.parametrize("n_workers", [1, 2, 8, 32])
def test_halving_lets_the_right_share_go_on_however_workers_interleave(n_workers: int) -> None:
    """Of trials in random order, one in f and the expected excess of asynchrony; see the module header."""
    rule = Pruning(rule="successive_halving", n_startup_trials=1, reduction_factor=FACTOR)
    reached_second: list[int] = []
    reached_last: list[int] = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = np.sort(rng.random((N_TRIALS, N_EPOCHS)), axis=1)
        curves = run(rule, values.tolist(), n_workers=n_workers, rng=rng)
        reached_second.append(sum(len(curve) > 1 for curve in curves))
        reached_last.append(sum(len(curve) == N_EPOCHS for curve in curves))
    assert np.mean(reached_second) <= N_TRIALS / FACTOR + FACTOR * log(FACTOR) + 1
    assert np.mean(reached_second) >= N_TRIALS / FACTOR - FACTOR
    assert np.mean(reached_last) <= np.mean(reached_second) / FACTOR + FACTOR * log(FACTOR) + 1


@pytest.mark.parametrize("rule", ["median", "successive_halving"])
@pytest.mark.parametrize("n_workers", [1, 8])
def test_a_trial_that_is_best_at_every_epoch_is_never_pruned(rule: Rule, n_workers: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = 0.9 * rng.random((20, N_EPOCHS))
        best = rng.integers(20)
        values[best] = 0.95
        curves = run(Pruning(rule=rule, n_startup_trials=1), values.tolist(), n_workers=n_workers, rng=rng)
        assert len(curves[best]) == N_EPOCHS


def test_whoever_goes_on_was_among_the_best_share_known_then() -> None:
    rng = np.random.default_rng(7)
    values = rng.random(200)
    for arrived in range(1, len(values)):
        rank = int(np.sum(values[:arrived] >= values[arrived]))
        goes_on = decision(HALVING, {1: values[arrived]}, peers=at_one(*values[:arrived]), n_epochs=9) is None
        assert goes_on is (rank < max(1, (arrived + 1) // FACTOR))


@pytest.mark.parametrize(
    ("curve", "finished", "value"),
    [
        ({1: 0.1}, [{1: 0.2, 3: 0.4}, {1: 0.1, 3: 0.3}, {1: 0.3, 3: 0.5}], 0.2),  # factors 2, 3, 5/3
        ({1: 0.3}, [{1: 0.2, 3: 0.4}], 0.4),  # not above the median finished trial
        ({1: 0.1}, [], 0.1),
        ({1: 0.1}, [{2: 0.2, 3: 0.4}], 0.1),  # none was measured there
        ({1: 0.1}, [{1: 0.0, 3: 0.4}], 0.1),
        ({}, [{1: 0.2, 3: 0.4}], None),
    ],
)
def test_a_pruned_trial_is_worth_what_finished_ones_grew_to(
    curve: Curve, finished: list[Curve], value: float | None
) -> None:
    assert worth(curve, finished=finished) == (None if value is None else pytest.approx(value))


def test_epochs_without_a_pair_are_no_part_of_a_curve() -> None:
    told = epoch_measured(2, 0.3)
    empty = EpochMeasurement(epoch=1, train_s=1.0, scores=replace(measurement(0.1).overall, objective=None))
    assert curve_of([empty, told]) == {2: 0.3}


def test_savings_are_the_epochs_that_were_not_run() -> None:
    told = savings([(3, epoch_measured(1, 0.1, train_s=2.0)), (10, epoch_measured(4, 0.1, train_s=2.0))])
    assert told == Savings(n_pruned=2, n_epochs=8, train_s=7.0)
    assert savings([]) == Savings(n_pruned=0, n_epochs=0, train_s=0.0)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"rule": "luck"}, "/pruning/rule"),
        ({"min_epochs": 0}, "/pruning/min_epochs"),
        ({"n_startup_trials": 0}, "/pruning/n_startup_trials"),
        ({"reduction_factor": 1}, "/pruning/reduction_factor"),
        ({"rule": "median", "reduction_factor": 3}, "/pruning/reduction_factor"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(changes: dict[str, int], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Pruning(**({"rule": "successive_halving"} | changes))  # type: ignore[arg-type]
    assert refused.value.pointer == pointer
