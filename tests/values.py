"""Values of the domain for tests that do not care about most of their fields."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from app.domain.datasets import Counts, DatasetSpec, LengthQuantiles, SourceReference, Statistics
from app.domain.experiments.experiment import Experiment, ExperimentSpec, ExperimentState, Variant
from app.domain.experiments.metrics import MetricRole, from_preset
from app.domain.measurement import EpochMeasurement, Estimate, Measurement, Scores
from app.domain.pairing import PairRanks, Ranks, pair_values
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.constraints import Constraint
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.search_space import Parameter, Value, preset
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import StudySpec
from app.domain.tuning.trial import TrialOutcome
from app.domain.tuning.warm_start import WarmStart

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

NO_RULES = Stopping()
AT_ONCE = RetryPolicy(backoff_s=0)

OWN_TRAINERS = [trainer for trainer in Trainer if trainer is not Trainer.EXTERNAL]
"""Those that train here."""


class FakeClock:
    """A clock that moves when told."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def now(self) -> datetime:
        """The instant it stands at."""
        return self.at

    def elapsed_s(self) -> float:
        """Seconds since noon."""
        return (self.at - NOON).total_seconds()

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.at += timedelta(seconds=seconds)


def dataset_spec(name: str = "plays of spring") -> DatasetSpec:
    """A dataset of a configured source called `plays`."""
    return DatasetSpec(name=name, plays=SourceReference(source="plays"))


def study_spec(
    dataset_id: str,
    *,
    n_initial: int = 2,
    n_iterations: int = 1,
    parallelism: int = 1,
    max_attempts: int = 2,
    baselines: bool = False,
    replicates: int = 0,
    trainer: Trainer = DEFAULT_TRAINER,
    stopping: Stopping = NO_RULES,
    retry: RetryPolicy = AT_ONCE,
    pruning: Pruning | None = None,
    constraints: tuple[Constraint, ...] = (),
    seed: int = 0,
    warm_start: WarmStart | None = None,
    overrides: Mapping[str, Parameter | Value] | None = None,
) -> StudySpec:
    """A small random study in the article's space, whose trials don't wait to be tried again."""
    return StudySpec(
        name="a study",
        dataset_id=dataset_id,
        space=preset("article", epochs=3, overrides=overrides or {}),
        algorithm="random",
        n_initial=n_initial,
        n_iterations=n_iterations,
        parallelism=parallelism,
        max_attempts=max_attempts,
        baselines=baselines,
        replicates=replicates,
        trainer=trainer,
        stopping=stopping,
        retry=retry,
        pruning=pruning,
        constraints=constraints,
        seed=seed,
        warm_start=warm_start,
    )


def estimate(value: float) -> Estimate:
    """An estimate over a hundred pairs."""
    return Estimate(value=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05), n=100)


def measurement(objective: float) -> Measurement:
    """A measurement with this objective."""
    scores = Scores(
        hit_ratio=estimate(objective),
        ndcg=estimate(objective),
        objective=estimate(objective),
        n_pairs=100,
        n_unknown_query=0,
        n_unknown_target=0,
        n_repeats=0,
    )
    return Measurement(k=10, overall=scores, segments={"ar": scores}, coverage=0.5, popularity=0.1)


def outcome(objective: float) -> TrialOutcome:
    """What a trial with this objective reports."""
    return TrialOutcome(validation=measurement(objective), times_s={"train": 1.0}, vectors_sha256="0" * 64)


def epoch_measured(epoch: int, objective: float, *, train_s: float = 1.0) -> EpochMeasurement:
    """An epoch with this objective."""
    return EpochMeasurement(epoch=epoch, train_s=train_s, scores=measurement(objective).overall)


def statistics(segments: Mapping[str, int] | None = None) -> Statistics:
    """The statistics of a tiny dataset; `segments` are validation pairs by segment."""
    counts = Counts(
        plays=9,
        sessions=3,
        songs=4,
        users=None,
        validation_pairs=2,
        test_pairs=1,
        repeat_pairs=0,
        session_length=LengthQuantiles(min=3, p25=3.0, p50=3.0, p75=3.0, p95=3.0, max=3),
    )
    by_segment = {name: replace(counts, validation_pairs=n) for name, n in (segments or {}).items()}
    return Statistics(raw_plays=9, overall=counts, segments=by_segment, dropped={})


N_OF_SEGMENT = 200
"""Pairs of each segment of `ranks_of`."""


def ranks_of(hits: Sequence[int]) -> PairRanks:
    """So many hits at rank 1 among the pairs of each of the segments ar and en."""
    found = np.concatenate([np.arange(N_OF_SEGMENT) < n for n in hits]).astype(np.uint8)
    return PairRanks(found, np.repeat(np.arange(2), N_OF_SEGMENT).astype(np.uint8), ("ar", "en"))


def measured_on(ranks: PairRanks, *, coverage: float = 0.5) -> Measurement:
    """The measurement that has these ranks."""

    def scores(of: Ranks) -> Scores:
        mean = float(pair_values(of, hr_weight=0.5).mean())
        return replace(measurement(mean).overall, objective=replace(estimate(mean), n=len(of)), n_pairs=len(of))

    return replace(
        measurement(0.5),
        overall=scores(ranks.ranks),
        segments={name: scores(ranks.of_segment(name)) for name in ranks.segments},
        coverage=coverage,
    )


def experiment_spec(**changes: Any) -> ExperimentSpec:  # noqa: ANN401 - any field
    """Two variants by alias, measured by seconds a session."""
    asked: dict[str, Any] = {
        "name": "tuned against old",
        "hypothesis": "The tuned model is listened to longer.",
        "variants": (Variant(name="control", alias="production"), Variant(name="treatment", alias="challenger")),
        "metrics": (from_preset("seconds_per_session", MetricRole.GOAL),),
        **changes,
    }
    return ExperimentSpec(**asked)


def experiment(identity: str = "exp_1", **changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
    """A draft."""
    return Experiment(id=identity, spec=experiment_spec(**changes), state=ExperimentState.DRAFT, created_at=NOON)
