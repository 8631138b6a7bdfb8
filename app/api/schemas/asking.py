"""Ask and tell: what a team's own trainer sends and is told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import NO_CONTROL_CHARACTERS, Body, View
from app.api.schemas.reports import EXAMPLE_REPORT, CostsBody, ReportBody
from app.api.schemas.trials import TrialView, example_trial
from app.domain.lease import Progress
from app.domain.training import LIMITS
from app.domain.tuning.reporting import Report
from app.services.asking import Alive, AskedTrial, ReportedEpoch
from app.services.studies import TrialFacts

MAX_EPOCHS = int(LIMITS["epochs"][1])

LeaseToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,128}$")]

ClientId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL_CHARACTERS)]

Reason = Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$")]


class AskBody(Body):
    """Who asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"client_id": "trainer-7"}]})

    client_id: ClientId = Field(description="A name of the client's own: under it, it gets its unfinished trial again.")


class AskedTrialView(View):
    """A trial to run, and the token to report under."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "trial": {
                        **example_trial(),
                        "state": "running",
                        "progress": {"phase": "claimed", "fraction": 0.0, "epoch": None},
                        "objective": None,
                        "validation": None,
                        "times_s": {},
                        "has_vectors": False,
                        "finished_at": None,
                        "epochs": [],
                        "constraints": [],
                    },
                    "lease_token": "Zk3vN0u6m1pQ8sT4yB7wX2cF5hJ9lR_aD-gEoKiUqVY",
                    "lease_expires_at": "2026-01-01T12:05:01Z",
                }
            ]
        }
    )

    trial: TrialView
    lease_token: str = Field(description="Send it as `Lease-Token`. It is told here alone.")
    lease_expires_at: datetime = Field(description="When the trial goes to another client unless this one reports.")

    @classmethod
    def of(cls, asked: AskedTrial, facts: TrialFacts) -> "AskedTrialView":
        """The view of a trial that was asked for."""
        return cls(trial=TrialView.of_facts(facts), lease_token=asked.token, lease_expires_at=asked.expires_at)


class ClientProgressBody(Body):
    """How far the training is."""

    fraction: float = Field(ge=0, le=1)
    epoch: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)


class HeartbeatBody(Body):
    """That the client is alive, and how far it is if it says so."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"progress": {"fraction": 0.4, "epoch": 2}}]})

    progress: ClientProgressBody | None = None

    def of_training(self) -> Progress | None:
        """The domain's value."""
        told = self.progress
        return None if told is None else Progress(phase="train", fraction=told.fraction, epoch=told.epoch)


class AliveView(View):
    """Whether to go on.

    `cancel`: the study was cancelled and wants no result any more. `prune`: the trial did badly after its last epoch
    and has ended as pruned; ask for the next.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"answer": "continue", "lease_expires_at": "2026-01-01T12:05:01Z"}]}
    )

    answer: Literal["continue", "cancel", "prune"]
    lease_expires_at: datetime | None = Field(description="Null once the trial is over.")

    @classmethod
    def of(cls, alive: Alive) -> "AliveView":
        """The view of an answer."""
        return cls.model_validate({"answer": alive.answer.value, "lease_expires_at": alive.expires_at})


class EpochBody(ReportBody):
    """Scores on the validation pairs after an epoch; those told before for the same epoch are replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"epoch": 1, "objective": 0.11, "n_pairs": 1520}]})

    epoch: int = Field(ge=1, le=MAX_EPOCHS, description="Counted from 1.")
    train_s: float | None = Field(
        default=None, ge=0, le=1e9, description="Training seconds until then; by default all since it was asked for."
    )

    def reported_epoch(self) -> ReportedEpoch:
        """The service's value. Raises: InvalidRequest."""
        return ReportedEpoch(epoch=self.epoch, train_s=self.train_s, report=self.report(pointer=""))


class CompletionBody(CostsBody):
    """What the trained point measures."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"measurement": {"objective": 0.25, "n_pairs": 1520}},
                {"measurement": EXAMPLE_REPORT, "train_s": 41.7},
            ]
        }
    )

    measurement: ReportBody

    def report(self) -> Report:
        """The domain's value. Raises: InvalidRequest."""
        return self.with_costs(self.measurement.report(pointer="/measurement"))


class FailBody(Body):
    """Why the trial could not be trained or measured."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "CUDA out of memory.", "kind": "out_of_memory"}]}
    )

    reason: Reason
    kind: Literal["failed", "timed_out", "out_of_memory"] = Field(
        default="failed", description="What went wrong, which the study's retry policy tells apart."
    )
    is_final: bool = Field(
        default=False,
        description="Whether this point can never work; otherwise it waits for the next client that asks, as often as "
        "the study's retry policy allows.",
    )
