"""Measurements as clients see them: every number with its n and 95 % interval."""

from pydantic import Field
from pydantic.config import JsonDict

from app.api.schemas.base import View
from app.domain.measurement import Aggregated, EpochMeasurement, Estimate, Measurement, Scores


class EstimateView(View):
    """A mean over n pairs and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, estimate: Estimate | None) -> "EstimateView | None":
        """The view, None where there was no pair to measure."""
        if estimate is None:
            return None
        return cls(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)


class ScoresView(View):
    """Scores over one set of pairs, each in [0, 1]; null where there is no pair."""

    hit_ratio: EstimateView | None = Field(description="HR@k")
    ndcg: EstimateView | None = Field(description="NDCG@k")
    objective: EstimateView | None = Field(description="Their weighted mean, which a study maximises.")
    n_pairs: int
    n_unknown_query: int = Field(description="Pairs missed as the model does not know their query.")
    n_unknown_target: int = Field(description="Pairs missed as the model does not know their target.")
    n_repeats: int = Field(description="Pairs whose query is their target.")

    @classmethod
    def of(cls, scores: Scores) -> "ScoresView":
        """The view of scores."""
        return cls(
            hit_ratio=EstimateView.of(scores.hit_ratio),
            ndcg=EstimateView.of(scores.ndcg),
            objective=EstimateView.of(scores.objective),
            n_pairs=scores.n_pairs,
            n_unknown_query=scores.n_unknown_query,
            n_unknown_target=scores.n_unknown_target,
            n_repeats=scores.n_repeats,
        )


class AggregatedView(View):
    """Scores made of the segments', by the study's aggregate; null where no segment counts."""

    hit_ratio: EstimateView | None
    ndcg: EstimateView | None
    objective: EstimateView | None = Field(description="What the study maximises.")

    @classmethod
    def of(cls, scores: Aggregated | None) -> "AggregatedView | None":
        """The view, None where the study aggregates over all pairs."""
        if scores is None:
            return None
        return cls(
            hit_ratio=EstimateView.of(scores.hit_ratio),
            ndcg=EstimateView.of(scores.ndcg),
            objective=EstimateView.of(scores.objective),
        )


class MeasurementView(View):
    """One model on one set of pairs, overall and by segment."""

    k: int
    overall: ScoresView
    segments: dict[str, ScoresView]
    coverage: float | None = Field(description="Share of the songs that were recommended at least once.")
    popularity: float | None = Field(
        description="Mean training plays of what was recommended, over the most played song's."
    )
    artist_share: float | None = Field(
        description="How often two songs of one list have the same artist; null when no artists are known."
    )
    aggregated: AggregatedView | None = Field(
        description="Null where the study aggregates by micro: then `overall` is what it looks at."
    )

    @classmethod
    def of(cls, measurement: Measurement | None) -> "MeasurementView | None":
        """The view, None where nothing was measured."""
        if measurement is None:
            return None
        return cls(
            k=measurement.k,
            overall=ScoresView.of(measurement.overall),
            segments={name: ScoresView.of(scores) for name, scores in measurement.segments.items()},
            coverage=measurement.coverage,
            popularity=measurement.popularity,
            artist_share=measurement.artist_share,
            aggregated=AggregatedView.of(measurement.aggregated),
        )


class EpochView(View):
    """The validation scores at the end of one epoch, and the training seconds until then."""

    epoch: int
    train_s: float
    scores: ScoresView

    @classmethod
    def of(cls, measurement: EpochMeasurement) -> "EpochView":
        """The view of an epoch."""
        return cls(epoch=measurement.epoch, train_s=measurement.train_s, scores=ScoresView.of(measurement.scores))


def example_scores(value: float) -> JsonDict:
    """Scores for examples."""
    estimate: JsonDict = {"value": value, "low": round(value - 0.02, 3), "high": round(value + 0.02, 3), "n": 1520}
    return {
        "hit_ratio": estimate,
        "ndcg": estimate,
        "objective": estimate,
        "n_pairs": 1520,
        "n_unknown_query": 3,
        "n_unknown_target": 7,
        "n_repeats": 12,
    }


def example_measurement(value: float) -> JsonDict:
    """A measurement for examples."""
    return {
        "k": 10,
        "overall": example_scores(value),
        "segments": {},
        "coverage": 0.41,
        "popularity": 0.08,
        "artist_share": 0.36,
        "aggregated": None,
    }
