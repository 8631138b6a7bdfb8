"""Epochs of running trials are kept and looked at: a trial is told once whether it goes on."""

import threading

import pytest

from app.domain.errors import LostLease
from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.tuning.constraints import parse
from app.domain.tuning.pruning import Pruned, Pruning, curve_of
from app.domain.tuning.study import StudyState
from app.domain.tuning.trial import TrialOutcome, TrialRole, TrialState
from app.services.trials import TrialWork
from tests.services.conftest import LEASE, House
from tests.services.test_trials import claim, complete
from tests.values import epoch_measured, outcome

RULE = Pruning(rule="successive_halving", n_startup_trials=1, reduction_factor=3)


def at_one(objective: float) -> tuple[EpochMeasurement, ...]:
    return (epoch_measured(1, objective),)


def measured(house: House, work: TrialWork, objective: float) -> HeartbeatAnswer:
    return house.trials.measured(work.claim, at_one(objective))


def pruned_trial(house: House) -> TrialWork:
    """A trial that was told to end."""
    assert measured(house, claim(house), 0.5) is HeartbeatAnswer.CONTINUE
    work = claim(house)
    assert measured(house, work, 0.1) is HeartbeatAnswer.PRUNE
    return work


def test_epochs_are_seen_while_the_trial_runs_and_outlive_its_worker(house: House) -> None:
    house.study()
    work = claim(house)
    progress = Progress(phase="train", fraction=0.3, epoch=2)
    assert house.trials.heartbeat(work.claim, progress, epochs=at_one(0.2)) is HeartbeatAnswer.CONTINUE
    assert house.trials.heartbeat(work.claim, progress) is HeartbeatAnswer.CONTINUE
    stored = house.studies.trial(work.trial.id)
    assert stored.outcome == TrialOutcome(validation=None, epochs=at_one(0.2))
    assert stored.objective is None
    assert stored.state is TrialState.RUNNING


def test_a_trial_that_is_run_again_begins_without_epochs(house: House) -> None:
    house.study(pruning=RULE, parallelism=2)
    pruned_trial(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.trials.reap() == 2
    first, second = claim(house), claim(house)
    assert (first.trial.outcome, second.trial.outcome) == (None, None)
    assert measured(house, second, 0.1) is HeartbeatAnswer.CONTINUE


def test_a_trial_among_the_worst_is_told_to_end_and_ends_as_pruned(house: House) -> None:
    study = house.study(pruning=RULE, parallelism=2, n_initial=3)
    work = pruned_trial(house)
    told = TrialOutcome(validation=None, epochs=at_one(0.1), times_s={"train": 2.0})
    house.clock.advance(3)
    trial = house.trials.pruned(work.claim, told)
    assert trial.state is TrialState.PRUNED
    assert trial.lease is None
    assert trial.progress == Progress(phase="pruned", fraction=1 / 3, epoch=1)
    assert trial.outcome is not None
    assert trial.outcome.times_s == {"train": 2.0}
    assert trial.outcome.pruned == Pruned(rule="successive_halving", epoch=1, value=0.1, bound=0.5, n_peers=1)
    view = house.studies.get(study.id)
    assert view.counts[TrialState.PRUNED] == 1
    assert view.n_ended == 1
    assert (view.savings.n_pruned, view.savings.n_epochs, view.savings.train_s) == (1, 2, 2.0)
    assert view.eta_s is not None
    assert claim(house).trial.number == 2


def test_a_trial_whose_child_had_to_be_stopped_keeps_what_it_told(house: House) -> None:
    house.study(pruning=RULE, parallelism=2)
    trial = house.trials.pruned(pruned_trial(house).claim, None)
    assert trial.state is TrialState.PRUNED
    assert trial.outcome is not None
    assert curve_of(trial.outcome.epochs) == {1: 0.1}


def test_an_answer_that_was_not_heard_is_given_again(house: House) -> None:
    house.study(pruning=RULE, parallelism=2)
    work = pruned_trial(house)
    assert measured(house, work, 0.1) is HeartbeatAnswer.PRUNE
    assert house.trials.heartbeat(work.claim) is HeartbeatAnswer.PRUNE


def test_a_trial_that_was_not_heard_of_its_pruning_may_complete(house: House) -> None:
    study = house.study(pruning=RULE, parallelism=2)
    work = pruned_trial(house)
    complete(house, work, 0.3)
    view = house.studies.get(study.id)
    assert view.counts[TrialState.COMPLETED] == 1
    assert view.best is not None
    assert view.best.outcome is not None
    assert view.best.outcome.pruned is None


def test_a_pruning_reported_twice_counts_once_and_a_late_one_is_refused(house: House) -> None:
    study = house.study(pruning=RULE, parallelism=2)
    work = pruned_trial(house)
    house.trials.pruned(work.claim, None)
    assert house.trials.pruned(work.claim, None).state is TrialState.PRUNED
    assert house.studies.get(study.id).counts[TrialState.PRUNED] == 1
    late = claim(house)
    house.clock.advance(LEASE.total_seconds() + 1)
    house.trials.reap()
    assert measured(house, late, 0.9) is HeartbeatAnswer.LOST
    with pytest.raises(LostLease):
        house.trials.pruned(late.claim, None)


def test_a_pruned_trial_is_never_the_best_and_the_study_completes_beside_it(house: House) -> None:
    study = house.study(pruning=RULE, parallelism=2)
    first = claim(house)
    assert measured(house, first, 0.5) is HeartbeatAnswer.CONTINUE
    second = claim(house)
    assert measured(house, second, 0.4) is HeartbeatAnswer.PRUNE
    house.trials.pruned(second.claim, TrialOutcome(validation=None, epochs=at_one(0.4)))
    complete(house, first, 0.2)  # worse at its end than the pruned one was after an epoch
    third = claim(house)
    assert measured(house, third, 0.1) is HeartbeatAnswer.PRUNE
    house.trials.pruned(third.claim, outcome(0.9))  # whatever a child tells
    confirmation = claim(house)
    assert confirmation.trial.source_trial_id == first.trial.id
    house.trials.complete(confirmation.claim, outcome(0.2), staged=None)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.study.best_trial_id == first.trial.id
    assert view.n_ended == view.n_trials


def test_without_a_rule_nothing_is_pruned(house: House) -> None:
    house.study(parallelism=2)
    assert measured(house, claim(house), 0.5) is HeartbeatAnswer.CONTINUE
    assert measured(house, claim(house), 0.1) is HeartbeatAnswer.CONTINUE


def test_baselines_are_not_pruned(house: House) -> None:
    house.study(pruning=RULE, parallelism=2, baselines=True)
    first, second = claim(house), claim(house)
    assert {first.trial.role, second.trial.role} == {TrialRole.BASELINE}
    assert measured(house, first, 0.5) is HeartbeatAnswer.CONTINUE
    assert measured(house, second, 0.1) is HeartbeatAnswer.CONTINUE


def test_a_cancelled_study_stops_its_trials_when_they_are_measured(house: House) -> None:
    study = house.study(pruning=RULE)
    work = claim(house)
    house.studies.cancel(study.id)
    assert measured(house, work, 0.5) is HeartbeatAnswer.CANCEL


def test_no_trial_is_pruned_before_one_keeps_the_constraints_nor_for_one_that_breaks_them(house: House) -> None:
    house.study(
        pruning=RULE, parallelism=3, n_initial=4, constraints=(parse("train_seconds <= 1"),)
    )  # `complete` tells of one second
    fast, slow = claim(house), claim(house)
    assert measured(house, slow, 0.9) is HeartbeatAnswer.CONTINUE
    assert measured(house, fast, 0.1) is HeartbeatAnswer.CONTINUE
    told = outcome(0.9)
    told.times_s["train"] = 5.0
    house.trials.complete(
        slow.claim,
        TrialOutcome(validation=told.validation, epochs=at_one(0.9), times_s=told.times_s),
        staged=house.staged(),
    )
    assert measured(house, claim(house), 0.05) is HeartbeatAnswer.CONTINUE
    house.trials.complete(
        fast.claim,
        TrialOutcome(validation=outcome(0.2).validation, epochs=at_one(0.1), times_s={"train": 1.0}),
        staged=house.staged(),
    )
    assert measured(house, claim(house), 0.2) is HeartbeatAnswer.CONTINUE  # above the fast one, below the slow one
    assert measured(house, claim(house), 0.01) is HeartbeatAnswer.PRUNE


def test_many_workers_at_once_let_the_right_share_go_on(house: House) -> None:
    """Decisions that are taken at once are those of some order: the k-th is taken with k - 1 others known."""
    n_trials = 16
    study = house.study(pruning=RULE, parallelism=n_trials, n_initial=n_trials, n_iterations=0)
    works = [claim(house) for _ in range(n_trials)]
    answers: dict[str, HeartbeatAnswer] = {}

    def work(mine: list[TrialWork]) -> None:
        for one in mine:
            answers[one.trial.id] = measured(house, one, (one.trial.number * 7 % n_trials + 1) / 100)

    threads = [threading.Thread(target=work, args=(works[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = house.studies.trials(study.id, limit=n_trials).rows
    decided = {trial.id: trial.outcome.pruned for trial in trials if trial.outcome is not None}
    assert {trial for trial, pruned in decided.items() if pruned is not None} == {
        trial for trial, answer in answers.items() if answer is HeartbeatAnswer.PRUNE
    }
    n_peers = sorted(pruned.n_peers for pruned in decided.values() if pruned is not None)
    assert len(set(n_peers)) == len(n_peers)
    goes_on = {trial for trial, answer in answers.items() if answer is HeartbeatAnswer.CONTINUE}
    best = max(works, key=lambda one: one.trial.number * 7 % n_trials)
    assert best.trial.id in goes_on
    values = {one.trial.id: (one.trial.number * 7 % n_trials + 1) / 100 for one in works}
    for trial, pruned in decided.items():
        if pruned is not None:
            n_better = sum(value >= values[trial] for other, value in values.items() if other != trial)
            assert n_better >= max(1, (pruned.n_peers + 1) // 3)
