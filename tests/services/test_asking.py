"""Ask and tell: a team's own trainer asks for trials and reports under a token."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.errors import BudgetSpent, Conflict, InvalidRequest, LostLease, NotFound, NoVectors
from app.domain.lease import Claim, HeartbeatAnswer, Lease, Progress
from app.domain.models import Fit, Model
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.constraints import Constraint, parse
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.reporting import Report, Reported
from app.domain.tuning.retry import FailureKind, RetryPolicy
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import TrialRole, TrialState
from app.services.asking import AskedTrial, ReportedEpoch
from app.services.own_trials import OwnTrial
from tests.services.conftest import ASK_LEASE, LEASE, House
from tests.values import outcome

AFTER = ASK_LEASE.total_seconds() + 1


def external(house: House, **changes: int | bool | Stopping | RetryPolicy | Pruning | tuple[Constraint, ...]) -> Study:
    return house.study(trainer=Trainer.EXTERNAL, **changes)


def report(objective: float) -> Report:
    return Report(overall=Reported(n_pairs=100, objective=objective), segments={})


def complete(house: House, asked: AskedTrial, objective: float) -> None:
    told = replace(report(objective), times_s={"train": 2.0})
    house.asking.complete(asked.trial.id, asked.token, told)


def epoch(number: int, objective: float, *, train_s: float | None = None) -> ReportedEpoch:
    return ReportedEpoch(epoch=number, report=report(objective), train_s=train_s)


def test_whoever_asks_gets_a_suggested_trial_under_a_lease_and_a_token(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    stored = house.studies.trial(asked.trial.id)
    assert (stored.state, stored.number, stored.attempt) == (TrialState.RUNNING, 0, 1)
    assert stored.parameters is not None
    assert asked.expires_at == house.clock.now() + ASK_LEASE
    assert house.studies.get(study.id).study.state is StudyState.RUNNING


def test_only_the_hash_of_a_token_is_stored_and_none_is_printed(house: House) -> None:
    asked = house.asking.ask(external(house).id, client_id="a")
    stored = house.studies.trial(asked.trial.id)
    assert stored.lease_token_sha256 is not None
    assert len(stored.lease_token_sha256) == 64
    assert asked.token not in repr(stored)
    assert asked.token not in repr(asked)


def test_the_same_client_gets_its_unfinished_trial_again_under_a_new_token(house: House) -> None:
    study = external(house)
    first = house.asking.ask(study.id, client_id="a")
    house.asking.measured(first.trial.id, first.token, epoch(1, 0.1))
    again = house.asking.ask(study.id, client_id="a")
    assert again.trial.id == first.trial.id
    assert again.token != first.token
    assert [known.epoch for known in (again.trial.outcome or outcome(0)).epochs] == [1]
    with pytest.raises(LostLease):
        complete(house, first, 0.9)
    complete(house, again, 0.2)
    assert house.studies.trial(first.trial.id).objective == 0.2
    assert house.asking.ask(study.id, client_id="a").trial.id != first.trial.id


def test_another_client_gets_another_trial_whatever_the_parallelism(house: House) -> None:
    study = external(house, parallelism=1)
    numbers = [house.asking.ask(study.id, client_id=client).trial.number for client in "abc"]
    assert numbers == [0, 1, 2]
    with pytest.raises(BudgetSpent):
        house.asking.ask(study.id, client_id="d")


def test_many_clients_at_once_each_get_a_trial_of_their_own(house: House) -> None:
    study = external(house, n_initial=8, n_iterations=0)
    asked: list[AskedTrial] = []

    def ask(client: str) -> None:
        asked.append(house.asking.ask(study.id, client_id=client))

    threads = [threading.Thread(target=ask, args=(f"client-{n % 6}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 12
    assert sorted({trial.trial.number for trial in asked}) == list(range(6))
    stored = house.studies.trials(study.id, limit=20).rows
    assert len(stored) == len({trial.parameters for trial in stored}) == 6
    holders = {trial.lease.worker_id for trial in stored if trial.lease is not None}
    assert holders == {f"client-{n}" for n in range(6)}


def test_enqueued_points_are_given_to_whoever_asks_next(house: House) -> None:
    study = external(house, n_initial=3)
    values = {"vector_size": 50, "window": 7, "negative": 5, "alpha": 0.05}
    house.own_trials.add(study.id, [OwnTrial(parameters=values)])  # type: ignore[arg-type] # numbers are values
    asked = house.asking.ask(study.id, client_id="a")
    assert asked.trial.parameters is not None
    assert asked.trial.parameters.window == 7


def test_workers_run_the_baselines_alone_and_are_not_kept_from_other_studies(house: House) -> None:
    study = external(house, baselines=True)
    house.asking.ask(study.id, client_id="a")
    for _ in range(5):
        work = house.trials.claim("worker")
        assert work is not None
        assert work.trial.role is TrialRole.BASELINE
        house.trials.complete(work.claim, outcome(0.1), staged=None)
    assert house.trials.claim("worker") is None
    house.clock.advance(AFTER)
    house.trials.reap()
    assert house.trials.claim("worker") is None
    with house.units.reading() as unit:
        assert unit.studies.open_with_capacity(limit=9) == []
    other = house.study()
    work = house.trials.claim("worker")
    assert work is not None
    assert work.trial.study_id == other.id


def test_parallelism_bounds_the_baselines_that_workers_run(house: House) -> None:
    study = external(house, baselines=True, parallelism=1)
    house.asking.ask(study.id, client_id="a")
    assert house.trials.claim("worker") is not None
    assert house.trials.claim("worker") is None
    assert house.asking.ask(study.id, client_id="b").trial.number == 1


def test_no_trial_is_given_out_of_a_study_that_workers_run(house: House) -> None:
    study = house.study()
    with pytest.raises(Conflict, match="Segue's workers"):
        house.asking.ask(study.id, client_id="a")
    with pytest.raises(NotFound):
        house.asking.ask("std_none", client_id="a")


def test_a_worker_s_trial_has_no_token(house: House) -> None:
    house.study()
    work = house.trials.claim("worker")
    assert work is not None
    for token in ("", "any token"):
        with pytest.raises(LostLease):
            house.asking.heartbeat(work.trial.id, token)


def test_a_paused_study_gives_out_no_trial_but_hears_of_those_under_way(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    house.studies.pause(study.id)
    with pytest.raises(Conflict, match="paused"):
        house.asking.ask(study.id, client_id="b")
    assert house.asking.heartbeat(asked.trial.id, asked.token).answer is HeartbeatAnswer.CONTINUE
    complete(house, asked, 0.1)
    house.studies.resume(study.id)
    assert house.asking.ask(study.id, client_id="b").trial.number == 1


def test_a_client_gets_its_unfinished_trial_again_of_a_paused_study_too(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    house.studies.pause(study.id)
    again = house.asking.ask(study.id, client_id="a")
    assert (again.trial.id, again.trial.attempt) == (asked.trial.id, 2)
    house.studies.cancel(study.id)
    with pytest.raises(Conflict, match="cancelled"):
        house.asking.ask(study.id, client_id="a")


@pytest.mark.parametrize("kind", [FailureKind.TIMED_OUT, FailureKind.OUT_OF_MEMORY, FailureKind.FAILED])
def test_what_went_wrong_is_told_apart_and_retried_by_the_study_s_policy(house: House, kind: FailureKind) -> None:
    study = external(house, max_attempts=1, retry=RetryPolicy(backoff_s=0, on={kind: 2}))
    for state in (TrialState.WAITING, TrialState.FAILED):
        asked = house.asking.ask(study.id, client_id="a")
        failed = house.asking.fail(asked.trial.id, asked.token, reason="no", kind=kind, is_final=False)
        assert failed.state is state
    assert failed.failures.of(kind) == 2
    assert house.studies.get(study.id).failures.of(kind) == 2


def test_told_trials_are_held_to_the_constraints(house: House) -> None:
    study = external(house, n_initial=2, n_iterations=0, constraints=(parse("model_bytes <= 9"),))
    big, small = (house.asking.ask(study.id, client_id=client) for client in "ab")
    with pytest.raises(InvalidRequest) as refused:
        complete(house, big, 0.9)
    assert refused.value.pointer == "/model_bytes"
    for asked, objective, model_bytes in ((big, 0.9, 10), (small, 0.2, 9)):
        told = replace(report(objective), model_bytes=model_bytes)
        house.asking.complete(asked.trial.id, asked.token, told)
    view = house.studies.get(study.id)
    assert (view.study.state, view.study.best_trial_id) == (StudyState.COMPLETED, small.trial.id)
    (standing,) = house.studies.trial_facts(big.trial.id).standings
    assert standing.is_kept is False


def test_a_pruned_trial_of_a_client_informs_the_next_suggestion(house: House) -> None:
    study = external(house, n_initial=3, pruning=Pruning(rule="median", n_startup_trials=1))
    good, bad = (house.asking.ask(study.id, client_id=client) for client in "ab")
    house.asking.measured(good.trial.id, good.token, epoch(1, 0.5))
    complete(house, good, 0.6)
    house.asking.measured(bad.trial.id, bad.token, epoch(1, 0.1))
    house.asking.ask(study.id, client_id="c")
    assert [(seen.number, seen.value) for seen in house.observed[-1]] == [(0, 0.6), (1, pytest.approx(0.1))]


def test_a_heartbeat_extends_the_lease_and_shows_the_progress(house: House) -> None:
    asked = house.asking.ask(external(house).id, client_id="a")
    house.clock.advance(AFTER - 2)
    progress = Progress(phase="train", fraction=0.4, epoch=2)
    alive = house.asking.heartbeat(asked.trial.id, asked.token, progress)
    assert alive.expires_at == house.clock.now() + ASK_LEASE
    house.clock.advance(AFTER - 2)
    assert house.trials.reap() == 0
    assert house.studies.trial(asked.trial.id).progress == progress


def test_a_cancelled_study_tells_its_clients_to_stop(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    house.studies.cancel(study.id)
    assert house.asking.heartbeat(asked.trial.id, asked.token).answer is HeartbeatAnswer.CANCEL
    stopped = house.asking.fail(asked.trial.id, asked.token, reason="told to", is_final=False)
    assert stopped.state is TrialState.CANCELLED


def test_a_lapsed_trial_goes_to_the_next_that_asks_though_no_worker_is_about(house: House) -> None:
    study = external(house)
    late = house.asking.ask(study.id, client_id="a")
    house.asking.measured(late.trial.id, late.token, epoch(1, 0.9))
    house.clock.advance(AFTER)
    current = house.asking.ask(study.id, client_id="b")
    assert current.trial.id == late.trial.id
    assert current.trial.attempt == 2
    assert current.trial.outcome is None
    for tell in (
        lambda: house.asking.heartbeat(late.trial.id, late.token),
        lambda: house.asking.measured(late.trial.id, late.token, epoch(2, 0.9)),
        lambda: complete(house, late, 0.9),
        lambda: house.asking.fail(late.trial.id, late.token, reason="late", is_final=True),
    ):
        with pytest.raises(LostLease):
            tell()
    complete(house, current, 0.2)
    assert house.studies.trial(current.trial.id).objective == 0.2


def test_a_client_s_lease_is_not_a_worker_s(house: House) -> None:
    external(house)
    (study,) = house.studies.list(limit=1).rows
    house.asking.ask(study.id, client_id="a")
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.trials.reap() == 0


def test_a_lease_is_as_long_as_it_was_when_it_was_extended_last(house: House) -> None:
    asked = house.asking.ask(external(house).id, client_id="a")
    claim = Claim(subject="trial", id=asked.trial.id, attempt=1, worker_id="a")
    house.trials.heartbeat(claim, lease=timedelta(seconds=9))
    lease = house.studies.trial(asked.trial.id).lease
    assert lease == Lease(worker_id="a", expires_at=house.clock.now() + timedelta(seconds=9), length_s=9.0)


def test_epochs_are_kept_in_order_and_told_again_are_replaced(house: House) -> None:
    asked = house.asking.ask(external(house).id, client_id="a")
    identity, token = asked.trial.id, asked.token
    house.asking.measured(identity, token, epoch(2, 0.2, train_s=4.5))
    house.clock.advance(3)
    house.asking.measured(identity, token, epoch(1, 0.3))
    alive = house.asking.measured(identity, token, epoch(1, 0.1))
    assert alive.answer is HeartbeatAnswer.CONTINUE
    stored = house.studies.trial(identity)
    assert stored.objective is None
    complete(house, asked, 0.25)
    told = house.studies.trial(identity).outcome
    assert told is not None
    assert [(known.epoch, known.train_s) for known in told.epochs] == [(1, 3.0), (2, 4.5)]
    assert [known.scores.objective.value for known in told.epochs if known.scores.objective] == [0.1, 0.2]
    assert told.times_s == {"train": 2.0}


def test_a_completion_told_twice_counts_once(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    complete(house, asked, 0.2)
    complete(house, asked, 0.9)
    assert house.studies.trial(asked.trial.id).objective == 0.2
    assert house.studies.get(study.id).counts[TrialState.COMPLETED] == 1
    with pytest.raises(LostLease):
        house.asking.heartbeat(asked.trial.id, asked.token)
    with pytest.raises(LostLease):
        house.asking.fail(asked.trial.id, asked.token, reason="after all", is_final=True)


def test_a_failed_attempt_is_tried_again_until_its_attempts_are_used_up(house: House) -> None:
    study = external(house, max_attempts=2)
    for state in (TrialState.WAITING, TrialState.FAILED):
        asked = house.asking.ask(study.id, client_id="a")
        assert asked.trial.number == 0
        failed = house.asking.fail(asked.trial.id, asked.token, reason="no memory", is_final=False)
        assert failed.state is state
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.reason) == ("error", "no memory")
    again = house.asking.fail(asked.trial.id, asked.token, reason="no memory", is_final=False)
    assert again == failed


def test_a_final_failure_is_the_point_s_own(house: House) -> None:
    study = external(house, max_attempts=5)
    asked = house.asking.ask(study.id, client_id="a")
    failed = house.asking.fail(asked.trial.id, asked.token, reason="diverged", is_final=True)
    assert (failed.state, failed.failure and failed.failure.code) == (TrialState.INFEASIBLE, "infeasible")
    house.asking.ask(study.id, client_id="a")
    (seen,) = house.observed[-1]
    assert seen.is_infeasible


def completed(house: House) -> Study:
    study = external(house, n_initial=2, n_iterations=0)
    for objective in (0.3, 0.1):
        complete(house, house.asking.ask(study.id, client_id="a"), objective)
    return study


def test_a_study_completes_without_a_confirmation_and_says_why(house: House) -> None:
    study = completed(house)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.confirmation is None
    assert view.unconfirmed is not None
    assert "outside Segue" in view.unconfirmed
    assert view.fraction == 1.0
    assert view.best is not None
    assert view.best.objective == 0.3
    with pytest.raises(Conflict, match="completed"):
        house.asking.ask(study.id, client_id="a")


def test_the_winner_of_an_external_study_is_promoted_by_training_it_here(house: House) -> None:
    study = completed(house)
    with pytest.raises(NoVectors, match="fit full"):
        house.models.promote(study.id)
    model = house.models.promote(study.id, fit=Fit.FULL)
    assert isinstance(model, Model)
    assert model.lineage.trainer is DEFAULT_TRAINER
    assert model.metrics.test is None


def test_the_remaining_time_counts_the_clients_that_run(house: House) -> None:
    study = external(house, n_initial=5, n_iterations=0)
    first = house.asking.ask(study.id, client_id="a")
    house.clock.advance(10)
    complete(house, first, 0.1)
    for client in "ab":
        house.asking.ask(study.id, client_id=client)
    assert house.studies.get(study.id).eta_s == pytest.approx(20.0)


def test_a_failed_trial_waits_for_no_back_off_before_a_client_that_asks(house: House) -> None:
    study = external(house, n_initial=1, n_iterations=0, retry=RetryPolicy(backoff_s=60.0))
    first = house.asking.ask(study.id, client_id="a")
    house.asking.fail(first.trial.id, first.token, reason="no memory", is_final=False)
    assert house.asking.ask(study.id, client_id="a").trial.attempt == 2


def test_a_stopping_rule_ends_an_external_study_too(house: House) -> None:
    study = external(house, n_initial=5, stopping=Stopping(target=0.3))
    complete(house, house.asking.ask(study.id, client_id="a"), 0.3)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED
    with pytest.raises(Conflict, match="completed"):
        house.asking.ask(study.id, client_id="a")


def test_a_rule_that_stops_the_study_when_a_client_asks_leaves_it_nothing(house: House) -> None:
    study = external(house, n_initial=5, stopping=Stopping(max_run_s=100))
    asked = house.asking.ask(study.id, client_id="a")
    house.clock.advance(99)
    house.asking.heartbeat(asked.trial.id, asked.token)
    house.clock.advance(2)
    with pytest.raises(BudgetSpent):
        house.asking.ask(study.id, client_id="b")
    complete(house, asked, 0.1)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED


def test_an_external_study_that_was_extended_gives_out_trials_again(house: House) -> None:
    study = completed(house)
    house.life.extend(study.id, n_iterations=1)
    complete(house, house.asking.ask(study.id, client_id="a"), 0.2)
    view = house.studies.get(study.id)
    assert (view.study.state, view.n_ended, view.n_trials) == (StudyState.COMPLETED, 3, 3)


def test_reports_on_a_deleted_trial_find_nothing(house: House) -> None:
    study = external(house)
    asked = house.asking.ask(study.id, client_id="a")
    house.studies.cancel(study.id)
    house.life.delete(study.id)
    with pytest.raises(NotFound):
        complete(house, asked, 0.1)


def test_a_client_is_told_that_its_trial_was_pruned_and_asks_for_the_next(house: House) -> None:
    study = external(house, n_initial=3, pruning=Pruning(rule="median", n_startup_trials=1))
    good = house.asking.ask(study.id, client_id="a")
    assert house.asking.measured(good.trial.id, good.token, epoch(1, 0.5)).answer is HeartbeatAnswer.CONTINUE
    bad = house.asking.ask(study.id, client_id="b")
    told = house.asking.measured(bad.trial.id, bad.token, epoch(1, 0.1))
    assert (told.answer, told.expires_at) == (HeartbeatAnswer.PRUNE, None)
    stored = house.studies.trial(bad.trial.id)
    assert (stored.state, stored.lease) == (TrialState.PRUNED, None)
    with pytest.raises(LostLease):
        complete(house, bad, 0.9)
    assert house.asking.ask(study.id, client_id="b").trial.number == 2
