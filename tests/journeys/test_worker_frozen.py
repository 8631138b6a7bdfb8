"""SIGSTOP of a worker for three leases: its trial runs elsewhere, and what it reports when it goes on is refused."""

import signal
import subprocess
import time

import psutil

from app.domain.tuning.study import Study
from app.domain.tuning.trial import Trial, TrialState
from app.services.leasing import artifact_name
from tests.journeys.doomed import Death, Fate
from tests.journeys.house import LEASE_S, LONG, ON_POSTGRESQL, QUICK, House
from tests.processes import until

BEFORE_ITS_REPORT = Death("report.before", 1, by=signal.SIGSTOP)


@ON_POSTGRESQL
def test_the_late_report_of_a_worker_that_stood_still_for_three_leases_is_refused(house: House) -> None:
    frozen = house.doomed(Fate(own=BEFORE_ITS_REPORT, notes=house.notes))
    house.frozen.append(psutil.Process(frozen.pid))
    study = house.study(epochs=QUICK, n_initial=1)
    until(lambda: bool(house.noted("died")), "the worker stands still with a result in its hands")
    [caught] = house.trials(study)
    assert_refused(house, frozen, study, caught)
    assert f"Discarded trial {caught.id} (attempt 1)" in house.log.read_text(encoding="utf-8")


def test_a_worker_that_stood_still_amid_a_training_gives_it_up(sqlite_house: House) -> None:
    house = sqlite_house
    frozen = house.doomed(Fate(notes=house.notes))
    house.frozen.append(psutil.Process(frozen.pid))
    study = house.study(epochs=LONG, n_initial=1)
    caught = house.caught_training(study)
    frozen.send_signal(signal.SIGSTOP)
    assert_refused(house, frozen, study, caught)


def assert_refused(house: House, frozen: subprocess.Popen[bytes], study: Study, caught: Trial) -> None:
    """Another worker measures the trial; the one that stood still changes nothing and then works on."""
    stopped_at = time.monotonic()
    other = house.worker()
    until(lambda: house.container.studies.trial(caught.id).attempt == 2, "another takes it")
    house.assert_complete(study)
    counted = house.trials(study, None)
    until(lambda: time.monotonic() > stopped_at + 3 * LEASE_S, "three leases have gone by")

    frozen.send_signal(signal.SIGCONT)
    until(lambda: f"Ended trial {caught.id} (attempt 1)" in house.log.read_text(encoding="utf-8"), "it has given up")
    assert house.trials(study, None) == counted
    assert house.noted("reported") == []
    [trial] = house.trials(study)
    assert (trial.id, trial.state, trial.attempt) == (caught.id, TrialState.COMPLETED, 2)
    assert trial.parameters == caught.parameters
    assert house.kept("trials") == [artifact_name(trial.id, 2)]
    house.container.store.open("trials", artifact_name(trial.id, 2))

    other.terminate()
    other.wait()
    house.assert_complete(house.study(n_initial=1, dataset_id=study.spec.dataset_id))
