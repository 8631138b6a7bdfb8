"""Buckets are uniform and independent between experiments; changes of shares move only what they must."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from app.domain.errors import LayerFull
from app.domain.experiments.assignment import (
    N_BUCKETS,
    Allocation,
    allocated,
    apportioned,
    assigned,
    bucket,
    buckets_of,
    holds,
    n_buckets,
    ranges_of,
    shared_out,
)
from tests.values import NOON

N_USERS = 1_000_000

DOCUMENT = Path(__file__).parents[3] / "docs" / "assignment.md"
ROWS = re.findall(r"^\| (\S+) \| (.+) \| ([0-9]+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


def allocation(share: float = 1.0, weights: Mapping[str, float] | None = None) -> Allocation:
    return allocated([], at=NOON, share=share, weights=weights or {"a": 1, "b": 1}, taken=())


def follow(before: Sequence[Allocation], share: float, weights: Mapping[str, float]) -> Allocation:
    return allocated(before, at=NOON, share=share, weights=weights, taken=())


def test_buckets_are_those_of_the_documentation() -> None:
    assert len(ROWS) >= 9
    assert [(salt, user_id, str(bucket(salt, user_id))) for salt, user_id, _ in ROWS] == ROWS


def buckets_of_users(salt: str, n_users: int = N_USERS) -> NDArray[np.int64]:
    """`bucket` of users "0", "1", ...: the hash begun once, the rest done for all at once."""
    begun = hashlib.sha256(f"{salt}.".encode())
    parts = []
    for number in range(n_users):
        digest = begun.copy()
        digest.update(b"%d" % number)
        parts.append(digest.digest()[:8])
    return (np.frombuffer(b"".join(parts), dtype=">u8") % N_BUCKETS).astype(np.int64)


@pytest.fixture(scope="module")
def of_a_million() -> dict[str, NDArray[np.int64]]:
    return {salt: buckets_of_users(salt) for salt in ("exp_1", "exp_2", "exp_1-traffic")}


def test_many_at_once_are_what_one_at_a_time_is() -> None:
    assert buckets_of_users("exp_1", 300).tolist() == [bucket("exp_1", str(number)) for number in range(300)]


def p_value(counts: NDArray[np.int64], n_free: int) -> float:
    expected = counts.sum() / counts.size
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), n_free))


def test_a_million_users_are_uniform_over_the_buckets(of_a_million: dict[str, NDArray[np.int64]]) -> None:
    for numbers in of_a_million.values():
        assert p_value(np.bincount(numbers, minlength=N_BUCKETS), N_BUCKETS - 1) > 0.01


def test_what_two_experiments_assign_is_independent(of_a_million: dict[str, NDArray[np.int64]]) -> None:
    for one, other in (("exp_1", "exp_2"), ("exp_1", "exp_1-traffic")):
        n_cells = 100
        rows, columns = (of_a_million[salt] // (N_BUCKETS // n_cells) for salt in (one, other))
        table = np.bincount(rows * n_cells + columns, minlength=n_cells**2).reshape(n_cells, n_cells)
        expected = table.sum(0) * table.sum(1)[:, None] / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        assert chi2.sf(statistic, (n_cells - 1) ** 2) > 0.01


def test_the_users_of_a_layer_that_get_one_variant_are_shared_out_anew_by_the_next_experiment(
    of_a_million: dict[str, NDArray[np.int64]],
) -> None:
    is_treated = of_a_million["exp_1"] >= N_BUCKETS // 2
    again = of_a_million["exp_2"][is_treated] >= N_BUCKETS // 2
    assert abs(again.mean() - 0.5) < 4 * 0.5 / np.sqrt(is_treated.sum())


def test_two_processes_compute_the_same() -> None:
    program = (
        "from app.domain.experiments.assignment import bucket;"
        "print([bucket('exp_1', f'user {number}') for number in range(1000)])"
    )
    answers = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    expected = [bucket("exp_1", f"user {number}") for number in range(1000)]
    assert [json.loads(answer.stdout) for answer in answers] == [expected, expected]


def test_a_user_out_of_the_traffic_has_no_variant() -> None:
    quarter = allocation(share=0.25)
    chosen = [assigned(quarter, f"user {number}", traffic_salt="exp_1-traffic", salt="exp_1") for number in range(2000)]
    for each in chosen:
        assert (each.variant is None) == (each.traffic_bucket >= 2500)
    assert {each.variant for each in chosen} == {None, "a", "b"}


def test_a_new_allocation_shares_buckets_out_in_order() -> None:
    first = allocation(share=0.5, weights={"a": 3, "b": 1})
    assert (first.traffic, first.variants) == (((0, 5000),), {"a": ((0, 7500),), "b": ((7500, 10000),)})
    assert (first.revision, first.share, first.weights) == (0, 0.5, {"a": 3, "b": 1})
    assert (first.variant(7499), first.variant(7500)) == ("a", "b")


def test_an_allocation_that_leaves_a_bucket_out_cannot_be_made() -> None:
    for ranges in (((0, 9999),), ((1, N_BUCKETS),), ((0, 6000), (5000, N_BUCKETS))):
        with pytest.raises(ValueError, match="each once"):
            Allocation(revision=0, at=NOON, traffic=(), variants={"a": ranges}, weights={"a": 1})


weights_of_three = st.fixed_dictionaries({name: st.floats(0.01, 100) for name in "abc"})


@given(weights_of_three)
@example({"a": 12.0, "b": 99.0, "c": 0.011})  # worth 0.99 of a bucket
@example({"a": 0.01, "b": 0.01, "c": 99.99})  # two are worth less than a bucket
@example({"a": 0.001, "b": 0.001, "c": 1000.0})
def test_shares_are_within_a_bucket_of_the_weights(weights: dict[str, float]) -> None:
    counts = apportioned(weights)
    assert sum(counts.values()) == N_BUCKETS
    total = sum(weights.values())
    quotas = {name: weight / total * N_BUCKETS for name, weight in weights.items()}
    lifted = {name for name, quota in quotas.items() if quota < 1}
    assert all(counts[name] == 1 for name in lifted)
    assert all(abs(counts[name] - quotas[name]) < 1 + len(lifted) for name in quotas.keys() - lifted)


@given(
    st.lists(st.tuples(st.floats(0.0001, 1), weights_of_three), min_size=2, max_size=5),
)
def test_changes_move_only_what_they_must(changes: list[tuple[float, dict[str, float]]]) -> None:
    allocations: list[Allocation] = []
    for share, weights in changes:
        allocations.append(follow(allocations, share, weights))
    for before, after in pairwise(allocations):
        owner = {number: name for name, ranges in before.variants.items() for number in buckets_of(ranges)}
        moved = [
            (owner[number], name)
            for name, ranges in after.variants.items()
            for number in buckets_of(ranges)
            if owner[number] != name
        ]
        grown = {name: n_buckets(after.variants[name]) - n_buckets(before.variants[name]) for name in "abc"}
        assert len(moved) == sum(max(0, n) for n in grown.values())  # no fewer could give the new shares
        assert all(grown[loser] < 0 < grown[winner] for loser, winner in moved)
        is_in, was_in = set(buckets_of(after.traffic)), set(buckets_of(before.traffic))
        assert is_in <= was_in or was_in <= is_in
        assert len(is_in) == max(1, round(after.share * N_BUCKETS))


def test_traffic_that_comes_back_is_of_users_who_were_in_before() -> None:
    first = allocated([], at=NOON, share=0.2, weights={"a": 1, "b": 1}, taken=range(5000))
    less = follow([first], 0.1, first.weights)
    again = follow([first, less], 0.2, first.weights)
    assert (first.traffic, less.traffic, again.traffic) == (((5000, 7000),), ((5000, 6000),), ((5000, 7000),))


def test_a_layer_gives_what_the_others_leave_and_no_more() -> None:
    half = allocated([], at=NOON, share=0.5, weights={"a": 1, "b": 1}, taken={1, 3, *range(5000, 9998)})
    assert n_buckets(half.traffic) == 5000
    assert not {1, 3, 5000} & set(buckets_of(half.traffic))
    with pytest.raises(LayerFull) as caught:
        allocated([], at=NOON, share=0.5, weights={"a": 1, "b": 1}, taken=range(5001))
    assert (caught.value.wanted, caught.value.free, caught.value.code) == (0.5, 0.4999, "layer_full")


@given(st.sets(st.integers(0, N_BUCKETS - 1), max_size=40))
def test_ranges_hold_just_their_buckets(numbers: set[int]) -> None:
    ranges = ranges_of(numbers)
    assert buckets_of(ranges) == sorted(numbers)
    assert n_buckets(ranges) == len(numbers)
    assert all(holds(ranges, number) for number in numbers)
    assert not any(holds(ranges, number) for number in {0, 17, N_BUCKETS - 1} - numbers)


def test_sharing_out_keeps_what_is_held() -> None:
    held = {"a": range(6000), "b": range(6000, N_BUCKETS)}
    assert shared_out(held, {"a": 5000, "b": 5000})["a"] == list(range(5000))
