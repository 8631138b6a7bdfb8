"""Studies: what a client asks for and what it is told."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypedDict

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import Body, FailureView, Identifier, Name, ResourceId, View
from app.api.schemas.datasets import DATASET_ID
from app.api.schemas.policies import RetryBody, StoppingBody
from app.api.schemas.pruning import ConstraintTexts, ConstraintView, PruningBody, SavingsView, constraints_of
from app.api.schemas.search_spaces import SearchSpaceBody, overrides, pointing_into, search_space_view
from app.api.schemas.trials import (
    STUDY_ID,
    TRIAL_ID,
    FailureCountsView,
    TrialSummaryView,
)
from app.api.schemas.verdicts import VerdictView
from app.api.schemas.warm_starts import SOURCE_ID, SourceView, WarmStartBody
from app.domain.errors import InvalidRequest
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.objectives import ACCURACY_WEIGHTS, Aggregate, ObjectiveName
from app.domain.tuning.search_space import preset
from app.domain.tuning.stopping import StoppingRule
from app.domain.tuning.study import LIMITS, Objective, Study, StudySpec, StudyState
from app.domain.tuning.trial import TrialState
from app.domain.tuning.verdict import Verdict
from app.services.studies import StudyView as StudyFacts


class Bounds(TypedDict):
    """The smallest and largest value of a field."""

    ge: int
    le: int


def within(name: str) -> Bounds:
    low, high = LIMITS[name]
    return {"ge": low, "le": high}


class ScopeBody(Body):
    """The segment whose sessions alone are trained on and measured."""

    segment: Identifier


class ObjectiveBody(Body):
    """`hr_weight` * HR@k + (1 - `hr_weight`) * NDCG@k, maximised on the validation pairs."""

    k: int = Field(default=10, ge=1, le=100)
    hr_weight: float = Field(default=0.5, ge=0, le=1)
    aggregate: Literal["micro", "macro", "worst_segment", "weights"] = Field(
        default="micro",
        description="Over all pairs; the mean of the segments with at least 30 measured pairs; the one of them that "
        "scores least; or the mean of the segments named in `weights`.",
    )
    weights: dict[Identifier, float] | None = Field(
        default=None, max_length=256, description="Weights by segment, of which only the proportions matter."
    )
    scope: ScopeBody | None = None

    def value(self, objectives: Sequence[ObjectiveName]) -> Objective:
        """The domain's value; where the first of two objectives is HR or NDCG alone, so is this one."""
        needed = ACCURACY_WEIGHTS.get(objectives[0]) if objectives else None
        is_given = "hr_weight" in self.model_fields_set
        return Objective(
            k=self.k,
            hr_weight=self.hr_weight if needed is None or is_given else needed,
            aggregate=Aggregate(self.aggregate),
            weights=self.weights or {},
            scope=None if self.scope is None else self.scope.segment,
        )

    @classmethod
    def of(cls, objective: Objective) -> "ObjectiveBody":
        """The same body again."""
        return cls(
            k=objective.k,
            hr_weight=objective.hr_weight,
            aggregate=objective.aggregate.value,
            weights=objective.weights or None,
            scope=None if objective.scope is None else ScopeBody(segment=objective.scope),
        )


class StudyBody(Body):
    """A study to run. Every default is the article's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset_id": DATASET_ID},
                {
                    "name": "spring, longer",
                    "dataset_id": DATASET_ID,
                    "preset": "extended",
                    "search_space": {
                        "alpha": {"type": "float", "low": 0.001, "high": 0.1, "scale": "log"},
                        "sg": {"value": 1},
                    },
                    "trainer": "segue",
                    "n_iterations": 40,
                    "pruning": {"rule": "successive_halving"},
                    "constraints": ["coverage >= 0.95 * baseline", "model_bytes <= 2e9"],
                    "parallelism": 2,
                    "warm_start": {"mode": "transfer", "study_ids": [SOURCE_ID]},
                },
                {"dataset_id": DATASET_ID, "objective": {"aggregate": "weights", "weights": {"ar": 2, "en": 1}}},
                {"dataset_id": DATASET_ID, "objectives": ["hr_ndcg", "coverage"]},
            ]
        }
    )

    dataset_id: ResourceId
    name: Name | None = Field(default=None, description="By default the preset and the algorithm.")
    preset: Literal["article", "extended"] = "article"
    search_space: SearchSpaceBody = Field(
        default_factory=dict, description="What differs from the preset, by hyperparameter."
    )
    objective: ObjectiveBody = ObjectiveBody()
    objectives: list[Literal["hr_ndcg", "hit_ratio", "ndcg", "coverage", "popularity", "artist_share"]] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Two, to look for the front between them: the first, an accuracy, decides which trial is the best; "
        "popularity and artist_share are minimised.",
    )
    algorithm: Literal["bayesian", "random"] = "bayesian"
    acquisition: Literal["ei", "ucb", "poi"] = "ei"
    trainer: Literal["segue", "gensim", "external"] = Field(
        default=DEFAULT_TRAINER.value,
        description="Who trains the trials: Segue's own trainer, or gensim, which runs the study to the article's "
        "letter, or an external one, a team's own that asks for trials and tells what it measured: workers run the "
        "baselines alone then. The baselines named after gensim are always its own.",
    )
    n_initial: int = Field(
        default=5,
        **within("n_initial"),
        description="Trials at random before the first suggestion, less what was measured elsewhere: attached trials, "
        "and the measurements of a warm start.",
    )
    n_iterations: int = Field(default=19, **within("n_iterations"), description="Trials suggested after them.")
    epochs: int = Field(
        default=3, ge=1, le=1_000, description="Epochs of every trial; the extended preset tunes them unless given."
    )
    seed: int = Field(default=0, **within("seed"))
    parallelism: int = Field(
        default=1, **within("parallelism"), description="Most trials at once, of those that workers run."
    )
    threads: int = Field(
        default=1,
        **within("threads"),
        description="Threads per trial that a worker runs; only with one are trials repeatable.",
    )
    trial_timeout_s: float | None = Field(
        default=None, ge=1, le=30 * 86_400, description="Of a trial that a worker runs; null: as the workers are set."
    )
    max_attempts: int = Field(
        default=3, **within("max_attempts"), description="How often a trial is begun before it has failed."
    )
    baselines: bool = Field(default=True, description="Measure gensim's defaults and the plain baselines too.")
    replicates: int = Field(
        default=0,
        **within("replicates"),
        description="Further seeds that the winner and gensim's defaults are trained with once the search has ended, "
        "so that the verdict knows the noise of training too; 5 are recommended.",
    )
    stopping: StoppingBody = StoppingBody()
    retry: RetryBody = RetryBody()
    pruning: PruningBody | None = None
    constraints: ConstraintTexts = Field(default_factory=list)
    warm_start: WarmStartBody | None = None

    def spec(self) -> StudySpec:
        """The domain's value. Raises: InvalidRequest."""
        with pointing_into(self.search_space):
            return self._spec()

    def _spec(self) -> StudySpec:
        changed = overrides(self.search_space)
        objectives = tuple(map(ObjectiveName, self.objectives or ()))
        if "epochs" in self.model_fields_set:
            if "epochs" in changed:
                raise InvalidRequest("epochs is given in search_space too.", pointer="/epochs")
            changed["epochs"] = self.epochs
        return StudySpec(
            name=f"{self.preset}, {self.algorithm}" if self.name is None else self.name,
            dataset_id=self.dataset_id,
            space=preset(self.preset, epochs=self.epochs, overrides=changed),
            preset=self.preset,
            objective=self.objective.value(objectives),
            objectives=objectives,
            algorithm=self.algorithm,
            acquisition=self.acquisition,
            trainer=Trainer(self.trainer),
            n_initial=self.n_initial,
            n_iterations=self.n_iterations,
            seed=self.seed,
            parallelism=self.parallelism,
            threads=self.threads,
            trial_timeout_s=self.trial_timeout_s,
            max_attempts=self.max_attempts,
            baselines=self.baselines,
            replicates=self.replicates,
            stopping=self.stopping.value(),
            retry=self.retry.value(),
            pruning=None if self.pruning is None else self.pruning.pruning(),
            constraints=constraints_of(self.constraints),
            warm_start=None if self.warm_start is None else self.warm_start.warm_start(),
        )


class SegmentOfView(View):
    """The study, and its segment, that this one was begun from."""

    study_id: str
    segment: str


class StudySpecView(View):
    """What was asked for, the preset's parameters filled in."""

    preset: Literal["article", "extended"]
    search_space: SearchSpaceBody
    objective: ObjectiveBody
    algorithm: Literal["bayesian", "random"]
    acquisition: Literal["ei", "ucb", "poi"]
    trainer: Trainer
    n_initial: int
    n_iterations: int
    seed: int
    parallelism: int
    threads: int
    trial_timeout_s: float | None
    max_attempts: int
    baselines: bool
    replicates: int
    objectives: list[ObjectiveName] | None = Field(description="Where there are two.")
    segment_of: SegmentOfView | None
    stopping: StoppingBody
    retry: RetryBody
    pruning: PruningBody | None
    constraints: list[str]
    warm_start: WarmStartBody | None

    @classmethod
    def of(cls, spec: StudySpec) -> "StudySpecView":
        """The view of a specification."""
        return cls(
            preset=spec.preset,
            search_space=search_space_view(spec.space),
            objective=ObjectiveBody.of(spec.objective),
            algorithm=spec.algorithm,
            acquisition=spec.acquisition,
            trainer=spec.trainer,
            n_initial=spec.n_initial,
            n_iterations=spec.n_iterations,
            seed=spec.seed,
            parallelism=spec.parallelism,
            threads=spec.threads,
            trial_timeout_s=spec.trial_timeout_s,
            max_attempts=spec.max_attempts,
            baselines=spec.baselines,
            replicates=spec.replicates,
            objectives=list(spec.objectives) or None,
            segment_of=None
            if spec.segment_of is None
            else SegmentOfView(study_id=spec.segment_of.study_id, segment=spec.segment_of.segment),
            stopping=StoppingBody.of(spec.stopping),
            retry=RetryBody.of(spec.retry),
            pruning=PruningBody.of(spec.pruning),
            constraints=[str(constraint) for constraint in spec.constraints],
            warm_start=WarmStartBody.of(spec.warm_start),
        )


class StoppedView(View):
    """The rule by which a study began no further trial, with its reason."""

    rule: StoppingRule
    reason: str
    at: datetime


class RevisionView(View):
    """A search space that the study has had, and since when; trials name the one they were suggested under."""

    number: int
    search_space: SearchSpaceBody
    created_at: datetime


EXAMPLE_STUDY: JsonDict = {
    "id": STUDY_ID,
    "name": "article, bayesian",
    "dataset_id": DATASET_ID,
    "state": "running",
    "spec": {
        "preset": "article",
        "search_space": {
            "vector_size": {"type": "int", "low": 10, "high": 200, "scale": "linear"},
            "window": {"type": "int", "low": 1, "high": 40, "scale": "linear"},
            "negative": {"type": "int", "low": 1, "high": 40, "scale": "linear"},
            "alpha": {"type": "float", "low": 0.001, "high": 0.1, "scale": "log"},
            "epochs": {"value": 3},
            "sg": {"value": 1},
            "ns_exponent": {"value": 0.75},
            "sample": {"value": 0.001},
            "scoring": {"value": "input"},
        },
        "objective": {"k": 10, "hr_weight": 0.5, "aggregate": "micro", "weights": None, "scope": None},
        "algorithm": "bayesian",
        "acquisition": "ei",
        "trainer": DEFAULT_TRAINER,
        "n_initial": 5,
        "n_iterations": 19,
        "seed": 0,
        "parallelism": 1,
        "threads": 1,
        "trial_timeout_s": None,
        "max_attempts": 3,
        "baselines": True,
        "replicates": 0,
        "objectives": None,
        "segment_of": None,
        "stopping": {
            "max_trials": None,
            "max_run_s": 3600.0,
            "no_improvement": {"n_trials": 10, "min_delta": 0.001},
            "target": None,
            "min_expected_improvement": None,
        },
        "retry": {
            "backoff_s": 1.0,
            "backoff_factor": 2.0,
            "max_backoff_s": 60.0,
            "on": {"failed": None, "timed_out": None, "out_of_memory": 1, "lost": None},
            "abort_after": None,
        },
        "pruning": None,
        "constraints": [],
        "warm_start": None,
    },
    "revision": 0,
    "version": 0,
    "cloned_from": None,
    "stopped": None,
    "best_trial_id": TRIAL_ID,
    "failure": None,
    "created_at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T12:00:01Z",
    "finished_at": None,
}


class StudySummaryView(View):
    """A study without its trials."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_STUDY]})

    id: str
    name: str
    dataset_id: str
    state: StudyState
    spec: StudySpecView
    revision: int = Field(description="The number of its present search space.")
    version: int = Field(description="How often its owner has changed it; also its ETag.")
    cloned_from: str | None = Field(description="The study it was cloned from, which may have been deleted since.")
    stopped: StoppedView | None = Field(description="The rule by which it began no further trial, if it was one.")
    best_trial_id: str | None
    failure: FailureView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, study: Study) -> "StudySummaryView":
        """The view of a study."""
        return cls.model_validate(_fields(study))


class StudyProgressView(View):
    """How far a study is: trials of every role that have ended, of those planned."""

    fraction: float = Field(ge=0, le=1)
    n_ended: int
    n_trials: int


class StudyView(StudySummaryView):
    """A study at a glance: its best trial beside the baselines."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_STUDY,
                    "best_trial_id": None,
                    "progress": {"fraction": 0.18, "n_ended": 5, "n_trials": 30},
                    "counts": {
                        "waiting": 0,
                        "running": 1,
                        "completed": 0,
                        "pruned": 0,
                        "failed": 0,
                        "infeasible": 0,
                        "cancelled": 0,
                    },
                    "best": None,
                    "baselines": [],
                    "confirmation": None,
                    "unconfirmed": None,
                    "n_attached": 0,
                    "sources": [],
                    "verdict": None,
                    "running": [],
                    "eta_s": None,
                    "run_s": 61.5,
                    "failures": {"failed": 0, "timed_out": 0, "out_of_memory": 1, "lost": 0},
                    "revisions": [
                        {
                            "number": 0,
                            "search_space": {"alpha": {"type": "float", "low": 0.001, "high": 0.1, "scale": "log"}},
                            "created_at": "2026-01-01T12:00:00Z",
                        }
                    ],
                    "pruning": {"n_pruned": 0, "epochs_saved": 0, "train_s_saved": 0.0},
                    "constraints": [],
                }
            ]
        }
    )

    progress: StudyProgressView
    counts: dict[TrialState, int] = Field(description="Trials of the search by state.")
    best: TrialSummaryView | None = Field(description="The best trial of the search so far.")
    baselines: list[TrialSummaryView]
    confirmation: TrialSummaryView | None = Field(description="The winner, measured on the test pairs.")
    unconfirmed: str | None = Field(description="Why the winner is not measured on the test pairs; null where it is.")
    n_attached: int = Field(description="Trials that were attached; they are not among the counts.")
    sources: list[SourceView] = Field(description="Studies that the warm start took something from; see `inherited`.")
    verdict: VerdictView | None = Field(description="Once the study has ended; `…/verdict` has the whole table.")
    running: list[TrialSummaryView]
    eta_s: float | None = Field(description="Seconds to go; null until a trial of the search has ended.")
    run_s: float = Field(description="Seconds it has run, those it was queued or paused not counted.")
    failures: FailureCountsView = Field(description="Failed attempts of all its trials by kind.")
    revisions: list[RevisionView] = Field(description="Its search spaces, the present one last.")
    pruning: SavingsView
    constraints: list[ConstraintView]

    @classmethod
    def of_facts(cls, facts: StudyFacts, verdict: Verdict | None) -> "StudyView":
        """The view of a study and its trials."""
        study = facts.study
        return cls.model_validate(
            {
                **_fields(study),
                "progress": StudyProgressView(fraction=facts.fraction, n_ended=facts.n_ended, n_trials=facts.n_trials),
                "counts": facts.counts,
                "best": None if facts.best is None else TrialSummaryView.of(facts.best, study),
                "baselines": [TrialSummaryView.of(trial, study) for trial in facts.baselines],
                "confirmation": None if facts.confirmation is None else TrialSummaryView.of(facts.confirmation, study),
                "unconfirmed": facts.unconfirmed,
                "n_attached": facts.n_attached,
                "sources": [SourceView.of(source) for source in facts.sources],
                "verdict": VerdictView.of(verdict),
                "running": [TrialSummaryView.of(trial, study) for trial in facts.running],
                "eta_s": facts.eta_s,
                "run_s": facts.run_s,
                "failures": FailureCountsView.of(facts.failures),
                "revisions": [
                    RevisionView(
                        number=revision.number,
                        search_space=search_space_view(revision.space),
                        created_at=revision.at,
                    )
                    for revision in study.all_revisions
                ],
                "pruning": SavingsView.of(facts.savings),
                "constraints": [ConstraintView.of(constraint) for constraint in facts.constraints],
            }
        )


def _fields(study: Study) -> dict[str, object]:
    return {
        "id": study.id,
        "name": study.spec.name,
        "dataset_id": study.spec.dataset_id,
        "state": study.state,
        "spec": StudySpecView.of(study.spec),
        "revision": study.revision,
        "version": study.version,
        "cloned_from": study.cloned_from,
        "stopped": None
        if study.stopped is None
        else StoppedView(rule=study.stopped.rule, reason=study.stopped.reason, at=study.stopped.at),
        "best_trial_id": study.best_trial_id,
        "failure": FailureView.of(study.failure),
        "created_at": study.created_at,
        "started_at": study.started_at,
        "finished_at": study.finished_at,
    }
