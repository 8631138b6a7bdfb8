"""A study that a rule stops is extended, confirmed again and deleted, by a worker that runs all the while."""

from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.stopping import Stopping, StoppingRule
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import TrialRole, TrialState
from tests.journeys.house import ENDLESS, LABORIOUS, LEASE_S, ON_POSTGRESQL, ON_SQLITE, House, assert_tidy
from tests.processes import kill, until


@ON_POSTGRESQL
def test_a_stopped_study_is_extended_and_deleted_while_workers_run(house: House) -> None:
    study = house.study(n_initial=12, parallelism=2, stopping=Stopping(max_trials=3))
    house.worker(worker_slots=2)
    view = house.over(study)
    assert view.study.state is StudyState.COMPLETED, view.study.failure
    assert view.study.stopped is not None
    assert view.study.stopped.rule is StoppingRule.MAX_TRIALS
    assert view.counts[TrialState.COMPLETED] == 3
    again = house.container.life.extend(study.id, n_iterations=2)
    assert isinstance(again, Study)
    view = house.over(study)
    assert view.study.state is StudyState.COMPLETED, view.study.failure
    trials = house.trials(study)
    assert [trial.number for trial in trials] == list(range(5))
    winners = [trial.source_trial_id for trial in house.trials(study, TrialRole.CONFIRMATION)]
    assert len(winners) == len(set(winners))
    assert view.best is not None
    assert view.best.id in winners
    assert_tidy(house, study)
    house.container.life.delete(study.id)
    assert house.kept("trials") == []


@ON_SQLITE
def test_a_killed_workers_trial_waits_for_its_time_and_an_idle_worker_wakes_for_it(house: House) -> None:
    study = house.study(n_initial=1, epochs=ENDLESS, fixed=LABORIOUS, retry=RetryPolicy(backoff_s=1.0))
    first = house.worker()
    trial = house.caught_training(study)
    kill(first)
    house.worker()
    until(lambda: house.trials(study)[0].failures.lost == 1, "the trial is taken back", within_s=LEASE_S + 15)
    until(lambda: house.trials(study)[0].attempt == trial.attempt + 1, "it is begun again", within_s=15)
    again = house.trials(study)[0]
    assert again.not_before is None
    house.container.studies.cancel(study.id)
