"""Failed attempts: told apart by kind, tried again by policy after a wait, and counted."""

import pytest

from app.domain.lease import STORAGE_FULL, Failure
from app.domain.tuning.retry import FailureCounts, FailureKind, RetryPolicy
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import Trial, TrialState
from app.services.trials import TrialWork
from tests.services.conftest import LEASE, House
from tests.values import AT_ONCE, NOON, outcome

CRASH = Failure(code="crashed", reason="The interpreter was ended by SIGSEGV.")
MEMORY = Failure(code="out_of_memory", reason="The work needs more memory than it may have.")
SLOW = Failure(code="timed_out", reason="The work took longer than its limit of 5 s.")


def claim(house: House) -> TrialWork:
    work = house.trials.claim("worker")
    assert work is not None
    return work


def fail(house: House, failure: Failure) -> Trial:
    return house.trials.fail(claim(house).claim, failure, is_final=False)


def lose(house: House) -> Trial:
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.trials.reap() == 1
    return house.studies.trial(work.trial.id)


def test_a_failed_trial_waits_longer_before_each_further_attempt(house: House) -> None:
    house.study(n_initial=1, n_iterations=0, max_attempts=9, retry=RetryPolicy(backoff_s=10, max_backoff_s=25))
    began = house.clock.now()
    first = fail(house, CRASH)
    assert first.state is TrialState.WAITING
    assert first.not_before is not None
    assert (first.not_before - began).total_seconds() == 10
    waits = []
    for _ in range(3):
        waited = 0
        while (work := house.trials.claim("worker")) is None:
            house.clock.advance(1)
            waited += 1
        assert work.trial.id == first.id
        assert work.trial.not_before is None
        waits.append(waited)
        house.trials.fail(work.claim, CRASH, is_final=False)
    assert waits == [10, 20, 25]


def test_others_run_while_a_trial_waits_to_be_tried_again(house: House) -> None:
    study = house.study(retry=RetryPolicy(backoff_s=10))
    waiting = fail(house, CRASH)
    other = claim(house)
    assert other.trial.number == 1
    house.trials.complete(other.claim, outcome(0.2), staged=house.staged())
    house.clock.advance(10)
    assert claim(house).trial.id == waiting.id
    assert house.studies.get(study.id).counts[TrialState.COMPLETED] == 1


def test_a_study_waits_for_the_trial_that_waits(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, retry=RetryPolicy(backoff_s=10))
    fail(house, CRASH)
    assert house.trials.claim("worker") is None
    assert house.studies.get(study.id).study.state is StudyState.RUNNING
    house.clock.advance(10)
    house.trials.complete(claim(house).claim, outcome(0.2), staged=house.staged())
    house.trials.complete(claim(house).claim, outcome(0.2), staged=None)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED


def test_failures_are_counted_by_kind_for_trial_and_study(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=1, max_attempts=9)
    for failure in (CRASH, MEMORY, SLOW, CRASH):
        fail(house, failure)
    lost = lose(house)
    assert lost.failures == FailureCounts(failed=2, timed_out=1, out_of_memory=1, lost=1)
    house.trials.complete(claim(house).claim, outcome(0.2), staged=house.staged())
    fail(house, SLOW)
    assert house.studies.get(study.id).failures == FailureCounts(failed=2, timed_out=2, out_of_memory=1, lost=1)


def test_a_kind_of_failure_may_be_final_while_another_is_tried_again(house: House) -> None:
    policy = RetryPolicy(backoff_s=0, on={FailureKind.OUT_OF_MEMORY: 1, FailureKind.LOST: 4})
    house.study(max_attempts=2, retry=policy)
    assert fail(house, MEMORY).state is TrialState.FAILED
    for _ in range(3):
        assert lose(house).state is TrialState.WAITING
    assert fail(house, CRASH).state is TrialState.WAITING
    ended = lose(house)
    assert ended.state is TrialState.FAILED
    assert ended.failures == FailureCounts(failed=1, lost=4)


def test_neither_a_full_disk_nor_a_stopping_worker_is_a_failure_of_the_trial(house: House) -> None:
    house.study(max_attempts=1, retry=RetryPolicy(backoff_s=10))
    waiting = fail(house, Failure(code=STORAGE_FULL, reason="No space is left."))
    assert (waiting.failures, waiting.not_before) == (FailureCounts(), None)
    house.trials.release(claim(house).claim)
    assert claim(house).trial.failures == FailureCounts()


def test_cancelling_a_study_ends_a_trial_that_waits(house: House) -> None:
    study = house.study(retry=RetryPolicy(backoff_s=10))
    waiting = fail(house, CRASH)
    house.studies.cancel(study.id)
    assert house.studies.trial(waiting.id).state is TrialState.CANCELLED


def test_a_study_that_nothing_works_for_says_what_went_wrong(house: House) -> None:
    study = house.study(max_attempts=1)
    fail(house, MEMORY)
    house.trials.fail(claim(house).claim, Failure(code="infeasible", reason="No song is left."), is_final=True)
    fail(house, MEMORY)
    failure = house.studies.get(study.id).study.failure
    assert failure is not None
    assert failure.code == "no_usable_trial"
    assert failure.reason == (
        "No trial could be trained and measured: 2 failed, 1 infeasible; 2 out_of_memory, 1 infeasible "
        "(the last: The work needs more memory than it may have)."
    )


@pytest.fixture
def hopeless(house: House) -> Study:
    """A study that is given up after two trials that fail in the same way."""
    retry = RetryPolicy(backoff_s=0, abort_after=2)
    return house.study(n_initial=9, max_attempts=1, parallelism=2, retry=retry)


def test_a_study_is_given_up_when_its_first_trials_all_fail_in_the_same_way(house: House, hopeless: Study) -> None:
    fail(house, MEMORY)
    work = claim(house)
    fail(house, MEMORY)
    study = house.studies.get(hopeless.id).study
    assert study.state is StudyState.FAILED
    assert study.finished_at == NOON
    assert study.failure is not None
    assert "the first 2 all ended in the same way, 2 out_of_memory" in study.failure.reason
    assert house.trials.heartbeat(work.claim).value == "cancel"


@pytest.mark.parametrize("second", [CRASH, None], ids=["another failure", "a success"])
def test_a_study_goes_on_as_long_as_something_else_happens(
    house: House, hopeless: Study, second: Failure | None
) -> None:
    fail(house, MEMORY)
    if second is None:
        house.trials.complete(claim(house).claim, outcome(0.2), staged=house.staged())
    else:
        fail(house, second)
    fail(house, MEMORY)
    assert house.studies.get(hopeless.id).study.state is StudyState.RUNNING


def test_without_a_wait_a_trial_is_tried_again_at_once(house: House) -> None:
    house.study(retry=AT_ONCE)
    assert fail(house, CRASH).id == claim(house).trial.id
