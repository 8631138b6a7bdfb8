"""Reports: scores that a client measured by itself, as a measurement.

Notation: n the pairs measured, m a mean over them, w = `hr_weight`.

    objective = w HR@k + (1 - w) NDCG@k, or as reported; of a study that aggregates, made of the segments' objectives

A client reports means, so that the deviation over pairs is unknown: every interval is Wilson's at the mean, exact in
form for HR@k and wide for the others, since Var <= m (1 - m) for values in [0, 1].
Source: the module `app.domain.evaluating`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.errors import InvalidRequest
from app.domain.evaluating import wilson
from app.domain.measurement import Measurement, Scores
from app.domain.tuning.aggregating import aggregated
from app.domain.tuning.constraints import METRICS
from app.domain.tuning.objectives import MIN_PAIRS, Aggregate, value_of
from app.domain.tuning.study import StudySpec
from app.domain.tuning.trial import TrialOutcome

PLACES = {"train_seconds": "/train_s", "evaluate_seconds": "/evaluate_s", "model_bytes": "/model_bytes"}
"""Where a client reports what can be constrained, if not among what it measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Means in [0, 1] over `n_pairs` pairs: the objective, or both that it is made of.

    Raises: InvalidRequest, which points into the report.
    """

    n_pairs: int
    objective: float | None = None
    hit_ratio: float | None = None
    ndcg: float | None = None
    n_unknown_query: int = 0
    n_unknown_target: int = 0
    n_repeats: int = 0

    def __post_init__(self) -> None:
        n_parts = sum(part is not None for part in (self.hit_ratio, self.ndcg))
        if n_parts != (2 if self.objective is None else 0):
            message = "Report either objective or both hit_ratio and ndcg: the objective is made of them."
            raise InvalidRequest(message, pointer="")
        if self.n_pairs < 1:
            raise InvalidRequest(f"n_pairs must be at least 1, not {self.n_pairs}.", pointer="/n_pairs")
        for name in ("objective", "hit_ratio", "ndcg"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InvalidRequest(f"{name} must be between 0 and 1, not {value}.", pointer=f"/{name}")

    def scores(self, *, hr_weight: float) -> Scores:
        """As scores of a study with this weight."""
        objective = self.objective
        if self.hit_ratio is not None and self.ndcg is not None:
            objective = hr_weight * self.hit_ratio + (1 - hr_weight) * self.ndcg
        n = self.n_pairs
        return Scores(
            hit_ratio=None if self.hit_ratio is None else wilson(self.hit_ratio, n=n),
            ndcg=None if self.ndcg is None else wilson(self.ndcg, n=n),
            objective=None if objective is None else wilson(objective, n=n),
            n_pairs=n,
            n_unknown_query=self.n_unknown_query,
            n_unknown_target=self.n_unknown_target,
            n_repeats=self.n_repeats,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a client measured: overall and, if it wishes, by segment and how broad the recommendations are.

    `times_s` are seconds by phase, `train` and `evaluate`; `model_bytes` those of the vectors a model would serve from.
    """

    overall: Reported
    segments: Mapping[str, Reported]
    coverage: float | None = None
    popularity: float | None = None
    artist_share: float | None = None
    times_s: Mapping[str, float] = field(default_factory=dict)
    model_bytes: int | None = None

    def scores(self, spec: StudySpec, *, pointer: str) -> Scores:
        """What the study looks at after an epoch; `pointer` is where the measurement stands. Raises: InvalidRequest."""
        return self._measurement(spec, pointer=pointer).judged_scores

    def outcome(self, spec: StudySpec, *, pointer: str) -> TrialOutcome:
        """As the outcome of a trial of the study; `pointer` is where the report stands.

        Raises: InvalidRequest where something is missing that the study's objectives or constraints look at.
        """
        measurement = self._measurement(spec, pointer=f"{pointer}/measurement")
        for name in spec.objectives:
            if value_of(measurement, name) is None:
                message = f"{name.value} is one of the study's two objectives: report it."
                raise InvalidRequest(message, pointer=f"{pointer}/measurement/{name.value}")
        outcome = TrialOutcome(validation=measurement, times_s=dict(self.times_s), model_bytes=self.model_bytes)
        for constraint in spec.constraints:
            if METRICS[constraint.metric].of(outcome) is None:
                place = PLACES.get(constraint.metric, f"/measurement/{constraint.metric}")
                message = f"Whether the study's constraint {str(constraint)!r} is kept cannot be told without it."
                raise InvalidRequest(message, pointer=f"{pointer}{place}")
        return outcome

    def _measurement(self, spec: StudySpec, *, pointer: str) -> Measurement:
        objective = spec.objective
        measurement = aggregated(
            Measurement(
                k=objective.k,
                overall=self.overall.scores(hr_weight=objective.hr_weight),
                segments={
                    name: reported.scores(hr_weight=objective.hr_weight) for name, reported in self.segments.items()
                },
                coverage=self.coverage,
                popularity=self.popularity,
                artist_share=self.artist_share,
            ),
            aggregate=objective.aggregate,
            weights=objective.weights,
        )
        if measurement.judged.objective is None:
            wanted = ", ".join(map(repr, sorted(objective.weights)))
            if objective.aggregate is not Aggregate.WEIGHTS:
                wanted = f"those with at least {MIN_PAIRS} pairs"
            message = f"The study's objective is made of its segments, by {objective.aggregate.value}: report {wanted}."
            raise InvalidRequest(message, pointer=f"{pointer}/segments")
        return measurement
