"""What the use cases ask of the database, one protocol a subject, and the unit of work that holds them together.

Every method acts inside the unit of work that owns the repository; nothing lasts until `commit`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from app.domain.catalogue import CatalogueSong
from app.domain.datasets import Dataset, Upload
from app.domain.events import Event
from app.domain.experiments.calibration import Finding
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.exposure import Exposed, Exposure
from app.domain.experiments.health import RevisionCount
from app.domain.experiments.interleaving import Ballot
from app.domain.experiments.metrics import Metric
from app.domain.experiments.outcomes import Outcomes
from app.domain.experiments.snapshots import Snapshot, Timing
from app.domain.keys import ApiKey
from app.domain.lease import Claim, Progress
from app.domain.listeners import CacheState, Erasure, SongCount, StoredPlay
from app.domain.models import Alias, AliasMove, Model
from app.domain.neighbour_tables import NeighbourTable
from app.domain.plays import Play, PlayVerdict, RecentPlays
from app.domain.retraining import Retraining
from app.domain.shadowing import Shadow, Tally
from app.domain.tuning.study import Study
from app.domain.tuning.transfer import Transfer
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.domain.tuning.warm_start import Inherited, Source

T = TypeVar("T")


class Repository(Protocol[T]):
    """Values with an `id`, newest last when sorted by it."""

    def add(self, value: T) -> None:
        """Insert it."""
        ...

    def get(self, identity: str) -> T:
        """As stored. Raises: NotFound."""
        ...

    def lock(self, identity: str) -> T:
        """As stored, locked until the unit of work ends. Raises: NotFound."""
        ...

    def save(self, value: T) -> None:
        """Write every column of a value that this unit of work locked."""
        ...

    def page(self, *, limit: int, cursor: str | None) -> list[T]:
        """Up to `limit` values before `cursor` (an id), newest first."""
        ...


class LeasedRepository(Repository[T], Protocol[T]):
    """Values that a worker may hold."""

    def held(self, claim: Claim) -> T:
        """The value, locked, if the claim still holds it. Raises: LostLease."""
        ...

    def extend(self, claim: Claim, *, expires_at: datetime, length_s: float, progress: Progress | None) -> bool:
        """Extend the lease, by `length_s` seconds, and note the progress; False when the claim no longer holds it."""
        ...

    def leased(self) -> list[T]:
        """Those that are in a worker's hands, or were in a dead one's."""
        ...

    def unextended(self, seen: T) -> T | None:
        """The value, locked, if its lease is still the one that it was seen with; None when it is not."""
        ...


class ClaimableRepository(LeasedRepository[T], Protocol[T]):
    """Values that workers claim in the order they were asked for."""

    def next_claimable(self) -> T | None:
        """The oldest that waits for a worker, locked; None when there is none that nobody else is claiming."""
        ...


class StudyRepository(Repository[Study], Protocol):
    """Studies."""

    def open_with_capacity(self, *, limit: int) -> list[str]:
        """Ids of queued and running studies in which a worker may run a trial, oldest first.

        Fewer of their trials than their parallelism are with workers; and one waits for a worker, or may be born.
        """
        ...

    def lock_free(self, identity: str) -> Study | None:
        """The study, locked; None when another unit of work holds the lock."""
        ...

    def delete(self, identity: str) -> None:
        """Remove a study that has no trials left."""
        ...


class ModelRepository(ClaimableRepository[Model], Protocol):
    """Models."""

    def of_study(self, study_id: str) -> list[Model]:
        """The models promoted from a study, oldest first."""
        ...

    def has_waiting(self, *, since: datetime) -> bool:
        """Whether one that was asked for before that instant waits for a worker."""
        ...


class TableRepository(ClaimableRepository[NeighbourTable], Protocol):
    """Tables of neighbours."""

    def of_model(self, model_id: str) -> NeighbourTable | None:
        """The model's table, locked, if it has one."""
        ...

    def of_models(self, model_ids: Collection[str]) -> list[NeighbourTable]:
        """The tables of these models."""
        ...

    def having(self, identities: Collection[str]) -> list[NeighbourTable]:
        """Those of the tables with these ids that there are."""
        ...

    def delete(self, identity: str) -> None:
        """Remove a table's row."""
        ...


class TrialRepository(LeasedRepository[Trial], Protocol):
    """Trials."""

    def of_study(self, study_id: str, *, role: TrialRole | None = None) -> list[Trial]:
        """All trials of a study in the order they were made."""
        ...

    def page_of_study(self, study_id: str, *, role: TrialRole | None, limit: int, cursor: str | None) -> list[Trial]:
        """Up to `limit` trials after `cursor` (an id), oldest first."""
        ...

    def in_state(self, study_id: str, state: TrialState) -> list[Trial]:
        """The study's trials in one state, in the order they were made."""
        ...

    def next_waiting(self, study_id: str, *, by: datetime | None = None, role: TrialRole | None = None) -> Trial | None:
        """The study's first waiting trial, locked: baselines, then the search, then the confirmation.

        The search by number, a warm start's points last. `by` leaves out those that may not be begun before a later
        instant.
        """
        ...

    def delete_of_study(self, study_id: str) -> None:
        """Remove all trials of a study."""
        ...

    def having(self, identities: Collection[str]) -> list[Trial]:
        """Those of the trials with these ids that there are."""
        ...

    def held_by(self, study_id: str, holder: str) -> Trial | None:
        """The trial of the study's search that this client holds, locked."""
        ...

    def counts(self, study_id: str) -> Mapping[tuple[TrialRole, TrialState], int]:
        """How many trials stand in each role and state; absent means none."""
        ...


class InheritedRepository(Protocol):
    """What studies took over from earlier ones."""

    def add(self, inherited: Sequence[Inherited]) -> None:
        """Insert them."""
        ...

    def observations(self, study_id: str) -> list[Inherited]:
        """The values that a study took over, by number."""
        ...

    def sources(self, study_id: str) -> list[Source]:
        """The studies that gave a study something, the first one's trials first."""
        ...

    def page(self, study_id: str, *, limit: int, after: int | None) -> list[Inherited]:
        """Up to `limit` with a number above `after`, by number."""
        ...


class EventRepository(Protocol):
    """What happened to studies; each is stored by the repository whose row changed."""

    def after(self, study_id: str, cursor: int, *, limit: int) -> list[Event]:
        """Up to `limit` events of a study with an id above `cursor`, in order."""
        ...

    def latest(self, study_id: str) -> int:
        """The id of the study's last event; 0 before the first."""
        ...


class TransferRepository(Repository[Transfer], Protocol):
    """Transfers."""

    def page_of_study(self, study_id: str, *, limit: int, cursor: str | None) -> list[Transfer]:
        """Up to `limit` transfers of a study before `cursor` (an id), newest first."""
        ...


class AliasRepository(Protocol):
    """Aliases and the record of their moves."""

    def find(self, name: str) -> Alias | None:
        """The alias, locked, or None."""
        ...

    def all(self) -> list[Alias]:
        """Every alias by name."""
        ...

    def move(self, move: AliasMove) -> Alias:
        """Point the alias as the move says and record the move. Raises: Conflict when another move came first."""
        ...

    def moves(self, name: str, *, limit: int, before: int | None = None) -> list[AliasMove]:
        """Up to `limit` moves with a generation below `before`, the last first."""
        ...


class ShadowRepository(Protocol):
    """Shadows of aliases, and what servers saw of them."""

    def find(self, alias: str) -> Shadow | None:
        """The alias's shadow."""
        ...

    def all(self) -> list[Shadow]:
        """Every shadow by alias."""
        ...

    def put(self, shadow: Shadow) -> None:
        """Store it in the place of another of its alias."""
        ...

    def remove(self, alias: str) -> bool:
        """Remove the alias's shadow with its tallies; whether there was one."""
        ...

    def tell(self, shadow_id: str, *, server_id: str, tally: Tally, at: datetime) -> bool:
        """Store what a server saw so far, in the place of what it told before; False when the shadow is gone."""
        ...

    def tallies(self, shadow_id: str) -> list[tuple[Tally, datetime]]:
        """What each server told last, and when."""
        ...


class RetrainingRepository(Repository[Retraining], Protocol):
    """Retrainings."""

    def under_way(self) -> list[Retraining]:
        """Those that have not ended, oldest first."""
        ...

    def latest_of(self, alias: str) -> Retraining | None:
        """The alias's last one, whatever became of it."""
        ...

    def of_dataset(self, dataset_id: str) -> Retraining | None:
        """The one that made the dataset."""
        ...

    def add_tick(self, value: Retraining) -> bool:
        """Insert one that a schedule asks for; False when another worker did."""
        ...


class ExperimentRepository(Repository[Experiment], Protocol):
    """Experiments."""

    def in_states(self, *states: ExperimentState) -> list[Experiment]:
        """Those in one of these states, oldest first."""
        ...

    def standing(self, identity: str) -> tuple[ExperimentState, int]:
        """Its state and version. Raises: NotFound."""
        ...

    def live_in_layer(self, layer: str) -> list[Experiment]:
        """The running and paused ones of a layer, oldest first; nobody else gives its buckets out meanwhile."""
        ...

    def delete(self, identity: str) -> None:
        """Remove one that has no exposures."""
        ...


class FindingRepository(Protocol):
    """What finished experiments found."""

    def all(self) -> list[Finding]:
        """Every one, the newest experiment first."""
        ...

    def add(self, findings: Sequence[Finding]) -> None:
        """Store those of experiments that have none."""
        ...


class BallotRepository(Protocol):
    """What users of interleaved lists played."""

    def of(self, experiment_id: str, *, teams: tuple[str, str], until_ms: int) -> list[Ballot]:
        """By segment, those without one first: users by which team's songs they played more since they were exposed.

        `teams` are what the variants are live under: a play is of the one that its token names. Skips are no plays, and
        who crossed is left out.
        """
        ...


class OutcomeRepository(Protocol):
    """What users did after their exposure, summed up."""

    def of_experiment(
        self,
        experiment_id: str,
        *,
        metrics: Sequence[Metric],
        covariate_days: int,
        since_ms: int,
        until_ms: int,
        cut: str | None = None,
    ) -> Outcomes:
        """Of who was exposed, by variant and segment, for the UTC days from that of `since_ms` up to `until_ms`.

        Who crossed is left out. The covariates are of so many days before each user's exposure. With `cut`, a detail
        of songs in the catalogue, a user's segment is the value that most plays after the exposure have, as text.
        """
        ...

    def of_history(self, *, metrics: Sequence[Metric], covariate_days: int, since_ms: int, until_ms: int) -> Outcomes:
        """Of everybody who played anything in that time, as if exposed at the first play: one group, "history"."""
        ...

    def revisions(self, experiment_id: str, *, until_ms: int) -> list[RevisionCount]:
        """Users exposed before an instant and those of them who crossed, by revision, variant and segment."""
        ...


class SnapshotRepository(Protocol):
    """What passes over the plays of experiments found, the newest of each experiment and cut."""

    def find(self, experiment_id: str, cut: str | None) -> Snapshot | None:
        """What is kept."""
        ...

    def timings(self, experiment_id: str) -> dict[str | None, Timing]:
        """Of those that are kept, by cut."""
        ...

    def claim(self, experiment_id: str, cut: str | None, *, at: datetime, until: datetime) -> bool:
        """Take the making of one on, up to an instant, unless somebody has; whether it was taken."""
        ...

    def keep(self, snapshot: Snapshot) -> None:
        """Keep it in place of one that reads less far or was made before; whoever took it on is done."""
        ...


class ExposureRepository(Protocol):
    """Who was exposed to which variant."""

    def find(self, experiment_id: str, user_id: str) -> Exposure | None:
        """The user's exposure to an experiment."""
        ...

    def of_users(self, experiment_id: str, user_ids: Sequence[str]) -> dict[str, Exposure]:
        """The exposures of users who have one."""
        ...

    def of_user(self, user_id: str) -> list[Exposure]:
        """All exposures of a user, by experiment."""
        ...

    def expose(self, exposure: Exposure) -> Exposure:
        """Store it unless the user has one already; what is stored. Raises: Conflict."""
        ...

    def record(self, experiment_id: str, told: Sequence[Exposure]) -> list[Exposed]:
        """Store those of users who were not exposed; what is stored of each afterwards, in order.

        A user who was seen with another variant before has crossed, the first time at the instant told.
        """
        ...

    def counts(self, experiment_id: str) -> dict[str, tuple[int, int]]:
        """By variant: users exposed, and those of them who crossed."""
        ...

    def delete_of(self, user_id: str) -> int:
        """Remove all exposures of a user; how many there were."""
        ...


class UploadRepository(Protocol):
    """Uploads."""

    def add(self, value: Upload) -> None:
        """Insert it."""
        ...

    def get(self, identity: str) -> Upload:
        """As stored. Raises: NotFound."""
        ...


class KeyRepository(Repository[ApiKey], Protocol):
    """API keys."""

    def usable(self) -> list[ApiKey]:
        """Those that are not revoked."""
        ...

    def note_use(self, used: Mapping[str, datetime]) -> None:
        """Keep when each key, by its id, was last used; never an earlier instant than is kept."""
        ...


class PlayRepository(Protocol):
    """Plays that players sent."""

    def add(self, plays: Sequence[Play], *, received_at: datetime) -> list[PlayVerdict]:
        """Store those whose event id is new; one verdict a play, in order."""
        ...

    def received_since(self, instant: datetime) -> Iterator[list[Play]]:
        """The plays that came later and are no other event, some at a time, in the order of their event ids."""
        ...

    def recent(self, user_id: str, *, limit: int) -> RecentPlays:
        """The user's newest plays."""
        ...

    def recent_of(self, user_ids: Sequence[str], *, limit: int) -> dict[str, RecentPlays]:
        """The same of many users; those without plays are absent."""
        ...

    def songs_since(self, user_id: str, *, since_ms: int, limit: int) -> list[str]:
        """Up to `limit` songs that the user did something with from an instant on, the last ones first."""
        ...

    def page(self, user_id: str, *, limit: int, before: tuple[int, str] | None) -> list[StoredPlay]:
        """Up to `limit` plays before an instant (epoch milliseconds) and event id, newest first (ties by event id)."""
        ...

    def counts(self, user_id: str, *, limit: int) -> list[SongCount]:
        """How often the user played each song and when last, the `limit` most played first."""
        ...

    def among(self, user_id: str, plays: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of the plays (song id and instant, at most a thousand) that are stored as played by the user."""
        ...

    def n_of(self, user_id: str) -> int:
        """How many plays of the user are stored."""
        ...

    def delete_of(self, user_id: str) -> int:
        """Remove all plays of a user; how many there were."""
        ...


class ListenerRepository(Protocol):
    """Users to be forgotten, and whether histories may be cached; see `app.domain.listeners`."""

    def share(self) -> None:
        """Wait for whoever holds `lock`, and keep it from others until this unit of work ends.

        Whoever writes plays does, so that no erasure and no new state of the cache comes between.
        """
        ...

    def lock(self) -> None:
        """Wait for all who share or hold the lock, and keep them waiting until this unit of work ends."""
        ...

    def cache(self) -> CacheState | None:
        """Whether histories may be cached; None while no server has a cache."""
        ...

    def set_cache(self, state: CacheState) -> None:
        """Store it; needs `lock`."""
        ...

    def erased_at(self, user_ids: Collection[str]) -> dict[str, int]:
        """When those of the users that are to be forgotten were erased, in epoch milliseconds."""
        ...

    def erase(self, user_id: str, *, at: datetime) -> Erasure:
        """Note that the user is to be forgotten up to an instant; needs `lock`."""
        ...

    def erasures(self, *, after: int, limit: int) -> list[Erasure]:
        """Up to `limit` users with a revision above `after`, by revision."""
        ...


class CatalogueRepository(Protocol):
    """What is said of songs."""

    def advance(self, n_changes: int) -> int:
        """The first of so many revisions that are this unit of work's: others wait for it, so they come in order."""
        ...

    def having(self, song_ids: Sequence[str]) -> Mapping[str, CatalogueSong]:
        """What is stored of these songs, by id."""
        ...

    def save(self, songs: Sequence[CatalogueSong]) -> None:
        """Insert or replace them."""
        ...

    def changes(self, after: int, *, limit: int) -> list[CatalogueSong]:
        """Up to `limit` songs with a revision above `after`, by revision."""
        ...

    def denied(self, *, limit: int, cursor: str | None) -> list[CatalogueSong]:
        """Up to `limit` denied songs after `cursor` (an id), by id."""
        ...

    def played_beside(self, song_id: str, *, gap_ms: int, n_plays: int, limit: int) -> dict[str, int]:
        """How often songs were played by the same users around the song's newest plays, the most often first."""
        ...


class IdempotencyRepository(Protocol):
    """Answers already given, by idempotency key."""

    def reserve(self, key: str, *, request_sha256: str, at: datetime) -> tuple[str, dict[str, Any]] | None:
        """Take the key for this unit of work; what it was used for before, if it was: request hash and answer."""
        ...

    def answer(self, key: str, answer: dict[str, Any]) -> None:
        """Store the answer of a key reserved in this unit of work."""
        ...


class UnitOfWork(Protocol):
    """One transaction: leaving without `commit` undoes everything.

    Raises: Unavailable when the database cannot be reached, StorageFull when its disk is full.
    """

    uploads: UploadRepository
    datasets: ClaimableRepository[Dataset]
    studies: StudyRepository
    trials: TrialRepository
    inherited: InheritedRepository
    events: EventRepository
    transfers: TransferRepository
    models: ModelRepository
    tables: TableRepository
    aliases: AliasRepository
    shadows: ShadowRepository
    retrainings: RetrainingRepository
    experiments: ExperimentRepository
    exposures: ExposureRepository
    outcomes: OutcomeRepository
    ballots: BallotRepository
    findings: FindingRepository
    snapshots: SnapshotRepository
    plays: PlayRepository
    catalogue: CatalogueRepository
    listeners: ListenerRepository
    idempotency: IdempotencyRepository
    keys: KeyRepository

    def now(self) -> datetime:
        """The present instant by the one clock that all workers share: the database's."""
        ...

    def commit(self) -> None:
        """Make it last."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Undo what was not committed."""
        ...


class UnitsOfWork(Protocol):
    """Opens units of work."""

    def __call__(self) -> UnitOfWork:
        """One that may write."""
        ...

    def reading(self) -> UnitOfWork:
        """One that only reads, and so waits for no writer."""
        ...

    def recent_plays(self, user_id: str, *, limit: int) -> RecentPlays:
        """A user's newest plays, newest first, read by themselves: every recommendation waits for it.

        Raises: Unavailable.
        """
        ...
