"""The composition root: builds every service from the settings, once a process."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy.engine import Engine

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.clock import SystemClock, UuidIds
from app.adapters.exporting import csv_bytes, parquet_bytes
from app.adapters.lease_watch import SteadyLeaseWatch
from app.adapters.live_catalogue import LiveCatalogue
from app.adapters.live_indexes import LiveIndexes
from app.adapters.polling import PollingSignals
from app.adapters.ranks import read_ranks
from app.adapters.redis.signals import RedisSignals
from app.adapters.sources import recognise
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.config import Settings
from app.domain.ports import Clock, LeaseWatch, Signals, Suggester
from app.domain.recommending import RecommendationOptions
from app.domain.serving import LiveModel
from app.domain.tuning.importance import Importance, Observed
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.scalarising import ScalarisingSuggester
from app.domain.tuning.study import StudySpec
from app.services.asking import AskingService
from app.services.catalogue import CatalogueService, catalogue_changes
from app.services.comparing import ComparisonService
from app.services.datasets import DatasetService
from app.services.events import EventService
from app.services.exporting import ExportService
from app.services.histories import UserHistories
from app.services.importance import ImportanceService
from app.services.models import ModelService
from app.services.own_trials import OwnTrialService
from app.services.plays import PlayService
from app.services.recommending import RecommendingService
from app.services.serving import ServingService
from app.services.studies import StudyService
from app.services.study_life import StudyLife
from app.services.transfers import TransferService
from app.services.trials import TrialService
from app.services.verdicts import VerdictService
from app.services.warm_starting import WarmStartService


@dataclass(frozen=True, slots=True)
class Container:
    """Everything a server or a worker is made of."""

    settings: Settings
    engine: Engine
    store: FolderArtifactStore
    signals: Signals
    live: LiveIndexes
    datasets: DatasetService
    studies: StudyService
    comparisons: ComparisonService
    life: StudyLife
    verdicts: VerdictService
    importance: ImportanceService
    exports: ExportService
    transfers: TransferService
    events: EventService
    trials: TrialService
    own_trials: OwnTrialService
    asking: AskingService
    warm_starts: WarmStartService
    models: ModelService
    serving: ServingService
    recommending: RecommendingService
    plays: PlayService
    catalogue: CatalogueService
    overlays: LiveCatalogue

    def start(self) -> None:
        """Begin to follow the aliases."""
        self.live.start()

    def stop(self) -> None:
        """Stop following them and let the broker and the database go."""
        self.live.stop()
        self.signals.close()
        self.engine.dispose()


def build(settings: Settings, *, clock: Clock | None = None) -> Container:
    """The services on the database and the folder that the settings name; `clock` replaces the database's."""
    engine = create_engine(settings.database_url)
    units = SqlUnitsOfWork(engine, clock=clock)
    store = FolderArtifactStore(settings.data_dir)
    ids = UuidIds()
    signals: Signals = PollingSignals() if settings.redis_url is None else RedisSignals(settings.redis_url)
    lease = timedelta(seconds=settings.lease_s)
    studies = StudyService(units, ids=ids, signals=signals)
    models = ModelService(units, store=store, ids=ids, signals=signals, lease=lease, watch=_watch(settings))
    trials = TrialService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        suggester_for=_suggester_for,
        lease=lease,
        watch=_watch(settings),
    )
    own_clock = SystemClock() if clock is None else clock
    histories = UserHistories(units)
    overlays = LiveCatalogue(partial(catalogue_changes, units), clock=own_clock)
    live = LiveIndexes(targets=models.targets, store=store, load=_load, overlays=overlays, poll_s=settings.alias_poll_s)
    return Container(
        settings=settings,
        engine=engine,
        store=store,
        signals=signals,
        live=live,
        datasets=DatasetService(
            units,
            store=store,
            ids=ids,
            signals=signals,
            recognise=recognise,
            sources=settings.sources,
            lease=lease,
            watch=_watch(settings),
        ),
        studies=studies,
        comparisons=ComparisonService(units, store=store, signals=signals, studies=studies, read_ranks=read_ranks),
        life=StudyLife(units, studies=studies, store=store, ids=ids, signals=signals),
        verdicts=VerdictService(units, store=store, read_ranks=partial(read_ranks, pair_set="test")),
        importance=ImportanceService(units, estimate=_importance),
        exports=ExportService(units, writers={"csv": csv_bytes, "parquet": parquet_bytes}),
        transfers=TransferService(units, ids=ids, signals=signals),
        events=EventService(units),
        trials=trials,
        own_trials=OwnTrialService(units, ids=ids, signals=signals),
        asking=AskingService(units, trials=trials, new_token=_new_token, lease=timedelta(seconds=settings.ask_lease_s)),
        warm_starts=WarmStartService(units),
        models=models,
        serving=ServingService(live),
        recommending=RecommendingService(
            histories, live=live, clock=own_clock, defaults=recommendation_options(settings)
        ),
        plays=PlayService(units, histories=histories, clock=own_clock),
        catalogue=CatalogueService(units, live=live, poke=live.poke),
        overlays=overlays,
    )


def recommendation_options(settings: Settings) -> RecommendationOptions:
    """How recommendations are made where a request doesn't say."""
    return RecommendationOptions(
        half_life_days=settings.half_life_days,
        history_length=settings.history_length,
        recent_songs_excluded=settings.recent_songs_excluded,
    )


def _watch(settings: Settings) -> LeaseWatch:
    return SteadyLeaseWatch(lease_s=settings.lease_s)


def _suggester_for(spec: StudySpec) -> Suggester:
    """What the study asks for, beneath what makes one objective of two."""
    suggester = _single_suggester_for(spec)
    if spec.objectives:
        suggester = ScalarisingSuggester(suggester, names=spec.objectives, seed=spec.seed)
    return suggester


def _single_suggester_for(spec: StudySpec) -> Suggester:
    if spec.algorithm == "random":
        return RandomSearch(spec.space, spec.seed)
    # Imported when it is first needed: a server only suggests to clients that ask, and starts without scikit-learn.
    from app.adapters.bayes_opt import suggester_for  # noqa: PLC0415

    return suggester_for(spec)


def _new_token() -> str:
    """256 random bits, in letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def _importance(found: Observed) -> Importance:
    from app.adapters.importance import importance  # noqa: PLC0415

    return importance(found)


def _load(folder: Path, model_id: str) -> LiveModel:
    from app.adapters.model_files import load_model  # noqa: PLC0415

    return load_model(folder, model_id)
