"""The composition root: builds every service from the settings, once a process."""

import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.engine import Engine

from app.adapters.artifacts import FolderArtifactStore
from app.adapters.clock import SystemClock, UuidIds
from app.adapters.known_keys import KnownKeys
from app.adapters.lease_watch import SteadyLeaseWatch
from app.adapters.live_catalogue import LiveCatalogue
from app.adapters.live_indexes import LiveIndexes
from app.adapters.live_listeners import LiveListeners
from app.adapters.polling import PollingSignals
from app.adapters.ranks import read_ranks
from app.adapters.rate_limits import RateLimits
from app.adapters.schedules import latest_tick
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.config import Settings
from app.domain.differences import Difference
from app.domain.experiments.effects import Estimate, Unknown
from app.domain.experiments.moments import Moments
from app.domain.ports import Clock, LeaseWatch, Signals, Suggester
from app.domain.recommending import RecommendationOptions, weights_by_event
from app.domain.serving import LiveModel
from app.domain.tuning.importance import Importance, Observed
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.scalarising import ScalarisingSuggester
from app.domain.tuning.study import StudySpec
from app.services.aliases import AliasService
from app.services.asking import AskingService
from app.services.calibrating import CalibrationService
from app.services.catalogue import CatalogueService, catalogue_changes
from app.services.comparing import ComparisonService
from app.services.datasets import DatasetService
from app.services.differences import DifferenceService, Kept
from app.services.events import EventService
from app.services.experiment_results import ExperimentResultsService
from app.services.experiments import ExperimentService
from app.services.exporting import ExportService
from app.services.exposing import ExposingService
from app.services.exposures import ExposureService
from app.services.gating import GateService
from app.services.histories import UserHistories
from app.services.importance import ImportanceService
from app.services.interleaving import InterleavingService
from app.services.keys import KeyService
from app.services.listeners import ListenerService
from app.services.models import ModelService
from app.services.neighbour_tables import TableService
from app.services.own_trials import OwnTrialService
from app.services.plays import PlayService
from app.services.recommending import RecommendingService
from app.services.retraining import Gather, RetrainingService
from app.services.segments import UserSegments
from app.services.serving import ServingService
from app.services.shadowing import ShadowService
from app.services.snapshots import SnapshotService
from app.services.studies import StudyService
from app.services.study_life import StudyLife
from app.services.transfers import TransferService
from app.services.trials import TrialService
from app.services.users import UserService
from app.services.verdicts import VerdictService
from app.services.warm_starting import WarmStartService

if TYPE_CHECKING:
    from app.adapters.redis.histories import RedisHistories


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
    aliases: AliasService
    gates: GateService
    shadows: ShadowService
    experiments: ExperimentService
    exposing: ExposingService
    exposures: ExposureService
    interleaving: InterleavingService
    calibration: CalibrationService
    retrainings: RetrainingService
    differences: DifferenceService
    experiment_results: ExperimentResultsService
    snapshots: SnapshotService
    tables: TableService
    serving: ServingService
    recommending: RecommendingService
    plays: PlayService
    catalogue: CatalogueService
    overlays: LiveCatalogue
    keys: KeyService
    known_keys: KnownKeys
    rate_limits: RateLimits
    users: UserService
    listeners: LiveListeners
    cache: "RedisHistories | None"

    def start(self) -> None:
        """Begin to follow the keys, the aliases and the users, and to compare with what shadows the aliases."""
        self.known_keys.start()
        self.listeners.start()
        self.live.start()
        self.shadows.start()

    def stop(self) -> None:
        """Stop following them and let the broker and the database go."""
        self.live.stop()
        self.shadows.stop()
        self.known_keys.stop()
        self.listeners.stop()
        if self.cache is not None:
            self.cache.stop()
        self.signals.close()
        self.engine.dispose()


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    load_model: Callable[[Path, str], LiveModel] | None = None,
    gather: Gather | None = None,
) -> Container:
    """The services on the database and the folder that the settings name.

    `clock` replaces the database's; `load_model` what reads a model's verified folder. Workers `gather` plays.
    """
    engine = create_engine(settings.database_url)
    units = SqlUnitsOfWork(engine, clock=clock)
    store = FolderArtifactStore(settings.data_dir)
    ids = UuidIds()
    signals = _signals(settings)
    lease = timedelta(seconds=settings.lease_s)
    studies = StudyService(units, ids=ids, signals=signals)
    gates = GateService(units, store=store, read_ranks=partial(read_ranks, pair_set="test"), defaults=settings.gates)
    tables = TableService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        lease=lease,
        watch=_watch(settings),
        n_neighbours=settings.neighbours_kept,
    )
    aliases = AliasService(units, gates=gates)
    models = ModelService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        lease=lease,
        watch=_watch(settings),
        aliases=aliases,
        default_gates=settings.gates,
        tables=tables,
    )
    trials = TrialService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        suggester_for=_suggester_for,
        lease=lease,
        watch=_watch(settings),
    )
    datasets = DatasetService(
        units,
        store=store,
        ids=ids,
        signals=signals,
        recognise=_recognise,
        sources=settings.sources,
        lease=lease,
        watch=_watch(settings),
    )
    retrainings = RetrainingService(
        units,
        ids=ids,
        signals=signals,
        datasets=datasets,
        studies=studies,
        models=models,
        gather=gather,
        schedule=settings.retrain_cron,
        latest_tick=latest_tick,
    )
    shadows = ShadowService(units, ids=ids, sample=random.Random().random)  # noqa: S311 - a sample, no secret: 5 us less a request
    own_clock = SystemClock() if clock is None else clock
    overlays = LiveCatalogue(partial(catalogue_changes, units), clock=own_clock)
    live = LiveIndexes(
        targets=lambda: [*aliases.targets(), *shadows.targets(), *exposing.targets()],
        store=store,
        load=load_model or _load,
        overlays=overlays,
        tables=tables.ready,
        take_table=_take_table,
        kept_up_to=settings.left_models_kept_up_to,
        poll_s=settings.alias_poll_s,
    )
    keys = KeyService(units, ids=ids, new_secret=_new_token)
    cache = _history_cache(settings)
    listeners = LiveListeners(ListenerService(units, has_cache=cache is not None).changes)
    histories = UserHistories(units, listeners=listeners, cache=cache)
    options = recommendation_options(settings)
    recommending = RecommendingService(histories, live=live, clock=own_clock, defaults=options)
    segments = UserSegments(histories, live=live, options=options)
    exposing = ExposingService(units, segments=segments, listeners=listeners, live=live, clock=own_clock)
    snapshots = SnapshotService(units)
    experiment_results = ExperimentResultsService(units, snapshots=snapshots, estimate=_estimate)
    return Container(
        settings=settings,
        engine=engine,
        store=store,
        signals=signals,
        live=live,
        datasets=datasets,
        studies=studies,
        comparisons=ComparisonService(units, store=store, signals=signals, studies=studies, read_ranks=read_ranks),
        life=StudyLife(units, studies=studies, store=store, ids=ids, signals=signals),
        verdicts=VerdictService(units, store=store, read_ranks=partial(read_ranks, pair_set="test")),
        importance=ImportanceService(units, estimate=_importance),
        exports=ExportService(units, writers={"csv": _csv, "parquet": _parquet}),
        transfers=TransferService(units, ids=ids, signals=signals),
        events=EventService(units),
        trials=trials,
        own_trials=OwnTrialService(units, ids=ids, signals=signals),
        asking=AskingService(units, trials=trials, new_token=_new_token, lease=timedelta(seconds=settings.ask_lease_s)),
        warm_starts=WarmStartService(units),
        models=models,
        aliases=aliases,
        gates=gates,
        shadows=shadows,
        experiments=ExperimentService(units, ids=ids, aliases=aliases, live=live),
        exposing=exposing,
        exposures=ExposureService(units, segments=segments, clock=own_clock),
        interleaving=InterleavingService(units),
        calibration=CalibrationService(units, gates=gates, online=experiment_results.online_lifts),
        retrainings=retrainings,
        differences=DifferenceService(units, store=store, compare=_compare),
        experiment_results=experiment_results,
        snapshots=snapshots,
        tables=tables,
        serving=ServingService(live),
        recommending=recommending,
        plays=PlayService(histories, clock=own_clock),
        users=UserService(
            units,
            histories=histories,
            listeners=listeners,
            live=live,
            clock=own_clock,
            options=options,
        ),
        catalogue=CatalogueService(units, live=live, poke=live.poke),
        overlays=overlays,
        keys=keys,
        known_keys=KnownKeys(usable=keys.usable, note_use=keys.note_use, outlives_s=settings.keys_outlive_s),
        rate_limits=RateLimits(settings.rate_limits, redis_url=settings.redis_url),
        listeners=listeners,
        cache=cache,
    )


def recommendation_options(settings: Settings) -> RecommendationOptions:
    """How recommendations are made where a request doesn't say."""
    return RecommendationOptions(
        half_life_days=settings.half_life_days,
        history_length=settings.history_length,
        recent_songs_excluded=settings.recent_songs_excluded,
        event_weights=weights_by_event(settings.event_weights, else_of=RecommendationOptions().event_weights),
        completion_weight=settings.completion_weight,
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


def _signals(settings: Settings) -> Signals:
    if settings.redis_url is None:
        return PollingSignals()
    from app.adapters.redis.signals import RedisSignals  # noqa: PLC0415 - Redis is loaded by who has one

    return RedisSignals(settings.redis_url)


def _history_cache(settings: Settings) -> "RedisHistories | None":
    if settings.redis_url is None:
        return None
    from app.adapters.redis.histories import RedisHistories  # noqa: PLC0415

    return RedisHistories(settings.redis_url, n_kept=settings.history_length)


def _recognise(path: Path) -> Literal["parquet", "csv"]:
    from app.adapters.sources import recognise  # noqa: PLC0415 - Arrow is loaded by who needs it

    return recognise(path)


def _csv(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    from app.adapters.exporting import csv_bytes  # noqa: PLC0415

    return csv_bytes(columns, pages)


def _parquet(columns: dict[str, type], pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    from app.adapters.exporting import parquet_bytes  # noqa: PLC0415

    return parquet_bytes(columns, pages)


def _importance(found: Observed) -> Importance:
    from app.adapters.importance import importance  # noqa: PLC0415

    return importance(found)


def _estimate(control: Moments, treatment: Moments, *, day: int = -1, alpha: float = 0.05) -> Estimate | Unknown:
    """By the adapter, which is only loaded when the first experiment is read."""
    from app.adapters.experiment_effects import estimate  # noqa: PLC0415 - a server may never need it

    return estimate(control, treatment, day=day, alpha=alpha)


def _compare(one: Kept, other: Kept, /, *, k: int, segment_column: str | None) -> Difference:
    from app.adapters.model_comparison import StoredDifference  # noqa: PLC0415
    from app.adapters.table_files import read_model_and_table  # noqa: PLC0415

    stored = (read_model_and_table(each.files, each.table, model_id=each.model_id) for each in (one, other))
    return StoredDifference(*stored, k=k, segment_column=segment_column)


def _load(folder: Path, model_id: str) -> LiveModel:
    from app.adapters.model_files import load_model  # noqa: PLC0415

    return load_model(folder, model_id)


def _take_table(model: LiveModel, folder: Path) -> LiveModel:
    from app.adapters.live_model import LoadedModel  # noqa: PLC0415
    from app.adapters.table_files import take_table  # noqa: PLC0415

    return take_table(model, folder) if isinstance(model, LoadedModel) else model
