"""Reports: scores that a client measured by itself, as a measurement.

Notation: n the pairs measured, m a mean over them, w = `hr_weight`.

    objective = w HR@k + (1 - w) NDCG@k, or as reported

A client reports means, so that the deviation over pairs is unknown: every interval is Wilson's at the mean, exact in
form for HR@k and wide for the others, since Var <= m (1 - m) for values in [0, 1].
Source: the module `app.domain.evaluating`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.errors import InvalidRequest
from app.domain.evaluating import wilson
from app.domain.measurement import Measurement, Scores


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
    """What a client measured: overall and, if it wishes, by segment and how broad the recommendations are."""

    overall: Reported
    segments: Mapping[str, Reported]
    coverage: float | None = None
    popularity: float | None = None

    def measurement(self, *, k: int, hr_weight: float) -> Measurement:
        """As a measurement of a study that looks at lists of k songs."""
        return Measurement(
            k=k,
            overall=self.overall.scores(hr_weight=hr_weight),
            segments={name: reported.scores(hr_weight=hr_weight) for name, reported in self.segments.items()},
            coverage=self.coverage,
            popularity=self.popularity,
        )
