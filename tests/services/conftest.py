"""The services on a real database, in a hurry: no files but small ones, no worker but the test."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.clock import UuidIds
from app.adapters.polling import PollingSignals
from app.adapters.ranks import read_ranks
from app.adapters.sources import recognise
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.datasets import Dataset
from app.domain.ports import Suggester
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.constraints import Constraint
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Study, StudySpec
from app.domain.tuning.suggester import Observation
from app.domain.tuning.warm_start import WarmStart
from app.services.aliases import AliasService
from app.services.asking import AskingService
from app.services.comparing import ComparisonService
from app.services.datasets import DatasetService
from app.services.gating import GateService
from app.services.models import ModelService
from app.services.neighbour_tables import TableService
from app.services.own_trials import OwnTrialService
from app.services.studies import StudyService
from app.services.study_life import StudyLife
from app.services.trials import TrialService
from app.services.warm_starting import WarmStartService
from tests.fakes.lease_watch import ClockLeaseWatch
from tests.services.player import Units
from tests.values import FakeClock, dataset_spec, statistics, study_spec

LEASE = timedelta(seconds=30)
N_NEIGHBOURS = 8
ASK_LEASE = timedelta(seconds=100)


@dataclass
class Listening:
    """A suggester that notes what it was told."""

    suggester: Suggester
    told: list[list[Observation]]

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        """What the suggester suggests."""
        self.told.append(list(observations))
        return self.suggester.suggest(observations, number=number)

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float | None:
        """What the suggester expects."""
        return self.suggester.expected_improvement(observations, suggested, number=number)


@dataclass
class House:
    """Every service on one database."""

    clock: FakeClock
    watch: ClockLeaseWatch
    root: Path
    store: FolderArtifactStore
    units: SqlUnitsOfWork
    datasets: DatasetService
    studies: StudyService
    trials: TrialService
    models: ModelService
    aliases: AliasService
    gates: GateService
    tables: TableService
    comparisons: ComparisonService
    life: StudyLife
    own_trials: OwnTrialService
    asking: AskingService
    warm_starts: WarmStartService
    observed: list[list[Observation]]
    """What the suggester was told, each time that it was asked."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def staged(self) -> Path:
        """A folder with a file in it, as a child leaves one."""
        folder = self.root / f"made-{next(self.numbers)}"
        folder.mkdir(parents=True)
        (folder / "input.npy").write_bytes(b"vectors")
        return folder

    def ready_dataset(self, segments: Mapping[str, int] | None = None, *, fingerprint: str = "f" * 64) -> Dataset:
        """A dataset that a worker has prepared; `segments` are validation pairs by segment."""
        created = self.datasets.create(dataset_spec())
        assert isinstance(created, Dataset)
        work = self.datasets.claim("worker")
        assert work is not None
        return self.datasets.complete(
            work.claim, staged=self.staged(), statistics=statistics(segments), fingerprint=fingerprint
        )

    def study(
        self,
        **changes: int | bool | Trainer | Stopping | RetryPolicy | Pruning | tuple[Constraint, ...] | WarmStart,
    ) -> Study:
        """A queued study on a dataset of its own."""
        spec: StudySpec = study_spec(self.ready_dataset().id, **changes)  # type: ignore[arg-type]
        study = self.studies.create(spec)
        assert isinstance(study, Study)
        return study


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """The services on a fresh database, SQLite and PostgreSQL in turn."""
    clock = FakeClock()
    watch = ClockLeaseWatch(clock)
    engine = create_engine(database_url)
    units = SqlUnitsOfWork(engine, clock=clock)
    store = FolderArtifactStore(tmp_path / "store")
    ids = UuidIds()
    signals = PollingSignals()
    observed: list[list[Observation]] = []
    tokens = itertools.count()
    trials = TrialService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        suggester_for=lambda spec: Listening(RandomSearch(spec.space, spec.seed), observed),
        lease=LEASE,
        watch=watch,
    )
    studies = StudyService(units, ids=ids, signals=signals)
    gates = GateService(units, store=store, read_ranks=partial(read_ranks, pair_set="test"))
    aliases = AliasService(units, gates=gates)
    tables = TableService(
        units, store=store, ids=ids, signals=signals, lease=LEASE, watch=watch, n_neighbours=N_NEIGHBOURS
    )
    yield House(
        clock=clock,
        watch=watch,
        root=tmp_path / "store",
        store=store,
        units=units,
        datasets=DatasetService(
            units,
            store=store,
            ids=ids,
            signals=signals,
            recognise=recognise,
            sources={"plays": tmp_path / "plays.csv"},
            lease=LEASE,
            watch=watch,
        ),
        studies=studies,
        trials=trials,
        gates=gates,
        aliases=aliases,
        models=ModelService(
            units,
            store=store,
            ids=ids,
            signals=signals,
            lease=LEASE,
            watch=watch,
            aliases=aliases,
            default_gates=gates.defaults,
            tables=tables,
        ),
        tables=tables,
        comparisons=ComparisonService(units, store=store, signals=signals, studies=studies, read_ranks=read_ranks),
        life=StudyLife(units, studies=studies, store=store, ids=ids, signals=signals),
        own_trials=OwnTrialService(units, ids=ids, signals=signals),
        asking=AskingService(units, trials=trials, new_token=lambda: f"token-number-{next(tokens)}", lease=ASK_LEASE),
        warm_starts=WarmStartService(units),
        observed=observed,
    )
    engine.dispose()


@pytest.fixture
def units(sqlite_url: str) -> Iterator[Units]:
    """Units of work on SQLite that can be cut off."""
    engine = create_engine(sqlite_url)
    yield Units(SqlUnitsOfWork(engine))
    engine.dispose()
