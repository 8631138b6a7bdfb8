"""Retrainings: what a client asks for and what it is told."""

from datetime import datetime

from pydantic import ConfigDict, Field

from app.api.schemas.base import AliasName, Body, FailureView, ResourceId, View
from app.api.schemas.datasets import DATASET_ID
from app.api.schemas.gates import EXAMPLE_REPORT, GatesBody, OverrideReason
from app.api.schemas.models import MODEL_ID, OTHER_MODEL_ID, PromotionView
from app.api.schemas.trials import STUDY_ID
from app.domain.gates import GateLimits
from app.domain.retraining import RetrainingSpec, RetrainingState
from app.services.retraining import RetrainingFacts


class RetrainingBody(Body):
    """Which model to train anew, and on what."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_extra={"examples": [{"alias": "production"}]})

    alias: AliasName | None = Field(default=None, description="The alias that moves to the new model.")
    model_id: ResourceId | None = Field(
        default=None,
        description="Whose hyperparameters are trained; by default the live model's.",
    )
    dataset_id: ResourceId | None = Field(
        default=None, description="What to train on; by default the source of the model's dataset, read anew."
    )
    gates: GatesBody | None = Field(default=None, description="What it must show; by default as the operator set.")
    promotes: bool = Field(default=True, description="Whether the alias moves if the gates let it.")
    override_reason: OverrideReason | None = Field(
        default=None, description="Why the alias moves even where a gate refuses; kept with the move."
    )

    def spec(self, defaults: GateLimits, *, asked_by: str | None) -> RetrainingSpec:
        """What is asked for."""
        return RetrainingSpec(
            dataset_id=self.dataset_id,
            gates=defaults if self.gates is None else self.gates.over(defaults),
            promotes=self.promotes,
            override_reason=self.override_reason,
            asked_by=asked_by,
        )


class RetrainingView(View):
    """A retraining: `gathering`, `preparing`, `measuring`, `building`, then `ended` or `failed`.

    `dataset_id`, `study_id` and `model_id` are what it made so far, each with a progress of its own; `promotion` is
    what came of moving the alias. `n_sent_plays` plays sent to Segue joined those of the source; null where none did.
    """

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "id": "rtr_0197f3a5d3e18f63b9942e8d5f3c1b76",
                    "state": "ended",
                    "alias": "production",
                    "source_model_id": OTHER_MODEL_ID,
                    "scheduled_at": "2026-01-05T04:00:00Z",
                    "n_sent_plays": 51_200,
                    "dataset_id": DATASET_ID,
                    "study_id": STUDY_ID,
                    "model_id": MODEL_ID,
                    "promotion": {
                        "alias": "production",
                        "state": "moved",
                        "generation": 4,
                        "gates": [EXAMPLE_REPORT],
                    },
                    "failure": None,
                    "created_at": "2026-01-05T04:00:01Z",
                    "finished_at": "2026-01-05T04:21:40Z",
                }
            ]
        },
    )

    id: str
    state: RetrainingState
    alias: str | None
    source_model_id: str
    scheduled_at: datetime | None = Field(description="The instant of the schedule; null for a request's.")
    n_sent_plays: int | None
    dataset_id: str | None
    study_id: str | None
    model_id: str | None
    promotion: PromotionView | None
    failure: FailureView | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, facts: RetrainingFacts) -> "RetrainingView":
        """The view of a retraining."""
        retraining = facts.retraining
        return cls(
            id=retraining.id,
            state=retraining.state,
            alias=retraining.alias,
            source_model_id=retraining.source_model_id,
            scheduled_at=retraining.tick_at,
            n_sent_plays=retraining.n_sent_plays,
            dataset_id=retraining.dataset_id,
            study_id=retraining.study_id,
            model_id=retraining.model_id,
            promotion=None if facts.model is None else PromotionView.of(facts.model.promotion),
            failure=FailureView.of(retraining.failure),
            created_at=retraining.created_at,
            finished_at=retraining.finished_at,
        )
