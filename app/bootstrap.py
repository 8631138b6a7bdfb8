"""The composition root: makes every service from the settings, once a process."""

import random
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Engine

from app import deferred
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
from app.domain.ports import Clock, LeaseWatch, Signals
from app.domain.recommending import RecommendationOptions, weights_by_event
from app.domain.serving import LiveModel
from app.services.aliases import AliasService
from app.services.asking import AskingService
from app.services.calibrating import CalibrationService
from app.services.catalogue import CatalogueService, catalogue_changes
from app.services.comparing import ComparisonService
from app.services.datasets import DatasetService
from app.services.differences import DifferenceService
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


class Container:
    """Everything a server or a worker is made of, each made when it is first asked for, once a process.

    `clock` replaces the database's; `load_model` what reads a model's verified folder. Workers `gather` plays.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        load_model: Callable[[Path, str], LiveModel] | None = None,
        gather: Gather | None = None,
    ) -> None:
        self.settings = settings
        self._database_clock = clock
        self._load_model = load_model or deferred.load_model
        self._gather = gather
        self._ids = UuidIds()
        self._lease = timedelta(seconds=settings.lease_s)

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

    # What services are made of

    @cached_property
    def engine(self) -> Engine:
        """The database."""
        return create_engine(self.settings.database_url)

    @cached_property
    def units(self) -> SqlUnitsOfWork:
        """Units of work on it."""
        return SqlUnitsOfWork(self.engine, clock=self._database_clock)

    @cached_property
    def store(self) -> FolderArtifactStore:
        """Files."""
        return FolderArtifactStore(self.settings.data_dir)

    @cached_property
    def signals(self) -> Signals:
        """What wakes idle workers."""
        url = self.settings.redis_url
        return PollingSignals() if url is None else deferred.redis_signals(url)

    @cached_property
    def cache(self) -> "RedisHistories | None":
        """Recent plays, where servers share a Redis."""
        url = self.settings.redis_url
        return None if url is None else deferred.redis_histories(url, n_kept=self.settings.history_length)

    @cached_property
    def _clock(self) -> Clock:
        return SystemClock() if self._database_clock is None else self._database_clock

    @cached_property
    def _options(self) -> RecommendationOptions:
        return recommendation_options(self.settings)

    def _watch(self) -> LeaseWatch:
        """One for each kind of work."""
        return SteadyLeaseWatch(lease_s=self.settings.lease_s)

    # Datasets and studies

    @cached_property
    def datasets(self) -> DatasetService:
        """Datasets."""
        return DatasetService(
            self.units,
            store=self.store,
            ids=self._ids,
            signals=self.signals,
            recognise=deferred.recognise,
            sources=self.settings.sources,
            lease=self._lease,
            watch=self._watch(),
        )

    @cached_property
    def studies(self) -> StudyService:
        """Studies."""
        return StudyService(self.units, ids=self._ids, signals=self.signals)

    @cached_property
    def comparisons(self) -> ComparisonService:
        """Trials beside each other."""
        return ComparisonService(
            self.units, store=self.store, signals=self.signals, studies=self.studies, read_ranks=read_ranks
        )

    @cached_property
    def life(self) -> StudyLife:
        """What becomes of studies."""
        return StudyLife(self.units, studies=self.studies, store=self.store, ids=self._ids, signals=self.signals)

    @cached_property
    def verdicts(self) -> VerdictService:
        """Whether the best is better."""
        return VerdictService(self.units, store=self.store, read_ranks=partial(read_ranks, pair_set="test"))

    @cached_property
    def importance(self) -> ImportanceService:
        """What hyperparameters matter."""
        return ImportanceService(self.units, estimate=deferred.importance)

    @cached_property
    def exports(self) -> ExportService:
        """Trials as files."""
        return ExportService(self.units, writers={"csv": deferred.csv_writer, "parquet": deferred.parquet_writer})

    @cached_property
    def transfers(self) -> TransferService:
        """Studies as documents."""
        return TransferService(self.units, ids=self._ids, signals=self.signals)

    @cached_property
    def events(self) -> EventService:
        """What happened to studies."""
        return EventService(self.units)

    @cached_property
    def trials(self) -> TrialService:
        """The queue of trials."""
        return TrialService(
            self.units,
            store=self.store,
            ids=self._ids,
            signals=self.signals,
            suggester_for=deferred.suggester_for,
            lease=self._lease,
            watch=self._watch(),
        )

    @cached_property
    def own_trials(self) -> OwnTrialService:
        """Points that clients give."""
        return OwnTrialService(self.units, ids=self._ids, signals=self.signals)

    @cached_property
    def asking(self) -> AskingService:
        """Trials that clients train."""
        lease = timedelta(seconds=self.settings.ask_lease_s)
        return AskingService(self.units, trials=self.trials, new_token=_new_token, lease=lease)

    @cached_property
    def warm_starts(self) -> WarmStartService:
        """What studies learn from others."""
        return WarmStartService(self.units)

    # Models and aliases

    @cached_property
    def gates(self) -> GateService:
        """What an alias's move is judged by."""
        return GateService(
            self.units,
            store=self.store,
            read_ranks=partial(read_ranks, pair_set="test"),
            defaults=self.settings.gates,
        )

    @cached_property
    def tables(self) -> TableService:
        """Tables of neighbours."""
        return TableService(
            self.units,
            store=self.store,
            ids=self._ids,
            signals=self.signals,
            lease=self._lease,
            watch=self._watch(),
            n_neighbours=self.settings.neighbours_kept,
        )

    @cached_property
    def aliases(self) -> AliasService:
        """Aliases."""
        return AliasService(self.units, gates=self.gates)

    @cached_property
    def models(self) -> ModelService:
        """Models."""
        return ModelService(
            self.units,
            store=self.store,
            ids=self._ids,
            signals=self.signals,
            lease=self._lease,
            watch=self._watch(),
            aliases=self.aliases,
            default_gates=self.settings.gates,
            tables=self.tables,
        )

    @cached_property
    def retrainings(self) -> RetrainingService:
        """Retrainings on new plays."""
        return RetrainingService(
            self.units,
            ids=self._ids,
            signals=self.signals,
            datasets=self.datasets,
            studies=self.studies,
            models=self.models,
            gather=self._gather,
            schedule=self.settings.retrain_cron,
            latest_tick=latest_tick,
        )

    @cached_property
    def differences(self) -> DifferenceService:
        """How models differ."""
        return DifferenceService(self.units, store=self.store, compare=deferred.compare)

    # Serving

    @cached_property
    def overlays(self) -> LiveCatalogue:
        """What the catalogue says of songs."""
        return LiveCatalogue(partial(catalogue_changes, self.units), clock=self._clock)

    @cached_property
    def live(self) -> LiveIndexes:
        """The models that serve."""
        return LiveIndexes(
            targets=lambda: [*self.aliases.targets(), *self.shadows.targets(), *self.exposing.targets()],
            store=self.store,
            load=self._load_model,
            overlays=self.overlays,
            tables=self.tables.ready,
            take_table=deferred.take_table,
            kept_up_to=self.settings.left_models_kept_up_to,
            poll_s=self.settings.alias_poll_s,
        )

    @cached_property
    def shadows(self) -> ShadowService:
        """Challengers beside aliases."""
        sample = random.Random().random  # noqa: S311 - a sample, no secret: 5 us less a request
        return ShadowService(self.units, ids=self._ids, sample=sample)

    @cached_property
    def serving(self) -> ServingService:
        """Neighbours and songs."""
        return ServingService(self.live)

    @cached_property
    def listeners(self) -> LiveListeners:
        """Who was erased, and whether histories may be cached."""
        return LiveListeners(ListenerService(self.units, has_cache=self.cache is not None).changes)

    @cached_property
    def _histories(self) -> UserHistories:
        return UserHistories(self.units, listeners=self.listeners, cache=self.cache)

    @cached_property
    def recommending(self) -> RecommendingService:
        """Recommendations."""
        return RecommendingService(self._histories, live=self.live, clock=self._clock, defaults=self._options)

    @cached_property
    def plays(self) -> PlayService:
        """Plays as they come."""
        return PlayService(self._histories, clock=self._clock)

    @cached_property
    def users(self) -> UserService:
        """Users."""
        return UserService(
            self.units,
            histories=self._histories,
            listeners=self.listeners,
            live=self.live,
            clock=self._clock,
            options=self._options,
        )

    @cached_property
    def catalogue(self) -> CatalogueService:
        """Songs as clients tell them."""
        return CatalogueService(self.units, live=self.live, poke=self.live.poke)

    # Experiments

    @cached_property
    def _segments(self) -> UserSegments:
        return UserSegments(self._histories, live=self.live, options=self._options)

    @cached_property
    def experiments(self) -> ExperimentService:
        """Experiments."""
        return ExperimentService(self.units, ids=self._ids, aliases=self.aliases, live=self.live)

    @cached_property
    def exposing(self) -> ExposingService:
        """Answers within experiments."""
        return ExposingService(
            self.units, segments=self._segments, listeners=self.listeners, live=self.live, clock=self._clock
        )

    @cached_property
    def exposures(self) -> ExposureService:
        """Who saw which variant."""
        return ExposureService(self.units, segments=self._segments, clock=self._clock)

    @cached_property
    def interleaving(self) -> InterleavingService:
        """Two variants in one list."""
        return InterleavingService(self.units)

    @cached_property
    def snapshots(self) -> SnapshotService:
        """What was found in plays, kept."""
        return SnapshotService(self.units)

    @cached_property
    def experiment_results(self) -> ExperimentResultsService:
        """What experiments show."""
        return ExperimentResultsService(self.units, snapshots=self.snapshots, estimate=deferred.estimate)

    @cached_property
    def calibration(self) -> CalibrationService:
        """How offline and online differences go together."""
        return CalibrationService(self.units, gates=self.gates, online=self.experiment_results.online_lifts)

    # Who may call, and how often

    @cached_property
    def keys(self) -> KeyService:
        """Keys."""
        return KeyService(self.units, ids=self._ids, new_secret=_new_token)

    @cached_property
    def known_keys(self) -> KnownKeys:
        """The keys that this process has read."""
        return KnownKeys(usable=self.keys.usable, note_use=self.keys.note_use, outlives_s=self.settings.keys_outlive_s)

    @cached_property
    def rate_limits(self) -> RateLimits:
        """How often they may."""
        return RateLimits(self.settings.rate_limits, redis_url=self.settings.redis_url)


def recommendation_options(settings: Settings) -> RecommendationOptions:
    """How recommendations are made where a request doesn't say."""
    return RecommendationOptions(
        half_life_days=settings.half_life_days,
        history_length=settings.history_length,
        recent_songs_excluded=settings.recent_songs_excluded,
        event_weights=weights_by_event(settings.event_weights, else_of=RecommendationOptions().event_weights),
        completion_weight=settings.completion_weight,
    )


def _new_token() -> str:
    """256 random bits, in letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)
