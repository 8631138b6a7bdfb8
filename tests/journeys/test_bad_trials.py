"""A trial that exhausts memory, overruns its time or crashes fails alone, and its worker lives on."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from app.adapters.sql.migrating import upgrade
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import CategoricalParameter, SearchSpace, Value, preset
from app.domain.tuning.study import OPEN_STATES, Study, StudySpec, StudyState
from app.domain.tuning.trial import TrialState
from tests.journeys.house import House, opened, settings_for
from tests.journeys.listening import compiled_crowd
from tests.processes import trial_children, until

MEMORY_BYTES = 768 * 2**20
N_SONGS = 100_000
LARGE = 1024
"""Vectors of this size take 0.8 GB, input and output together; of the small size 6 MB."""

ENDLESS = 1000
TIMEOUT_S = 6.0
N_TRIALS = 3


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with so many songs that their vectors can be made too large."""
    folder = tmp_path_factory.mktemp("house")
    url = f"sqlite:///{folder / 'segue.db'}"
    upgrade(url)
    crowd = compiled_crowd(folder, n_songs=N_SONGS)
    with opened(settings_for(folder, crowd, database_url=url, child_memory_bytes=MEMORY_BYTES), crowd) as found:
        yield found


@pytest.fixture(scope="module")
def worker(house: House) -> subprocess.Popen[bytes]:
    """The one that meets every bad trial of this module."""
    return house.worker()


def mixed_study(house: House, name: str, *, good: int, bad: int, timeout_s: float | None = None) -> Study:
    """A study of single attempts that is sure to meet good and bad points."""
    fixed: dict[str, Value] = {"vector_size": 8, "window": 2, "negative": 2}
    fixed.pop(name, None)
    space = preset("article", epochs=1, overrides={**fixed, name: CategoricalParameter(name=name, choices=(good, bad))})
    spec = StudySpec(
        name=f"mixed {name}",
        dataset_id=house.dataset().id,
        space=space,
        algorithm="random",
        n_initial=N_TRIALS,
        n_iterations=0,
        seed=next(seed for seed in range(100) if meets(space, seed, name) == {good, bad}),
        max_attempts=1,
        trial_timeout_s=timeout_s,
        baselines=False,
    )
    study = house.container.studies.create(spec)
    assert isinstance(study, Study)
    return study


def meets(space: SearchSpace, seed: int, name: str) -> set[int]:
    search = RandomSearch(space, seed)
    return {getattr(search.suggest([], number=number), name) for number in range(N_TRIALS)}


def assert_the_bad_failed_alone(house: House, study: Study, name: str, *, bad: int, code: str) -> None:
    view = house.over(study)
    assert view.study.state is StudyState.COMPLETED, view.study.failure
    trials = house.trials(study)
    assert [trial.number for trial in trials] == list(range(N_TRIALS))
    for trial in trials:
        if getattr(trial.parameters, name) == bad:
            assert trial.state is TrialState.FAILED
            assert trial.failure is not None
            assert trial.failure.code == code, trial.failure
            assert str(house.settings.data_dir) not in trial.failure.reason
        else:
            assert trial.state is TrialState.COMPLETED, trial.failure
    assert view.counts[TrialState.FAILED] > 0
    assert view.confirmation is not None
    assert view.confirmation.state is TrialState.COMPLETED


def test_a_trial_that_exhausts_memory_fails_alone(house: House, worker: subprocess.Popen[bytes]) -> None:
    study = mixed_study(house, "vector_size", good=8, bad=LARGE)
    assert_the_bad_failed_alone(house, study, "vector_size", bad=LARGE, code="out_of_memory")
    assert worker.poll() is None


def test_a_trial_that_overruns_its_time_fails_alone(house: House, worker: subprocess.Popen[bytes]) -> None:
    study = mixed_study(house, "epochs", good=1, bad=ENDLESS, timeout_s=TIMEOUT_S)
    assert_the_bad_failed_alone(house, study, "epochs", bad=ENDLESS, code="timed_out")
    assert worker.poll() is None


def test_a_trial_whose_interpreter_crashes_fails_alone(house: House, worker: subprocess.Popen[bytes]) -> None:
    study = mixed_study(house, "epochs", good=1, bad=ENDLESS)

    def bad_ones_crash() -> bool:
        for trial in house.training(study):
            if getattr(trial.parameters, "epochs", None) == ENDLESS:
                for child in trial_children(worker.pid):
                    os.kill(child.pid, signal.SIGSEGV)
                until(lambda lost=trial: house.container.studies.trial(lost.id).lease is None, "the crash is noticed")  # type: ignore[misc]
        return house.view(study).study.state not in OPEN_STATES

    until(bad_ones_crash, "the study has ended", within_s=120)
    assert_the_bad_failed_alone(house, study, "epochs", bad=ENDLESS, code="crashed")
    assert worker.poll() is None
