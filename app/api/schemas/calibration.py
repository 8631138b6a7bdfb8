"""The ledger of finished experiments: offline differences beside online lifts."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from app.api.schemas.base import PageParameters, View
from app.domain.experiments.calibration import (
    FEWEST,
    FEWEST_TO_PREDICT,
    Calibration,
    Comparison,
    Finding,
    Measure,
    Measured,
    predicted,
)
from app.services.calibrating import Ledger

EXAMPLE_MEASURED: dict[str, Any] = {"value": 0.021, "low": 0.004, "high": 0.038}

EXAMPLE_LEDGER: dict[str, Any] = {
    "items": [
        {
            "experiment_id": "exp_0197f3a5e4",
            "name": "tuned against old",
            "goal": "seconds_per_session",
            "comparisons": [
                {
                    "variant": "tuned",
                    "segment": "ar",
                    "hit_ratio": EXAMPLE_MEASURED,
                    "ndcg": {"value": 0.012, "low": 0.001, "high": 0.023},
                    "n_pairs": 1520,
                    "lift": {"value": 0.083, "low": 0.031, "high": 0.138},
                    "n_users": 48210,
                    "reasons": [],
                }
            ],
            "found_at": "2026-01-15T12:00:00Z",
        }
    ],
    "next_cursor": None,
    "calibrations": [
        {
            "measure": "hit_ratio",
            "segment": None,
            "n": 1,
            "n_experiments": 1,
            "correlation": None,
            "reason": "A correlation takes at least 5 experiments; there are 1.",
            "prediction": None,
            "no_prediction": "A prediction takes at least 19 experiments; there are 1.",
        }
    ],
    "fewest_experiments": FEWEST,
    "fewest_to_predict": FEWEST_TO_PREDICT,
}


class LedgerParameters(PageParameters):
    """Which page, and differences whose lifts are to be predicted."""

    hit_ratio: float | None = Field(
        default=None, ge=-1, le=1, allow_inf_nan=False, description="Predict the lift of this difference of HR@k."
    )
    ndcg: float | None = Field(
        default=None, ge=-1, le=1, allow_inf_nan=False, description="Predict the lift of this difference of NDCG@k."
    )

    def difference(self, measure: Measure) -> float | None:
        """What is to be predicted from."""
        return self.hit_ratio if measure == "hit_ratio" else self.ndcg


class MeasuredView(View):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, measured: Measured | None) -> "MeasuredView | None":
        """The view; None where nothing was measured."""
        return None if measured is None else cls(value=measured.value, low=measured.low, high=measured.high)


class ComparisonView(View):
    """A variant beside the control, overall or in one segment: offline on the same test pairs, and online."""

    variant: str
    segment: str | None = Field(description="Null: overall.")
    hit_ratio: MeasuredView | None = Field(description="HR@k of the variant's model less that of the control's.")
    ndcg: MeasuredView | None
    n_pairs: int | None
    lift: MeasuredView | None = Field(description="Of the goal, relative to the control.")
    n_users: int | None
    reasons: list[str] = Field(description="Why either side is not known.")

    @classmethod
    def of(cls, comparison: Comparison) -> "ComparisonView":
        """The view of a comparison."""
        return cls(
            variant=comparison.variant,
            segment=comparison.segment,
            hit_ratio=MeasuredView.of(comparison.offline.get("hit_ratio")),
            ndcg=MeasuredView.of(comparison.offline.get("ndcg")),
            n_pairs=comparison.n_pairs,
            lift=MeasuredView.of(comparison.lift),
            n_users=comparison.n_users,
            reasons=list(comparison.reasons),
        )


class FindingView(View):
    """What one finished experiment found."""

    experiment_id: str
    name: str
    goal: str = Field(description="The metric whose lifts are told: the experiment's first goal.")
    comparisons: list[ComparisonView]
    found_at: datetime = Field(description="It is kept as found once a day has passed since the stop, for late plays.")

    @classmethod
    def of(cls, finding: Finding) -> "FindingView":
        """The view of a finding."""
        return cls(
            experiment_id=finding.experiment_id,
            name=finding.name,
            goal=finding.goal,
            comparisons=[ComparisonView.of(comparison) for comparison in finding.comparisons],
            found_at=finding.found_at,
        )


class PredictionView(View):
    """The lift that a difference foretells, and where that of one more experiment lies with 95 %."""

    difference: float
    lift: float
    low: float
    high: float


class CalibrationView(View):
    """How far a measure's differences and the lifts go together, over all finished experiments."""

    measure: Measure
    segment: str | None = Field(description="Null: overall.")
    n: int = Field(description="Variants compared on both sides.")
    n_experiments: int
    correlation: MeasuredView | None = Field(
        description="Spearman's, with an interval by resampling experiments. Errors of both sides draw it towards 0."
    )
    reason: str | None = Field(description="Why there is none.")
    prediction: PredictionView | None = Field(description="Of the difference that was asked about.")
    no_prediction: str | None = Field(description="Why nothing can be predicted yet.")

    @classmethod
    def of(cls, calibration: Calibration, difference: float | None) -> "CalibrationView":
        """The view, with a prediction where one was asked for and can be made."""
        found = None if difference is None else predicted(calibration, difference)
        prediction = None
        if found is not None and difference is not None:
            prediction = PredictionView(difference=difference, lift=found.value, low=found.low, high=found.high)
        return cls(
            measure=calibration.measure,
            segment=calibration.segment,
            n=calibration.n,
            n_experiments=calibration.n_experiments,
            correlation=MeasuredView.of(calibration.correlation),
            reason=calibration.reason,
            prediction=prediction,
            no_prediction=calibration.no_prediction,
        )


class LedgerView(View):
    """A page of the finished experiments, the newest first, and what all of them say together."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_LEDGER]})

    items: list[FindingView]
    next_cursor: str | None = Field(description="Ask for the next page with it; null on the last.")
    calibrations: list[CalibrationView] = Field(description="One a measure, overall and by segment.")
    fewest_experiments: int = Field(description="With fewer no correlation is told.")
    fewest_to_predict: int = Field(description="With fewer no lift is predicted.")

    @classmethod
    def of(cls, ledger: Ledger, asked: LedgerParameters) -> "LedgerView":
        """The view of a page."""
        return cls(
            items=[FindingView.of(finding) for finding in ledger.page.rows],
            next_cursor=ledger.page.next_cursor,
            calibrations=[CalibrationView.of(each, asked.difference(each.measure)) for each in ledger.calibrations],
            fewest_experiments=FEWEST,
            fewest_to_predict=FEWEST_TO_PREDICT,
        )
