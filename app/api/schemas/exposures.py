"""Exposures that clients tell, and assignments that they look up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from app.api.schemas.base import Body, Identifier, Parameters, View
from app.api.schemas.experiments import EXPERIMENT_ID, VariantName
from app.api.schemas.instants import EPOCH, Instant, epoch_ms
from app.api.schemas.plays import RejectionView
from app.domain.experiments.assignment import HASH_VERSION, N_BUCKETS
from app.domain.experiments.experiment import ExperimentState
from app.domain.experiments.exposure import MAX_EXPOSURES_PER_REQUEST, Exposed
from app.domain.plays import Rejection
from app.domain.serving import UnassignedReason
from app.services.exposures import ToldExposure, UserAssignment


class AssignmentParameters(Parameters):
    """Whose assignment."""

    user_id: Identifier


class AssignmentView(View):
    """What a user is assigned, and the numbers that say so."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "experiment_id": EXPERIMENT_ID,
                    "user_id": "user_000001",
                    "state": "running",
                    "variant": "tuned",
                    "reason": None,
                    "is_exposed": False,
                    "segment": None,
                    "hash_version": HASH_VERSION,
                    "n_buckets": N_BUCKETS,
                    "traffic_salt": f"{EXPERIMENT_ID}-traffic",
                    "traffic_bucket": 1204,
                    "salt": EXPERIMENT_ID,
                    "bucket": 7731,
                    "revision": 0,
                }
            ]
        }
    )

    experiment_id: str
    user_id: str
    state: ExperimentState
    variant: str | None = Field(description="What would be served now; null where no variant would.")
    reason: UnassignedReason | None = Field(description="Why none would.")
    is_exposed: bool = Field(description="Whether the user has seen a variant, which then stays.")
    segment: str | None = Field(description="The user's at the first exposure.")
    hash_version: int
    n_buckets: int
    traffic_salt: str
    traffic_bucket: int
    salt: str
    bucket: int
    revision: int | None = Field(description="The allocation that assigned; null before the start.")

    @classmethod
    def of(cls, found: UserAssignment) -> "AssignmentView":
        """The view of an assignment."""
        experiment, exposure = found.experiment, found.exposure
        allocation = experiment.allocation
        assigned_by = None if allocation is None else allocation.revision
        return cls(
            experiment_id=experiment.id,
            user_id=found.user_id,
            state=experiment.state,
            variant=found.variant,
            reason=found.reason,
            is_exposed=exposure is not None,
            segment=None if exposure is None else exposure.segment,
            hash_version=HASH_VERSION if allocation is None else allocation.hash_version,
            n_buckets=N_BUCKETS,
            traffic_salt=experiment.traffic_salt,
            traffic_bucket=found.traffic_bucket,
            salt=experiment.salt,
            bucket=found.bucket,
            revision=assigned_by if exposure is None else exposure.revision,
        )


class ExposureBody(Body):
    """A user to whom a variant was shown."""

    user_id: Identifier
    variant: VariantName
    at: Instant = Field(description="When, with an offset.")


class ExposuresBody(Body):
    """Exposures in the order they happened."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"exposures": [{"user_id": "user_000001", "variant": "tuned", "at": "2026-01-01T12:30:00Z"}]}]
        }
    )

    exposures: Annotated[list[ExposureBody], Field(min_length=1, max_length=MAX_EXPOSURES_PER_REQUEST)]

    def told(self) -> list[ToldExposure]:
        """The service's values. Raises: InvalidRequest for an instant before 1970."""
        return [
            ToldExposure(
                user_id=each.user_id,
                variant=each.variant,
                at_ms=epoch_ms(each.at, pointer=f"/exposures/{place}/at", name="at"),
            )
            for place, each in enumerate(self.exposures)
        ]


class ExposureVerdictView(View):
    """What became of one exposure, and what is on record of the user."""

    user_id: str
    verdict: Literal["recorded", "known", "crossed", "rejected"] = Field(
        description="`known`: the user was exposed to this variant before. `crossed`: to another one; results leave "
        "the user out."
    )
    variant: str | None = Field(description="On record.")
    segment: str | None
    exposed_at: datetime | None
    reason: RejectionView | None = Field(description="Why it was rejected.")

    @classmethod
    def of(cls, told: ToldExposure, found: Exposed | Rejection) -> "ExposureVerdictView":
        """The view of a verdict."""
        if isinstance(found, Rejection):
            reason = RejectionView(code=found.code, field=found.field, detail=found.detail)
            return cls(
                user_id=told.user_id, verdict="rejected", variant=None, segment=None, exposed_at=None, reason=reason
            )
        exposure = found.exposure
        return cls(
            user_id=told.user_id,
            verdict=found.verdict.value,
            variant=exposure.variant,
            segment=exposure.segment,
            exposed_at=(EPOCH + timedelta(milliseconds=exposure.exposed_at_ms)).astimezone(UTC),
            reason=None,
        )


class ExposuresView(View):
    """What became of the exposures, in the order they were sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "n_recorded": 1,
                    "n_known": 0,
                    "n_crossed": 0,
                    "n_rejected": 0,
                    "verdicts": [
                        {
                            "user_id": "user_000001",
                            "verdict": "recorded",
                            "variant": "tuned",
                            "segment": "ar",
                            "exposed_at": "2026-01-01T12:30:00Z",
                            "reason": None,
                        }
                    ],
                }
            ]
        }
    )

    n_recorded: int
    n_known: int
    n_crossed: int
    n_rejected: int
    verdicts: list[ExposureVerdictView]

    @classmethod
    def of(cls, told: Sequence[ToldExposure], found: Sequence[Exposed | Rejection]) -> "ExposuresView":
        """The view of all verdicts."""
        verdicts = [ExposureVerdictView.of(one, other) for one, other in zip(told, found, strict=True)]
        n_of = {verdict: 0 for verdict in ("recorded", "known", "crossed", "rejected")}
        for each in verdicts:
            n_of[each.verdict] += 1
        return cls(
            n_recorded=n_of["recorded"],
            n_known=n_of["known"],
            n_crossed=n_of["crossed"],
            n_rejected=n_of["rejected"],
            verdicts=verdicts,
        )
