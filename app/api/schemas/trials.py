"""Trials as clients see them."""

from datetime import datetime

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import FailureView, PageParameters, ProgressView, View
from app.api.schemas.measurements import EpochView, MeasurementView, example_measurement, example_scores
from app.api.schemas.pruning import PrunedView, StandingView
from app.domain.embedding import Scoring
from app.domain.training import TrainingParameters
from app.domain.tuning.reproducibility import Reproducibility, reproducibility
from app.domain.tuning.retry import FailureCounts
from app.domain.tuning.study import Study
from app.domain.tuning.trial import Method, Origin, Trial, TrialRole, TrialState
from app.services.studies import TrialFacts

STUDY_ID = "std_0197f3a2417b7b0e8f4dd5b1c6a2e390"
TRIAL_ID = "trl_0197f3a24fd87aa3a0c7e1f95b3d8c21"

EXAMPLE_PARAMETERS: JsonDict = {
    "vector_size": 96,
    "window": 3,
    "negative": 20,
    "alpha": 0.062,
    "epochs": 3,
    "sg": 1,
    "ns_exponent": 0.75,
    "sample": 0.001,
    "scoring": "input",
}


class TrialParameters(PageParameters):
    """Which trials."""

    role: TrialRole | None = Field(default=None, description="Only those of this role.")


class TrainingParametersView(View):
    """The hyperparameters of Word2Vec, by gensim's names."""

    vector_size: int
    window: int
    negative: int
    alpha: float
    epochs: int
    sg: int
    ns_exponent: float
    sample: float
    scoring: Scoring

    @classmethod
    def of(cls, parameters: TrainingParameters) -> "TrainingParametersView":
        """The view of hyperparameters."""
        return cls(
            vector_size=parameters.vector_size,
            window=parameters.window,
            negative=parameters.negative,
            alpha=parameters.alpha,
            epochs=parameters.epochs,
            sg=parameters.sg,
            ns_exponent=parameters.ns_exponent,
            sample=parameters.sample,
            scoring=parameters.scoring,
        )


class FailureCountsView(View):
    """Failed attempts by kind."""

    failed: int = Field(description="Crashed, or ended in an error.")
    timed_out: int
    out_of_memory: int
    lost: int = Field(description="The worker stopped reporting.")

    @classmethod
    def of(cls, counts: FailureCounts) -> "FailureCountsView":
        """The view of counts."""
        return cls(
            failed=counts.failed,
            timed_out=counts.timed_out,
            out_of_memory=counts.out_of_memory,
            lost=counts.lost,
        )


class ReproducibilityView(View):
    """Whether the trial, repeated, gives the same embeddings."""

    is_reproducible: bool | None = Field(description="Null where it is not known.")
    reason: str

    @classmethod
    def of(cls, found: Reproducibility | None) -> "ReproducibilityView | None":
        """The view, None of a trial that was not measured."""
        return None if found is None else cls(is_reproducible=found.is_reproducible, reason=found.reason)


def example_trial() -> JsonDict:
    """A trial for examples."""
    return {
        "id": TRIAL_ID,
        "study_id": STUDY_ID,
        "role": "search",
        "number": 4,
        "name": "trial 4",
        "method": "word2vec",
        "parameters": EXAMPLE_PARAMETERS,
        "inactive": [],
        "state": "completed",
        "attempt": 1,
        "progress": {"phase": "done", "fraction": 1.0, "epoch": 3},
        "objective": 0.25,
        "validation": example_measurement(0.25),
        "test": None,
        "times_s": {"train": 5.1, "evaluate": 0.4},
        "model_bytes": 36864000,
        "pruned": None,
        "failure": None,
        "failures": {"failed": 0, "timed_out": 0, "out_of_memory": 0, "lost": 0},
        "not_before": None,
        "revision": 0,
        "has_vectors": True,
        "source_trial_id": None,
        "origin": None,
        "seed": None,
        "sample_fraction": None,
        "vectors_sha256": "5d41402abc4b2a76b9719d911017c592ae2a6b1d6f8e2b1b1c9e0f3a7d8c9b10",
        "threads": 1,
        "cpu": "AMD EPYC 7B13",
        "reproducible": {
            "is_reproducible": True,
            "reason": "One thread trained it: the same seed gives the same vectors on another AMD EPYC 7B13.",
        },
        "created_at": "2026-01-01T12:00:00Z",
        "started_at": "2026-01-01T12:00:01Z",
        "finished_at": "2026-01-01T12:00:07Z",
    }


class TrialSummaryView(View):
    """A trial without its epochs."""

    model_config = ConfigDict(json_schema_extra={"examples": [example_trial()]})

    id: str
    study_id: str
    role: TrialRole
    number: int = Field(description="Its place among the trials of its role, from 0.")
    name: str
    method: Method
    parameters: TrainingParametersView | None = Field(description="Null for a plain baseline.")
    inactive: list[str] = Field(
        description="Hyperparameters that the search space tunes, but that did not matter here: their `only_if` fails."
    )
    state: TrialState
    attempt: int = Field(description="How often it has been begun.")
    progress: ProgressView | None
    objective: float | None = Field(description="The value maximised, on the validation pairs.")
    validation: MeasurementView | None
    test: MeasurementView | None = Field(description="Only of baselines and of the winner's confirmation.")
    times_s: dict[str, float] = Field(description="Seconds by phase.")
    model_bytes: int | None = Field(description="Bytes of the vectors that a model of it serves from.")
    pruned: PrunedView | None = Field(description="Why it is not trained to its end.")
    failure: FailureView | None
    failures: FailureCountsView = Field(description="How its attempts have failed so far.")
    not_before: datetime | None = Field(description="When it may be begun again, while it waits after a failure.")
    revision: int = Field(description="The revision of the study's search space that it was suggested under.")
    has_vectors: bool = Field(description="Whether its embeddings are kept.")
    source_trial_id: str | None = Field(
        description="The trial whose embeddings a confirmation measures, or which a replicate or a transfer repeats."
    )
    seed: int | None = Field(description="The seed it is trained with; null: the study's.")
    sample_fraction: float | None = Field(description="The share of the sessions it is trained on; null: all.")
    vectors_sha256: str | None = Field(description="The SHA-256 of its embeddings, kept or not.")
    threads: int | None
    cpu: str | None = Field(description="The kind of CPU that it ran on.")
    reproducible: ReproducibilityView | None = Field(description="Null until it was measured.")
    origin: Origin | None = Field(description="Who gave the point; null where Segue chose it.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, trial: Trial, study: Study) -> "TrialSummaryView":
        """The view of a trial of this study."""
        return cls.model_validate(_fields(trial, study))


class TrialView(TrialSummaryView):
    """A trial with its scores after each epoch, also while it runs, and beside the constraints of its study."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **example_trial(),
                    "epochs": [{"epoch": 1, "train_s": 1.7, "scores": example_scores(0.11)}],
                    "constraints": [
                        {
                            "constraint": "coverage >= 0.95 * baseline",
                            "value": 0.41,
                            "bound": 0.38,
                            "is_satisfied": True,
                        }
                    ],
                }
            ]
        }
    )

    epochs: list[EpochView] = Field(
        description="Those that were measured; before the last one, on up to 2,000 of the validation pairs."
    )
    constraints: list[StandingView]

    @classmethod
    def of_facts(cls, facts: TrialFacts) -> "TrialView":
        """The view of a trial and how it stands."""
        epochs = () if facts.trial.outcome is None else facts.trial.outcome.epochs
        return cls.model_validate(
            {
                **_fields(facts.trial, facts.study),
                "epochs": [EpochView.of(epoch) for epoch in epochs],
                "constraints": [StandingView.of(standing) for standing in facts.standings],
            }
        )


def _fields(trial: Trial, study: Study) -> dict[str, object]:
    outcome = trial.outcome
    searched = trial.parameters if trial.role in {TrialRole.SEARCH, TrialRole.ATTACHED} else None
    return {
        "id": trial.id,
        "study_id": trial.study_id,
        "role": trial.role,
        "number": trial.number,
        "name": trial.name,
        "method": trial.method,
        "parameters": None if trial.parameters is None else TrainingParametersView.of(trial.parameters),
        "inactive": () if searched is None else study.space_at(trial.revision).inactive(searched),
        "state": trial.state,
        "attempt": trial.attempt,
        "progress": ProgressView.of(trial.progress),
        "objective": trial.objective,
        "validation": None if outcome is None else MeasurementView.of(outcome.validation),
        "test": None if outcome is None else MeasurementView.of(outcome.test),
        "times_s": {} if outcome is None else outcome.times_s,
        "model_bytes": None if outcome is None else outcome.model_bytes,
        "pruned": None if outcome is None else PrunedView.of(outcome.pruned),
        "failure": FailureView.of(trial.failure),
        "failures": FailureCountsView.of(trial.failures),
        "not_before": trial.not_before,
        "revision": trial.revision,
        "has_vectors": trial.has_vectors,
        "source_trial_id": trial.source_trial_id,
        "origin": trial.origin,
        "seed": trial.seed,
        "sample_fraction": trial.sample_fraction,
        "vectors_sha256": None if outcome is None else outcome.vectors_sha256,
        "threads": None if outcome is None else outcome.threads,
        "cpu": None if outcome is None else outcome.cpu,
        "reproducible": ReproducibilityView.of(reproducibility(trial)),
        "created_at": trial.created_at,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
    }
