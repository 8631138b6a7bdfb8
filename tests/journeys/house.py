"""A whole Segue in a folder of its own: its services for looking on, real programs for everything else."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.bootstrap import Container
from app.config import Settings, load
from app.domain.datasets import Dataset, DatasetState
from app.domain.gates import GateLimits
from app.domain.training import Trainer
from app.domain.tuning.search_space import SearchSpace, Value, preset
from app.domain.tuning.study import OPEN_STATES, Study, StudySpec, StudyState
from app.domain.tuning.trial import ENDED_STATES, Trial, TrialRole, TrialState
from app.services.leasing import artifact_name
from app.services.studies import StudyView
from tests.journeys import doomed
from tests.journeys.doomed import Fate
from tests.journeys.listening import Compiled
from tests.keys import give_key
from tests.processes import Server, start_program, start_server, start_worker, stop, until

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""For journeys in which it does not matter how a database locks or tells the time: on one of them, in turn."""

LEASE_S = 2.0
PATIENT_LEASE_S = 6.0
"""The lease of workers that must not be too slow to keep it, however busy the machine is."""

QUICK = 1
"""Epochs of a trial that is over at once."""

SLOW = 500
"""Epochs of a trial that takes some seconds: long enough to be caught in the middle."""

LONG = 2 * SLOW
"""Epochs of a trial that outlives the start of another worker."""

ENDLESS = 1000
LABORIOUS: dict[str, Value] = {"vector_size": 128, "window": 20, "negative": 20}
"""Epochs and fixed values of a trial that no test waits for: minutes."""

SMALL: dict[str, Value] = {"vector_size": 32, "window": 5, "negative": 5}


@dataclass
class House:
    """See the module header. Whatever it starts is stopped when it closes."""

    settings: Settings
    container: Container
    compiled: Compiled
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    frozen: list[psutil.Process] = field(default_factory=list)
    """What was suspended, to be ended too."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def worker(self, **changes: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - settings
        """Another worker, with these settings changed."""
        started = start_worker(self.settings.model_copy(update=changes))
        self.started.append(started)
        return started

    def doomed(
        self,
        fate: Fate,
        *arguments: str,
        **changes: Any,  # noqa: ANN401 - settings
    ) -> subprocess.Popen[bytes]:
        """Another worker, or what the arguments name, with a fate; what it writes is in `log`."""
        started = start_program(
            self.settings.model_copy(update=changes),
            doomed.__name__,
            *(arguments or ("worker",)),
            log=self.log,
            variables=fate.variables(),
        )
        self.started.append(started)
        return started

    @property
    def log(self) -> Path:
        """What doomed programs write."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return self.settings.data_dir / "doomed.log"

    @property
    def notes(self) -> Path:
        """Where those note deaths and reports that are told to."""
        return self.log.with_name("notes.jsonl")

    def noted(self, what: str) -> list[dict[str, Any]]:
        """The notes that say this."""
        lines = self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
        return [words for line in lines if what in (words := json.loads(line))]

    def server(self, *, port: int = 0, arguments: tuple[str, ...] = (), **changes: Any) -> Server:  # noqa: ANN401
        """Another server, once it answers."""
        server = start_server(self.settings.model_copy(update=changes), port=port, arguments=arguments)
        self.started.append(server.leader)
        return server

    def close(self) -> None:
        """Stop everything that was started; tell, for the report of a failure, what had ended already."""
        over = {started.pid: started.returncode for started in self.started if started.poll() is not None}
        sys.stderr.write(f"Ended before, with these exit codes: {over}\n")
        if self.log.exists():
            sys.stderr.write(self.log.read_text(encoding="utf-8", errors="replace"))
        try:
            for suspended in self.frozen:
                with suppress(psutil.NoSuchProcess):
                    suspended.kill()
            stop(*self.started)
        finally:
            self.container.stop()

    def dataset(self) -> Dataset:
        """A ready dataset, as a worker would have prepared it; or did, where one runs and was quicker."""
        asked = self.asked_dataset()
        work = self.container.datasets.claim("preparer")
        if work is None:
            until(lambda: self.container.datasets.get(asked.id).state is DatasetState.READY, "the dataset is ready")
            return self.container.datasets.get(asked.id)
        with self.container.store.stage() as staged:
            shutil.copytree(self.compiled.folder, staged, dirs_exist_ok=True)
            return self.container.datasets.complete(
                work.claim, staged=staged, statistics=self.compiled.statistics, fingerprint=self.compiled.fingerprint
            )

    def asked_dataset(self) -> Dataset:
        """A dataset that a worker has to prepare."""
        created = self.container.datasets.create(self.compiled.spec)
        assert isinstance(created, Dataset)
        return created

    def study(
        self,
        *,
        epochs: int = QUICK,
        fixed: dict[str, Value] | None = None,
        **changes: Any,  # noqa: ANN401 - fields of StudySpec
    ) -> Study:
        """A queued random study that tunes the learning rate."""
        wanted: dict[str, Any] = {
            "name": f"study {next(self.numbers)}",
            "algorithm": "random",
            "n_initial": 3,
            "n_iterations": 0,
            "baselines": False,
            "trainer": Trainer.GENSIM,  # slow enough to be caught in the middle
        }
        wanted |= changes
        if "dataset_id" not in wanted:
            wanted["dataset_id"] = self.dataset().id
        spec = StudySpec(space=space(epochs=epochs, **(SMALL | (fixed or {}))), **wanted)
        study = self.container.studies.create(spec)
        assert isinstance(study, Study)
        return study

    def view(self, study: Study) -> StudyView:
        """The study as it is now."""
        return self.container.studies.get(study.id)

    def trials(self, study: Study, role: TrialRole | None = TrialRole.SEARCH) -> list[Trial]:
        """Its trials as they are now."""
        return self.container.studies.trials(study.id, role=role, limit=1000).rows

    def training(self, study: Study) -> list[Trial]:
        """Those in the middle of their training."""
        return [
            trial
            for trial in self.trials(study)
            if trial.state is TrialState.RUNNING
            and trial.progress is not None
            and trial.progress.phase == "train"
            and trial.progress.fraction > 0
        ]

    def caught_training(self, study: Study) -> Trial:
        """A trial, once it is in the middle of its training."""
        until(lambda: bool(self.training(study)), "a trial is being trained")
        return self.training(study)[0]

    def over(self, study: Study, *, within_s: float = 120.0) -> StudyView:
        """The study, once it has ended."""
        until(lambda: self.view(study).study.state not in OPEN_STATES, "the study has ended", within_s=within_s)
        return self.view(study)

    def staged(self) -> list[Path]:
        """What is being written, or was left half-written."""
        folder = self.settings.data_dir / "staging"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def kept(self, kind: str) -> list[str]:
        """The names of the published folders of a kind."""
        folder = self.settings.data_dir / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def assert_complete(self, study: Study) -> StudyView:
        """Wait for the end; every trial of the search is there once and counted once, nothing is held any more."""
        view = self.over(study)
        trials = self.trials(study, None)
        search = [trial for trial in trials if trial.role is TrialRole.SEARCH]
        assert view.study.state is StudyState.COMPLETED, view.study.failure
        assert sorted(trial.number for trial in search) == list(range(study.spec.budget))
        assert len({trial.parameters for trial in search}) == study.spec.budget
        assert sum(view.counts.values()) == study.spec.budget
        assert view.n_ended == view.n_trials == len(trials)
        assert all(trial.state in ENDED_STATES and trial.lease is None for trial in trials)
        done = [trial for trial in search if trial.state is TrialState.COMPLETED]
        assert view.best is not None
        assert view.best.objective == max(trial.objective or 0.0 for trial in done)
        assert [trial.id for trial in search if trial.has_vectors] == [view.best.id]
        return view


def assert_tidy(house: House, study: Study) -> None:
    """Nothing is left of dead workers once it was swept: the best trial's vectors are all that is kept."""
    house.container.store.sweep(older_than_s=0)
    assert not house.staged()
    best = house.view(study).best
    assert best is not None
    assert house.kept("trials") == [artifact_name(best.id, best.attempt)]
    house.container.store.open("trials", artifact_name(best.id, best.attempt))


def space(*, epochs: int, **fixed: Value) -> SearchSpace:
    """The article's space with some of it fixed."""
    return preset("article", epochs=epochs, overrides=fixed)


def settings_for(
    folder: Path,
    compiled: Compiled,
    *,
    database_url: str,
    **changes: Any,  # noqa: ANN401 - settings
) -> Settings:
    """Short leases and short waits."""
    return load(
        env_file=None,
        **{
            "data_dir": folder / "data",
            "database_url": database_url,
            "sources": {"plays": compiled.plays, "songs": compiled.songs},
            "lease_s": LEASE_S,
            "poll_interval_s": 0.1,
            "alias_poll_s": 0.1,
            "grace_s": 10.0,
            "worker_slots": 1,
            "gates": GateLimits(paired_margin=None, segment_margin=None, coverage_share=None, popularity_shift=None),
            **changes,
        },
    )


@contextmanager
def opened(settings: Settings, compiled: Compiled) -> Iterator[House]:
    """A house for as long as the block runs."""
    house = House(settings=settings, container=Container(settings), compiled=compiled)
    try:
        give_key(house.container)
        yield house
    finally:
        house.close()
