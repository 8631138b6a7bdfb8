"""SIGTERM: a worker finishes what it does, or hands it back, and leaves nothing behind."""

import subprocess

from app.domain.tuning.trial import TrialState
from tests.journeys.house import ENDLESS, LABORIOUS, LONG, ON_POSTGRESQL, PATIENT_LEASE_S, House
from tests.processes import descendants, is_alive, until


def exit_code(worker: subprocess.Popen[bytes]) -> int:
    children = descendants(worker.pid)
    worker.terminate()
    code = worker.wait(60)
    until(lambda: not any(is_alive(child) for child in children), "no child is left", within_s=5)
    return code


@ON_POSTGRESQL
def test_without_grace_the_trial_is_handed_back_and_the_attempt_does_not_count(house: House) -> None:
    worker = house.worker(grace_s=0.0)
    study = house.study(epochs=ENDLESS, fixed=LABORIOUS, n_initial=1)
    caught = house.caught_training(study)
    assert exit_code(worker) == 0
    [trial] = house.trials(study)
    assert (trial.id, trial.state, trial.attempt, trial.lease) == (caught.id, TrialState.WAITING, 0, None)
    assert trial.parameters == caught.parameters
    assert trial.failure is None
    assert not house.staged()


def test_within_the_grace_the_trial_is_finished_and_no_other_begun(sqlite_house: House) -> None:
    house = sqlite_house
    worker = house.worker(grace_s=60.0, lease_s=PATIENT_LEASE_S)
    study = house.study(epochs=LONG)
    caught = house.caught_training(study)
    n_begun = len(house.trials(study))
    assert exit_code(worker) == 0
    trials = house.trials(study)
    assert len(trials) == n_begun
    assert {trial.state for trial in trials} == {TrialState.COMPLETED}
    assert {trial.attempt for trial in trials} == {1}
    assert caught.id in {trial.id for trial in trials}
    assert not house.staged()
