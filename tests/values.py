"""Values of the domain for tests that do not care about most of their fields."""

from datetime import UTC, datetime, timedelta

from app.domain.datasets import Counts, DatasetSpec, LengthQuantiles, SourceReference, Statistics
from app.domain.measurement import EpochMeasurement, Estimate, Measurement, Scores
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.constraints import Constraint
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.search_space import preset
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import StudySpec
from app.domain.tuning.trial import TrialOutcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

NO_RULES = Stopping()
AT_ONCE = RetryPolicy(backoff_s=0)


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
    trainer: Trainer = DEFAULT_TRAINER,
    stopping: Stopping = NO_RULES,
    retry: RetryPolicy = AT_ONCE,
    pruning: Pruning | None = None,
    constraints: tuple[Constraint, ...] = (),
) -> StudySpec:
    """A small random study in the article's space, whose trials don't wait to be tried again."""
    return StudySpec(
        name="a study",
        dataset_id=dataset_id,
        space=preset("article", epochs=3, overrides={}),
        algorithm="random",
        n_initial=n_initial,
        n_iterations=n_iterations,
        parallelism=parallelism,
        max_attempts=max_attempts,
        baselines=baselines,
        trainer=trainer,
        stopping=stopping,
        retry=retry,
        pruning=pruning,
        constraints=constraints,
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


def statistics() -> Statistics:
    """The statistics of a tiny dataset."""
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
    return Statistics(raw_plays=9, overall=counts, segments={}, dropped={})
