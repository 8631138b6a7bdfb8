"""Measurements: what an evaluation yields, each number with its n and 95 % interval."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` pairs with its 95 % interval; nothing (None) stands where there is no pair to measure."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """HR@k, NDCG@k and their weighted mean (maximised), in [0, 1], over one set of pairs; None without pairs."""

    hit_ratio: Estimate | None
    ndcg: Estimate | None
    objective: Estimate | None
    n_pairs: int
    n_unknown_query: int
    n_unknown_target: int
    n_repeats: int
    """Pairs with query == target that were left out or, by the `repeats` rule, counted as a hit or a miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """HR@k, NDCG@k and their weighted mean made of the segments' (see `tuning.aggregating`); None where none counts."""

    hit_ratio: Estimate | None
    ndcg: Estimate | None
    objective: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One model on one set of pairs: overall, by segment, and what it recommends.

    `coverage` is the share of the songs that were recommended at least once; `popularity` the mean training plays of
    the recommended songs over the most played song's, both in [0, 1], None when nothing was recommended; `artist_share`
    the share of pairs of songs of one list that have the same artist, None when no list has two songs with artists.
    """

    k: int
    overall: Scores
    segments: dict[str, Scores] = field(default_factory=dict)
    coverage: float | None = None
    popularity: float | None = None
    artist_share: float | None = None
    aggregated: Aggregated | None = None
    """Present where the study's objective is made of segments' scores."""

    @property
    def judged(self) -> Scores | Aggregated:
        """What the study looks at: the aggregated scores where there are any, else the overall ones."""
        return self.overall if self.aggregated is None else self.aggregated

    @property
    def judged_scores(self) -> Scores:
        """What the study looks at, with the numbers of all pairs beside it."""
        judged = self.judged
        return replace(self.overall, hit_ratio=judged.hit_ratio, ndcg=judged.ndcg, objective=judged.objective)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMeasurement:
    """The validation scores that the study looks at, after one epoch, counted from 1; training seconds until then."""

    epoch: int
    train_s: float
    scores: Scores
