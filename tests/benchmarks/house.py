"""What the benchmarks of studies share: a service and a worker on SQLite in a folder of their own."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.adapters.sql.migrating import upgrade
from app.bootstrap import Container
from app.config import load
from app.domain.datasets import Dataset, DatasetSpec, DatasetState, SourceReference
from app.domain.errors import BudgetSpent
from app.domain.listening import Preparation
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.search_space import Parameter, Value, preset
from app.domain.tuning.study import OPEN_STATES, Study, StudySpec
from app.services.own_trials import OwnTrial
from app.services.studies import StudyView
from tests.processes import worker

SHIPPED = Path(__file__).parents[2] / "app" / "demo" / "data" / "lastfm_three" / "plays.parquet"


@dataclass(frozen=True)
class House:
    """The services, and the dataset that a real worker prepared."""

    container: Container
    dataset: Dataset

    @property
    def prepared_s(self) -> float:
        """Seconds from the request for the dataset until it was ready, the worker's start included."""
        if self.dataset.finished_at is None:
            raise ValueError(self.dataset)
        return (self.dataset.finished_at - self.dataset.created_at).total_seconds()

    def completed(
        self,
        *,
        n_initial: int,
        n_iterations: int,
        parallelism: int,
        seed: int,
        baselines: bool,
        trainer: Trainer = DEFAULT_TRAINER,
        epochs: int = 3,
        overrides: Mapping[str, Parameter | Value] = MappingProxyType({}),
        pruning: Pruning | None = None,
        points: Sequence[Mapping[str, Value]] = (),
    ) -> StudyView:
        """The article's study, or one that differs in its space or prunes its trials, once it has ended.

        With `points` the first trials are those, whatever would be suggested.
        """
        spec = StudySpec(
            name="benchmark",
            dataset_id=self.dataset.id,
            space=preset("article", epochs=epochs, overrides=overrides),
            trainer=trainer,
            n_initial=n_initial,
            n_iterations=n_iterations,
            parallelism=parallelism,
            seed=seed,
            baselines=baselines,
            pruning=pruning,
        )
        created = self._created(spec, points)
        while (view := self.container.studies.get(created.id)).study.state in OPEN_STATES:
            time.sleep(0.05)
        if view.study.failure is not None:
            raise RuntimeError(view.study.failure.reason)
        return view

    def _created(self, spec: StudySpec, points: Sequence[Mapping[str, Value]]) -> Study:
        while True:
            created = self.container.studies.create(spec)
            if not isinstance(created, Study):
                raise TypeError(created)
            try:
                if points:
                    self.container.own_trials.add(created.id, [OwnTrial(parameters=dict(point)) for point in points])
            except BudgetSpent:  # the worker was quicker and has a suggestion under way
                self.container.studies.cancel(created.id)
            else:
                return created


@contextmanager
def house(plays: Path, *, slots: int, preparation: Preparation = Preparation()) -> Iterator[House]:
    """A house with a worker of so many slots, and these plays prepared as told."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load(
            env_file=None,
            data_dir=Path(folder),
            sources={"plays": plays.resolve()},
            worker_slots=slots,
            poll_interval_s=0.1,
        )
        upgrade(settings.database_url)
        container = Container(settings)
        try:
            with worker(settings):
                yield House(container, _prepared(container, preparation))
        finally:
            container.stop()


def _prepared(container: Container, preparation: Preparation) -> Dataset:
    spec = DatasetSpec(name="benchmark", plays=SourceReference(source="plays"), preparation=preparation)
    created = container.datasets.create(spec)
    if not isinstance(created, Dataset):
        raise TypeError(created)
    while (dataset := container.datasets.get(created.id)).state is not DatasetState.READY:
        if dataset.failure is not None:
            raise RuntimeError(dataset.failure.reason)
        time.sleep(0.05)
    return dataset
