"""The unit of work: one connection, one transaction, one repository a subject."""

from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from app.adapters.sql.ballots import SqlBallots
from app.adapters.sql.catalogue import SqlCatalogue
from app.adapters.sql.datasets import SqlDatasets, SqlUploads
from app.adapters.sql.engine import WRITES, TranslatedErrors
from app.adapters.sql.events import SqlEvents
from app.adapters.sql.experiments import SqlExperiments
from app.adapters.sql.exposures import SqlExposures
from app.adapters.sql.findings import SqlFindings
from app.adapters.sql.idempotency import SqlIdempotency
from app.adapters.sql.inherited import SqlInherited
from app.adapters.sql.keys import SqlKeys
from app.adapters.sql.listeners import SqlListeners
from app.adapters.sql.models import SqlAliases, SqlModels
from app.adapters.sql.neighbour_tables import SqlNeighbourTables
from app.adapters.sql.outcomes import SqlOutcomes
from app.adapters.sql.plays import RECENT, SqlPlays, told_plays
from app.adapters.sql.quick_reads import QuickRead
from app.adapters.sql.retrainings import SqlRetrainings
from app.adapters.sql.shadows import SqlShadows
from app.adapters.sql.snapshots import SqlSnapshots
from app.adapters.sql.studies import SqlStudies
from app.adapters.sql.transfers import SqlTransfers
from app.adapters.sql.trials import SqlTrials
from app.domain.datasets import Dataset
from app.domain.plays import RecentPlays
from app.domain.ports import Clock
from app.domain.repositories import (
    AliasRepository,
    BallotRepository,
    CatalogueRepository,
    ClaimableRepository,
    EventRepository,
    ExperimentRepository,
    ExposureRepository,
    FindingRepository,
    IdempotencyRepository,
    InheritedRepository,
    KeyRepository,
    ListenerRepository,
    ModelRepository,
    OutcomeRepository,
    PlayRepository,
    RetrainingRepository,
    ShadowRepository,
    SnapshotRepository,
    StudyRepository,
    TableRepository,
    TransferRepository,
    TrialRepository,
    UploadRepository,
)


class SqlUnitOfWork:
    """See `app.domain.repositories.UnitOfWork`."""

    def __init__(self, engine: Engine, *, clock: Clock | None, writes: bool) -> None:
        self._engine = engine
        self._clock = clock
        self._writes = writes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin."""
        with ExitStack() as stack:
            stack.enter_context(TranslatedErrors())
            connection = stack.enter_context(self._engine.connect().execution_options(**{WRITES: self._writes}))
            self._connection = connection
            self._transaction = connection.begin()
            self._stack = stack.pop_all()
        self.uploads: UploadRepository = SqlUploads(connection)
        self.datasets: ClaimableRepository[Dataset] = SqlDatasets(connection)
        self.studies: StudyRepository = SqlStudies(connection)
        self.trials: TrialRepository = SqlTrials(connection)
        self.inherited: InheritedRepository = SqlInherited(connection)
        self.events: EventRepository = SqlEvents(connection)
        self.transfers: TransferRepository = SqlTransfers(connection)
        self.models: ModelRepository = SqlModels(connection)
        self.tables: TableRepository = SqlNeighbourTables(connection)
        self.aliases: AliasRepository = SqlAliases(connection)
        self.shadows: ShadowRepository = SqlShadows(connection)
        self.retrainings: RetrainingRepository = SqlRetrainings(connection)
        self.experiments: ExperimentRepository = SqlExperiments(connection)
        self.exposures: ExposureRepository = SqlExposures(connection)
        self.outcomes: OutcomeRepository = SqlOutcomes(connection)
        self.ballots: BallotRepository = SqlBallots(connection)
        self.findings: FindingRepository = SqlFindings(connection)
        self.snapshots: SnapshotRepository = SqlSnapshots(connection)
        self.plays: PlayRepository = SqlPlays(connection)
        self.catalogue: CatalogueRepository = SqlCatalogue(connection)
        self.listeners: ListenerRepository = SqlListeners(connection)
        self.idempotency: IdempotencyRepository = SqlIdempotency(connection)
        self.keys: KeyRepository = SqlKeys(connection)
        return self

    def now(self) -> datetime:
        """The database's clock on PostgreSQL, this machine's on SQLite (which lives on one), or the one given."""
        if self._clock is not None:
            return self._clock.now()
        if self._engine.dialect.name == "postgresql":
            instant: datetime = self._connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return instant.astimezone(UTC)
        return datetime.now(UTC)

    def commit(self) -> None:
        """Make it last."""
        self._transaction.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Undo what was not committed, for closing rolls back; the stack translates what the database said."""
        self._stack.__exit__(kind, error, trace)


class SqlUnitsOfWork:
    """Opens units of work on one engine; `clock` replaces the database's own."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._recent = QuickRead(engine, RECENT)

    def __call__(self) -> SqlUnitOfWork:
        """One that may write."""
        return SqlUnitOfWork(self._engine, clock=self._clock, writes=True)

    def reading(self) -> SqlUnitOfWork:
        """One that only reads, and so waits for no writer."""
        return SqlUnitOfWork(self._engine, clock=self._clock, writes=False)

    def recent_plays(self, user_id: str, *, limit: int) -> RecentPlays:
        """A user's newest plays, newest first, read by themselves. Raises: Unavailable."""
        with TranslatedErrors():
            return told_plays(self._recent.rows(user_id=user_id, n_rows=limit + 1), limit=limit)
