"""The tables. Instants are UTC; a document column holds a domain value as JSON, checked on its way in and out."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.domain.catalogue import SongWords
from app.domain.datasets import DatasetSpec, DatasetState, Statistics
from app.domain.experiments.assignment import Allocation
from app.domain.experiments.calibration import Comparison
from app.domain.experiments.experiment import Decision, ExperimentSpec, ExperimentState
from app.domain.gates import GateLimits, GateReport
from app.domain.keys import Scope
from app.domain.lease import Failure, Progress
from app.domain.models import (
    Bundle,
    Fit,
    IndexFacts,
    Latency,
    Lineage,
    ModelMetrics,
    ModelState,
    Promotion,
    Rival,
    StoredFile,
    TableTiming,
)
from app.domain.neighbour_tables import TableFacts, TableState
from app.domain.plays import EventType
from app.domain.retraining import RetrainingSpec, RetrainingState
from app.domain.shadowing import Tally
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.retry import FailureCounts
from app.domain.tuning.revisions import Revision
from app.domain.tuning.stopping import Stopped
from app.domain.tuning.study import StudySpec, StudyState
from app.domain.tuning.transfer import TransferSpec
from app.domain.tuning.trial import Method, Origin, TrialOutcome, TrialRole, TrialState


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant; SQLite, which knows no zones, keeps it without."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without the zone for SQLite."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "An instant needs its zone."
            raise ValueError(msg)
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its zone again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type that pydantic can read
    """What reads and writes a kind of value, made when it is first used.

    All of them take a third of the time in which these tables load. Each engine has copies of the columns' types.
    """
    return TypeAdapter(kind)


class Document(TypeDecorator[Any]):
    """A domain value as JSON. `absent` says what documents mean that were written before a field existed."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def __init__(
        self,
        kind: Any,  # noqa: ANN401 - any type that pydantic can read
        *,
        absent: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__()
        self.kind = kind
        self.absent = absent

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """JSONB on PostgreSQL."""
        return dialect.type_descriptor(JSONB(none_as_null=True) if dialect.name == "postgresql" else self.impl_instance)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401 - as the base says
        """To plain JSON."""
        return None if value is None else adapter_of(self.kind).dump_python(value, mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401 - as the base says
        """To the domain value. Strict typing is off: JSON has no tuples or enums."""
        if value is None:
            return None
        return adapter_of(self.kind).validate_python({**dict(self.absent), **value} if self.absent else value)


class Choice(TypeDecorator[StrEnum]):
    """A member of an enumeration by its value."""

    impl = sa.String(32)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """Its value."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """The member."""
        return None if value is None else self.kind(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


BEFORE_TRAINERS = (("trainer", Trainer.GENSIM.value),)
"""Who trained before a study could say so. Read so rather than migrated: a worker of the version before, which may
still run when the database is brought up to date, writes such documents back."""


def _identity() -> sa.Column[str]:
    return sa.Column("id", sa.String(64), primary_key=True)


def _lease() -> list[sa.Column[Any]]:
    return [
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.String(200)),
        sa.Column("lease_expires_at", Instant, index=True),
        sa.Column("lease_s", sa.Double),
        sa.Column("progress", Document(Progress)),
    ]


uploads = sa.Table(
    "uploads",
    metadata,
    _identity(),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

datasets = sa.Table(
    "datasets",
    metadata,
    _identity(),
    sa.Column("spec", Document(DatasetSpec), nullable=False),
    sa.Column("state", Choice(DatasetState), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("statistics", Document(Statistics)),
    sa.Column("fingerprint", sa.String(64)),
    sa.Column("failure", Document(Failure)),
    *_lease(),
)

studies = sa.Table(
    "studies",
    metadata,
    _identity(),
    sa.Column("dataset_id", sa.ForeignKey("datasets.id"), nullable=False, index=True),
    sa.Column("spec", Document(StudySpec, absent=BEFORE_TRAINERS), nullable=False),
    sa.Column("parallelism", sa.Integer, nullable=False),
    sa.Column("is_external", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("state", Choice(StudyState), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("best_trial_id", sa.String(64)),
    sa.Column("failure", Document(Failure)),
    sa.Column("stopped", Document(Stopped)),
    sa.Column("revisions", Document(tuple[Revision, ...]), nullable=False, server_default="[]"),
    sa.Column("cloned_from", sa.String(64)),
    sa.Column("version", sa.Integer, nullable=False, server_default="0"),
    sa.Column("ran_s", sa.Double, nullable=False, server_default="0"),
    sa.Column("running_since", Instant),
)

trials = sa.Table(
    "trials",
    metadata,
    _identity(),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False),
    sa.Column("role", Choice(TrialRole), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("method", Choice(Method), nullable=False),
    sa.Column("parameters", Document(TrainingParameters)),
    sa.Column("state", Choice(TrialState), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("source_trial_id", sa.String(64)),
    sa.Column("origin", Choice(Origin)),
    sa.Column("lease_token_sha256", sa.String(64)),
    sa.Column("seed", sa.Integer),
    sa.Column("sample_fraction", sa.Double),
    sa.Column("outcome", Document(TrialOutcome)),
    sa.Column("failure", Document(Failure)),
    sa.Column("has_vectors", sa.Boolean, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", Document(FailureCounts), nullable=False, server_default="{}"),
    sa.Column("not_before", Instant),
    *_lease(),
    sa.UniqueConstraint("study_id", "role", "number"),
    sa.Index(None, "study_id", "state"),
)

inherited = sa.Table(
    "inherited",
    metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("source_study_id", sa.String(64), nullable=False),
    sa.Column("source_study_name", sa.String(200), nullable=False),
    sa.Column("source_trial_id", sa.String(64), nullable=False),
    sa.Column("source_number", sa.Integer, nullable=False),
    sa.Column("parameters", Document(TrainingParameters), nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("changed", Document(tuple[str, ...]), nullable=False),
    sa.Column("outcome", Document(TrialOutcome)),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("study_id", sa.ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("document", Document(dict[str, Any]), nullable=False),
    sa.Index(None, "study_id", "id"),
    sqlite_autoincrement=True,  # an id is never given twice, whatever was deleted
)

transfers = sa.Table(
    "transfers",
    metadata,
    _identity(),
    sa.Column("study_id", sa.ForeignKey("studies.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("spec", Document(TransferSpec), nullable=False),
    sa.Column("points", Document(tuple[str, ...]), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    _identity(),
    sa.Column("study_id", sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("trial_id", sa.ForeignKey("trials.id"), nullable=False),
    sa.Column("dataset_id", sa.ForeignKey("datasets.id"), nullable=False),
    sa.Column("fit", Choice(Fit), nullable=False),
    sa.Column("parameters", Document(TrainingParameters), nullable=False),
    sa.Column("state", Choice(ModelState), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("lineage", Document(Lineage, absent=BEFORE_TRAINERS), nullable=False),
    sa.Column("metrics", Document(ModelMetrics), nullable=False),
    sa.Column("alias", sa.String(64)),
    sa.Column("neighbours", Choice(TableTiming)),
    sa.Column("files", Document(tuple[StoredFile, ...]), nullable=False),
    sa.Column("index", Document(IndexFacts)),
    sa.Column("segment", sa.String(256)),
    sa.Column("override_reason", sa.String(500)),
    sa.Column("asked_by", sa.String(200)),
    sa.Column("latency", Document(Latency)),
    sa.Column("rival", Document(Rival)),
    sa.Column("gates", Document(GateLimits)),
    sa.Column("promotion", Document(Promotion)),
    sa.Column("failure", Document(Failure)),
    *_lease(),
)

neighbour_tables = sa.Table(
    "neighbour_tables",
    metadata,
    _identity(),
    sa.Column("model_id", sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("n_neighbours", sa.Integer, nullable=False),
    sa.Column("state", Choice(TableState), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("files", Document(tuple[StoredFile, ...]), nullable=False),
    sa.Column("facts", Document(TableFacts)),
    sa.Column("failure", Document(Failure)),
    *_lease(),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("model_id", sa.ForeignKey("models.id"), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("segments", Document(dict[str, str]), nullable=False, server_default="{}"),
)

alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("alias", sa.String(64), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model_id", sa.ForeignKey("models.id"), nullable=False),
    sa.Column("previous_model_id", sa.String(64)),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("moved_at", Instant, nullable=False),
    sa.Column("segments", Document(dict[str, str]), nullable=False, server_default="{}"),
    sa.Column("reports", Document(tuple[GateReport, ...]), nullable=False, server_default="[]"),
    sa.Column("override_reason", sa.String(500)),
    sa.Column("moved_by", sa.String(200)),
    sa.Column("experiment_id", sa.String(64)),
)

experiments = sa.Table(
    "experiments",
    metadata,
    _identity(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", Choice(ExperimentState), nullable=False, index=True),
    sa.Column("spec", Document(ExperimentSpec), nullable=False),
    sa.Column("allocations", Document(tuple[Allocation, ...]), nullable=False),
    sa.Column("pinned", Document(dict[str, Bundle]), nullable=False),
    sa.Column("layer", sa.String(64)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("started_at", Instant),
    sa.Column("stopped_at", Instant),
    sa.Column("decided_at", Instant),
    sa.Column("decisions", Document(tuple[Decision, ...]), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_by", sa.String(200)),
)

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("user_id", sa.String(256), primary_key=True, index=True),
    sa.Column("variant", sa.String(64), nullable=False),
    sa.Column("segment", sa.String(256)),
    sa.Column("exposed_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("crossed_at_ms", sa.BigInteger),
)

shadows = sa.Table(
    "shadows",
    metadata,
    _identity(),
    sa.Column("alias", sa.ForeignKey("aliases.name"), nullable=False, unique=True),
    sa.Column("challenger_alias", sa.String(64)),
    sa.Column("challenger_model_id", sa.ForeignKey("models.id")),
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

shadow_tallies = sa.Table(
    "shadow_tallies",
    metadata,
    sa.Column("shadow_id", sa.ForeignKey("shadows.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("server_id", sa.String(64), primary_key=True),
    sa.Column("tally", Document(Tally), nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

retrainings = sa.Table(
    "retrainings",
    metadata,
    _identity(),
    sa.Column("spec", Document(RetrainingSpec), nullable=False),
    sa.Column("source_model_id", sa.ForeignKey("models.id"), nullable=False),
    sa.Column("state", Choice(RetrainingState), nullable=False, index=True),
    sa.Column("alias", sa.String(64)),
    sa.Column("tick_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("n_sent_plays", sa.Integer),
    sa.Column("dataset_id", sa.String(64)),
    sa.Column("study_id", sa.String(64)),
    sa.Column("model_id", sa.String(64)),
    sa.Column("failure", Document(Failure)),
    sa.UniqueConstraint("alias", "tick_at"),
)

plays = sa.Table(
    "plays",
    metadata,
    sa.Column("event_id", sa.String(256), primary_key=True),
    sa.Column("user_id", sa.String(256), nullable=False),
    sa.Column("song_id", sa.String(256), nullable=False),
    sa.Column("played_at_ms", sa.BigInteger, nullable=False),
    sa.Column("seconds_streamed", sa.Double),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("event_type", Choice(EventType), nullable=False, server_default=EventType.PLAY.value),
    sa.Column("duration_s", sa.Double),
    sa.Column("attribution", sa.String(256)),
    sa.Index(None, "user_id", "played_at_ms", "event_id"),
    sa.Index(None, "song_id", "played_at_ms"),
)

catalogue_songs = sa.Table(
    "catalogue_songs",
    metadata,
    sa.Column("song_id", sa.String(256), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("said", Document(SongWords)),
    sa.Column("denial_reason", sa.Text),
    sa.Column("denied_at", Instant),
    sa.Column("beside", Document(dict[str, int])),
    sa.Column("beside_source", sa.String(16)),
)

catalogue_revisions = sa.Table(
    "catalogue_revisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

erased_users = sa.Table(
    "erased_users",
    metadata,
    sa.Column("user_id", sa.String(256), primary_key=True),
    sa.Column("erased_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
)

history_cache = sa.Table(
    "history_cache",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("off_until", Instant, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("answer", Document(dict[str, Any])),
    sa.Column("created_at", Instant, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    _identity(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("scopes", Document(tuple[Scope, ...]), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Column("last_used_at", Instant),
)

experiment_findings = sa.Table(
    "experiment_findings",
    metadata,
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("goal", sa.String(64), nullable=False),
    sa.Column("comparisons", Document(tuple[Comparison, ...]), nullable=False),
    sa.Column("found_at", Instant, nullable=False),
)

experiment_snapshots = sa.Table(
    "experiment_snapshots",
    metadata,
    sa.Column("experiment_id", sa.ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("cut", sa.String(256), primary_key=True),
    sa.Column("until", Instant),
    sa.Column("made_at", Instant),
    sa.Column("took_s", sa.Double),
    sa.Column("found", Document(dict[str, Any])),
    sa.Column("claimed_until", Instant),
)
