"""The queue of trials: claimed once, kept alive, taken back, counted once."""

import threading

import pytest

from app.domain.errors import LostLease
from app.domain.lease import Failure, HeartbeatAnswer, Progress
from app.domain.tuning.study import StudyState
from app.domain.tuning.trial import TrialRole, TrialState
from app.services.trials import KIND, TrialWork
from tests.services.conftest import LEASE, House
from tests.values import outcome

CRASH = Failure(code="crashed", reason="The child ended with signal 9.")


def claim(house: House, worker_id: str = "worker") -> TrialWork:
    work = house.trials.claim(worker_id)
    assert work is not None
    return work


def complete(house: House, work: TrialWork, objective: float) -> None:
    house.trials.complete(work.claim, outcome(objective), staged=house.staged())


def test_a_claimed_trial_is_stored_before_it_runs(house: House) -> None:
    study = house.study()
    work = claim(house)
    stored = house.studies.trial(work.trial.id)
    assert stored.parameters == work.trial.parameters
    assert stored.state is TrialState.RUNNING
    assert stored.attempt == 1
    assert house.studies.get(study.id).study.state is StudyState.RUNNING


def test_parallelism_bounds_the_running_trials_of_a_study(house: House) -> None:
    house.study(parallelism=2, n_initial=4)
    assert {claim(house).trial.number, claim(house).trial.number} == {0, 1}
    assert house.trials.claim("worker") is None


def test_baselines_run_before_the_search(house: House) -> None:
    house.study(parallelism=10, baselines=True)
    names = [claim(house).trial.name for _ in range(6)]
    assert names == [
        "gensim_defaults",
        "gensim_defaults_skip_gram",
        "most_popular",
        "next_song",
        "co_occurrence",
        "trial-0",
    ]


def test_a_study_is_confirmed_on_test_pairs_and_then_completed(house: House) -> None:
    study = house.study()
    for objective in (0.1, 0.3, 0.2):
        complete(house, claim(house), objective)
    confirmation = claim(house)
    assert confirmation.trial.role is TrialRole.CONFIRMATION
    best = house.studies.get(study.id).best
    assert best is not None
    assert best.number == 1
    assert confirmation.trial.source_trial_id == best.id
    assert confirmation.vectors == f"{best.id}-1"
    house.trials.complete(confirmation.claim, outcome(0.25), staged=None)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.fraction == 1.0
    assert view.counts[TrialState.COMPLETED] == 3
    assert house.trials.claim("worker") is None


def test_only_the_best_vectors_are_kept(house: House) -> None:
    study = house.study()
    works = []
    for objective in (0.1, 0.3, 0.2):
        works.append(claim(house))
        complete(house, works[-1], objective)
    kept = [trial.number for trial in house.studies.trials(study.id, limit=9).rows if trial.has_vectors]
    assert kept == [1]
    assert house.store.open(KIND, f"{works[1].trial.id}-1").is_dir()
    for loser in (works[0], works[2]):
        assert not (house.root / KIND / f"{loser.trial.id}-1").exists()


def test_the_earlier_of_two_equal_trials_is_the_best(house: House) -> None:
    study = house.study()
    for _ in range(3):
        complete(house, claim(house), 0.2)
    best = house.studies.get(study.id).best
    assert best is not None
    assert best.number == 0


def test_a_heartbeat_extends_the_lease_and_shows_the_progress(house: House) -> None:
    house.study()
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() - 1)
    progress = Progress(phase="training", fraction=0.4, epoch=1)
    assert house.trials.heartbeat(work.claim, progress) is HeartbeatAnswer.CONTINUE
    house.clock.advance(LEASE.total_seconds() - 1)
    assert house.trials.reap() == 0
    assert house.studies.trial(work.trial.id).progress == progress


def test_a_lapsed_lease_lets_the_trial_run_again_with_the_same_parameters(house: House) -> None:
    house.study()
    first = claim(house, "worker-a")
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.trials.reap() == 1
    second = claim(house, "worker-b")
    assert second.trial.id == first.trial.id
    assert second.trial.parameters == first.trial.parameters
    assert second.trial.attempt == 2


def test_a_lease_that_is_extended_between_a_look_and_the_taking_back_is_kept(house: House) -> None:
    house.study()
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.watch.meanwhile = lambda: house.trials.heartbeat(work.claim)
    assert house.trials.reap() == 0
    assert house.trials.heartbeat(work.claim) is HeartbeatAnswer.CONTINUE


def test_a_trial_that_ends_between_a_look_and_the_taking_back_stays_ended(house: House) -> None:
    house.study()
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.watch.meanwhile = lambda: complete(house, work, 0.2)
    assert house.trials.reap() == 0
    assert house.studies.trial(work.trial.id).state is TrialState.COMPLETED


def test_a_lease_tells_its_length(house: House) -> None:
    house.study()
    lease = house.studies.trial(claim(house).trial.id).lease
    assert lease is not None
    assert lease.length_s == LEASE.total_seconds()


def test_a_lost_lease_cannot_complete_a_trial(house: House) -> None:
    study = house.study()
    late = claim(house, "worker-a")
    house.clock.advance(LEASE.total_seconds() + 1)
    house.trials.reap()
    current = claim(house, "worker-b")
    assert house.trials.heartbeat(late.claim) is HeartbeatAnswer.LOST
    with pytest.raises(LostLease):
        complete(house, late, 0.9)
    assert not (house.root / KIND / f"{late.trial.id}-1").exists()
    complete(house, current, 0.2)
    assert house.studies.get(study.id).counts[TrialState.COMPLETED] == 1
    assert house.studies.trial(current.trial.id).objective == pytest.approx(0.2)


def test_a_completion_reported_twice_counts_once(house: House) -> None:
    study = house.study()
    work = claim(house)
    staged = house.staged()
    house.trials.complete(work.claim, outcome(0.2), staged=staged)
    again = house.trials.complete(work.claim, outcome(0.2), staged=staged)
    assert again.state is TrialState.COMPLETED
    assert house.studies.get(study.id).counts[TrialState.COMPLETED] == 1
    assert house.store.open(KIND, f"{work.trial.id}-1").is_dir()


def test_a_trial_fails_when_its_attempts_are_used_up(house: House) -> None:
    house.study(max_attempts=2)
    assert house.trials.fail(claim(house).claim, CRASH, is_final=False).state is TrialState.WAITING
    failed = house.trials.fail(claim(house).claim, CRASH, is_final=False)
    assert failed.state is TrialState.FAILED
    assert failed.failure == CRASH


def test_a_full_disk_uses_up_no_attempt_and_is_told(house: House) -> None:
    house.study(max_attempts=1)
    full = Failure(code="storage_full", reason="No space is left.")
    waiting = house.trials.fail(claim(house).claim, full, is_final=False)
    assert waiting.state is TrialState.WAITING
    assert waiting.failure == full
    assert claim(house).trial.attempt == 1


def test_a_lost_trial_fails_when_its_attempts_are_used_up(house: House) -> None:
    house.study(max_attempts=1)
    work = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.trials.reap()
    trial = house.studies.trial(work.trial.id)
    assert trial.state is TrialState.FAILED
    assert trial.failure is not None
    assert trial.failure.code == "lost"


def test_an_infeasible_trial_is_not_tried_again(house: House) -> None:
    house.study(max_attempts=5)
    failure = Failure(code="infeasible", reason="The vectors are not finite.")
    trial = house.trials.fail(claim(house).claim, failure, is_final=True)
    assert trial.state is TrialState.INFEASIBLE


def test_a_study_without_a_usable_trial_fails_with_its_reason(house: House) -> None:
    study = house.study(max_attempts=1)
    for _ in range(3):
        house.trials.fail(claim(house).claim, CRASH, is_final=False)
    stored = house.studies.get(study.id).study
    assert stored.state is StudyState.FAILED
    assert stored.failure is not None
    assert stored.failure.code == "no_usable_trial"
    assert "3 failed" in stored.failure.reason


def test_a_study_completes_although_some_trials_failed(house: House) -> None:
    study = house.study(max_attempts=1)
    house.trials.fail(claim(house).claim, CRASH, is_final=False)
    complete(house, claim(house), 0.2)
    complete(house, claim(house), 0.1)
    house.trials.complete(claim(house).claim, outcome(0.2), staged=None)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED


def test_a_released_attempt_does_not_count(house: House) -> None:
    house.study(max_attempts=1)
    first = claim(house)
    house.trials.release(first.claim)
    again = claim(house, "another")
    assert again.trial.id == first.trial.id
    assert again.trial.attempt == 1
    with pytest.raises(LostLease):
        complete(house, first, 0.2)


def test_cancelling_a_study_stops_its_trials(house: House) -> None:
    study = house.study(baselines=True)
    work = claim(house)
    house.studies.cancel(study.id)
    assert house.trials.heartbeat(work.claim) is HeartbeatAnswer.CANCEL
    house.trials.cancelled(work.claim)
    states = {trial.state for trial in house.studies.trials(study.id, limit=9).rows}
    assert states == {TrialState.CANCELLED}
    assert house.trials.claim("worker") is None


def test_a_dead_worker_s_trial_of_a_cancelled_study_ends_cancelled(house: House) -> None:
    study = house.study()
    work = claim(house)
    house.studies.cancel(study.id)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.trials.reap()
    assert house.studies.trial(work.trial.id).state is TrialState.CANCELLED


def test_a_paused_study_begins_no_trial_and_goes_on_when_resumed(house: House) -> None:
    study = house.study()
    work = claim(house)
    house.studies.pause(study.id)
    assert house.trials.heartbeat(work.claim) is HeartbeatAnswer.CONTINUE
    complete(house, work, 0.1)
    assert house.trials.claim("worker") is None
    house.studies.resume(study.id)
    assert claim(house).trial.number == 1


def test_a_study_whose_last_trial_ended_during_a_pause_completes_after_it(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0)
    work = claim(house)
    house.studies.pause(study.id)
    complete(house, work, 0.1)
    house.studies.resume(study.id)
    confirmation = claim(house)
    assert confirmation.trial.role is TrialRole.CONFIRMATION


def test_the_remaining_time_is_told_once_a_trial_has_ended(house: House) -> None:
    study = house.study()
    work = claim(house)
    assert house.studies.get(study.id).eta_s is None
    house.clock.advance(10)
    complete(house, work, 0.1)
    assert house.studies.get(study.id).eta_s == pytest.approx(20.0)


def test_many_workers_at_once_claim_every_number_once(house: House) -> None:
    study = house.study(n_initial=8, n_iterations=0, parallelism=8)
    claimed: list[TrialWork] = []

    def work(name: str) -> None:
        misses = 0
        while misses < 3:
            found = house.trials.claim(name)
            if found is None:
                misses += 1
            else:
                claimed.append(found)

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (found := house.trials.claim("last")) is not None:
        claimed.append(found)
    assert sorted(work.trial.number for work in claimed) == list(range(8))
    parameters = [trial.parameters for trial in house.studies.trials(study.id, limit=20).rows]
    assert len(set(map(repr, parameters))) == 8
