import math

import pytest
from pydantic import TypeAdapter

from app.domain.errors import InvalidRequest
from app.domain.lease import STORAGE_FULL, Failure
from app.domain.tuning.retry import FailureCounts, FailureKind, RetryPolicy, kind_of


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("timed_out", FailureKind.TIMED_OUT),
        ("out_of_memory", FailureKind.OUT_OF_MEMORY),
        ("lost", FailureKind.LOST),
        ("crashed", FailureKind.FAILED),
        ("error", FailureKind.FAILED),
        ("damaged_artifact", FailureKind.FAILED),
        (STORAGE_FULL, None),
    ],
)
def test_every_failure_is_of_a_kind_but_that_of_the_machine(code: str, kind: FailureKind | None) -> None:
    assert kind_of(Failure(code=code, reason="")) is kind


def test_failures_are_counted_by_kind() -> None:
    counts = FailureCounts().with_one(FailureKind.LOST).with_one(FailureKind.LOST).with_one(FailureKind.TIMED_OUT)
    assert counts == FailureCounts(lost=2, timed_out=1)
    assert (counts.total, counts.of(FailureKind.LOST), counts.of(FailureKind.FAILED)) == (3, 2, 0)
    assert counts + FailureCounts(lost=1, failed=4) == FailureCounts(failed=4, lost=3, timed_out=1)


@pytest.mark.parametrize(
    ("on", "failures", "kind", "is_allowed"),
    [
        ({}, {"failed": 2}, FailureKind.FAILED, True),
        ({}, {"failed": 3}, FailureKind.FAILED, False),
        ({}, {"failed": 1, "lost": 1, "timed_out": 1}, FailureKind.LOST, False),
        ({FailureKind.LOST: 5}, {"lost": 4}, FailureKind.LOST, True),
        ({FailureKind.LOST: 5}, {"lost": 5}, FailureKind.LOST, False),
        ({FailureKind.LOST: 5}, {"lost": 4, "failed": 2}, FailureKind.FAILED, True),
        ({FailureKind.LOST: 5}, {"lost": 1, "failed": 3}, FailureKind.FAILED, False),
        ({FailureKind.OUT_OF_MEMORY: 1}, {"out_of_memory": 1}, FailureKind.OUT_OF_MEMORY, False),
        ({FailureKind.OUT_OF_MEMORY: 1}, {"failed": 1}, FailureKind.FAILED, True),
    ],
)
def test_a_kind_that_is_named_has_an_allowance_of_its_own_and_the_others_share_one(
    on: dict[FailureKind, int], failures: dict[str, int], kind: FailureKind, is_allowed: bool
) -> None:
    assert RetryPolicy(on=on).allows(FailureCounts(**failures), kind, max_attempts=3) is is_allowed


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (RetryPolicy(backoff_s=5, backoff_factor=1), [5, 5, 5]),
        (RetryPolicy(backoff_s=90), [60, 60]),
        (RetryPolicy(backoff_s=0), [0, 0]),
        (RetryPolicy(max_backoff_s=0), [0, 0]),
    ],
)
def test_waits_grow_by_the_factor_up_to_the_longest(policy: RetryPolicy, waits: list[float]) -> None:
    assert [policy.wait_s(n) for n in range(1, len(waits) + 1)] == waits


def test_the_largest_factor_and_the_most_failures_overflow_nothing() -> None:
    assert RetryPolicy(backoff_factor=100).wait_s(80) == 60


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"backoff_s": -1}, "backoff_s"),
        ({"backoff_s": math.nan}, "backoff_s"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"max_backoff_s": 86_401}, "max_backoff_s"),
        ({"on": {FailureKind.LOST: 0}}, "on/lost"),
        ({"on": {FailureKind.LOST: 21}}, "on/lost"),
        ({"abort_after": 0}, "abort_after"),
    ],
)
def test_policy_out_of_range_is_refused_and_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RetryPolicy(**changes)  # type: ignore[arg-type]
    assert refused.value.pointer == f"/retry/{field}"


def test_policy_does_not_change_with_what_it_was_made_of() -> None:
    on = {FailureKind.LOST: 5}
    policy = RetryPolicy(on=on)
    on[FailureKind.LOST] = 1
    assert policy.on == {FailureKind.LOST: 5}


def test_policy_and_counts_survive_json() -> None:
    policy = RetryPolicy(on={FailureKind.LOST: 5}, abort_after=3)
    stored = TypeAdapter(RetryPolicy)
    assert stored.validate_json(stored.dump_json(policy)) == policy
    assert stored.validate_json("{}") == RetryPolicy()
    assert TypeAdapter(FailureCounts).validate_json("{}") == FailureCounts()
