"""`kill -9` of workers: a trial runs again, counts once, and keeps its point."""

import random
import subprocess
import time

from app.domain.datasets import DatasetState
from app.domain.models import Model, ModelState
from app.domain.tuning.study import OPEN_STATES
from app.domain.tuning.trial import Trial, TrialState
from app.services.leasing import artifact_name
from tests.journeys.house import ON_POSTGRESQL, PATIENT_LEASE_S, SLOW, House, assert_tidy
from tests.processes import descendants, is_alive, kill, runners, trial_children, until

N_KILLS = 3
SEED = 20_261_123


@ON_POSTGRESQL
def test_the_trial_of_a_killed_worker_runs_again_with_the_same_point_and_counts_once(house: House) -> None:
    first, second = (house.worker(lease_s=PATIENT_LEASE_S) for _ in range(2))
    study = house.study(epochs=SLOW, n_initial=2)
    caught = house.caught_training(study)
    before = {trial.number: trial.parameters for trial in house.trials(study)}
    assert caught.lease is not None
    holder, other = (first, second) if f"-{first.pid}-" in caught.lease.worker_id else (second, first)
    orphans = descendants(holder.pid)
    assert trial_children(holder.pid)

    kill(holder)
    killed_at = time.monotonic()
    until(lambda: not any(is_alive(orphan) for orphan in orphans), "what the worker started is gone", within_s=5)
    until(
        lambda: house.container.studies.trial(caught.id).attempt == 2,
        "another worker takes the trial",
        within_s=PATIENT_LEASE_S + 15 - (time.monotonic() - killed_at),
    )

    house.assert_complete(study)
    after = {trial.number: trial for trial in house.trials(study)}
    assert {number: after[number].parameters for number in before} == before
    assert after[caught.number].attempt == 2
    assert all(trial.attempt == 1 for number, trial in after.items() if number != caught.number)
    assert all(trial.state is TrialState.COMPLETED for trial in after.values())
    assert other.poll() is None


def test_a_dataset_and_a_model_of_a_killed_worker_are_made_by_another(sqlite_house: House) -> None:
    datasets, models = sqlite_house.container.datasets, sqlite_house.container.models
    freeze_runner(sqlite_house, sqlite_house.worker())
    dataset = sqlite_house.asked_dataset()
    until(lambda: datasets.get(dataset.id).lease is not None, "a worker prepares the dataset")
    kill(sqlite_house.started[-1])
    second = sqlite_house.worker()
    until(lambda: datasets.get(dataset.id).state is DatasetState.READY, "another has prepared it")
    ready = datasets.get(dataset.id)
    assert (ready.attempt, ready.fingerprint) == (2, sqlite_house.compiled.fingerprint)
    study = sqlite_house.study(n_initial=1, dataset_id=dataset.id)
    sqlite_house.assert_complete(study)

    freeze_runner(sqlite_house, second)
    model = models.promote(study.id)
    assert isinstance(model, Model)
    until(lambda: models.get(model.id).lease is not None, "a worker builds the model")
    kill(second)
    assert sqlite_house.container.aliases.all() == ()
    sqlite_house.worker()
    until(lambda: models.get(model.id).state is ModelState.READY, "another has built it")
    assert models.get(model.id).attempt == 2
    assert [move.model_id for move in sqlite_house.container.aliases.moves("production", limit=10).rows] == [model.id]
    assert sqlite_house.kept("datasets") == [artifact_name(dataset.id, 2)]
    assert sqlite_house.kept("models") == [artifact_name(model.id, 2)]


def freeze_runner(house: House, worker: subprocess.Popen[bytes]) -> None:
    """Let a worker's runner stand still: what the worker claims from now on it holds until it is killed."""
    until(lambda: bool(runners(worker.pid)), "the runner is there")
    for runner in runners(worker.pid):
        house.frozen.append(runner)
        runner.suspend()


def test_a_study_completes_however_often_its_workers_are_killed(house: House) -> None:
    moments = random.Random(SEED)  # noqa: S311 - instants, no secrets
    study = house.study(epochs=SLOW // 2, n_initial=4, parallelism=2, max_attempts=20, baselines=True)
    workers = {started.pid: started for started in (house.worker(), house.worker(), house.worker())}
    points: dict[int, Trial] = {}

    def busy() -> list[int]:
        """Workers that hold a trial, and live."""
        leases = [trial.lease.worker_id for trial in house.view(study).running if trial.lease is not None]
        return [pid for pid in workers if any(f"-{pid}-" in lease for lease in leases)]

    for _ in range(N_KILLS):
        until(lambda: bool(busy()) or house.view(study).study.state not in OPEN_STATES, "a worker is busy")
        time.sleep(moments.uniform(0, 1))  # the fault's own instant: anywhere in a trial, a claim or a report
        victim = moments.choice(busy() or list(workers))
        kill(workers.pop(victim))
        for trial in house.trials(study):
            assert points.setdefault(trial.number, trial).parameters == trial.parameters
        if not workers:
            replacement = house.worker()
            workers[replacement.pid] = replacement

    house.assert_complete(study)
    for trial in house.trials(study):
        assert trial.state is TrialState.COMPLETED
        assert points.setdefault(trial.number, trial).parameters == trial.parameters
    assert_tidy(house, study)
