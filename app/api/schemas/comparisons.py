"""Trials beside each other as clients see them: segment by segment, and on the front between two objectives."""

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import Parameters, View
from app.api.schemas.measurements import EstimateView
from app.api.schemas.trials import EXAMPLE_PARAMETERS, STUDY_ID, TRIAL_ID, TrainingParametersView
from app.domain.measurement import Estimate
from app.domain.pairing import PairedDifference
from app.domain.tuning.objectives import ObjectiveName
from app.domain.tuning.pareto import FrontTrial, Measured
from app.domain.tuning.segment_regret import SegmentRegret, Verdict
from app.domain.tuning.trial import Trial
from app.services.comparing import Front, SegmentReport

CORRECTION = (
    "Both trials were measured on the same pairs and differ by a paired interval. The segment's best was picked among "
    "n_compared other trials on these very pairs, so the interval is at level 1 - 0.05 / n_compared (Bonferroni). A "
    "model of its own is worth it when the lower limit is above min_effect; the value itself is the luckiest one's too."
)


class SegmentParameters(Parameters):
    """What a verdict asks for."""

    min_effect: float = Field(default=0.0, ge=0, le=1, description="The least regret that a model is worth.")


class PairedDifferenceView(View):
    """How much more one trial scores than another on the same n pairs, and its interval at `level`."""

    value: float
    low: float
    high: float
    p_value: float = Field(description="Two-sided, of no difference, before any correction.")
    n: int
    level: float

    @classmethod
    def of(cls, difference: PairedDifference | None) -> "PairedDifferenceView | None":
        """The view, None where nothing could be compared."""
        if difference is None:
            return None
        return cls(
            value=difference.value,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
            n=difference.n,
            level=difference.level,
        )


class ScoredTrialView(View):
    """A trial and its objective on one segment's validation pairs."""

    trial_id: str
    number: int
    parameters: TrainingParametersView | None
    objective: EstimateView | None

    @classmethod
    def of(cls, trial: Trial, score: Estimate) -> "ScoredTrialView":
        """The view of a trial and its score."""
        return cls(
            trial_id=trial.id,
            number=trial.number,
            parameters=None if trial.parameters is None else TrainingParametersView.of(trial.parameters),
            objective=EstimateView.of(score),
        )


class SegmentRegretView(View):
    """What a segment gives up by living with the study's winner."""

    segment: str
    n_pairs: int = Field(description="Measured validation pairs of the segment.")
    best: ScoredTrialView = Field(description="The best trial for the segment.")
    winner: ScoredTrialView = Field(description="The study's best trial.")
    n_compared: int = Field(description="Trials beside the winner that were measured on the segment.")
    regret: PairedDifferenceView | None = Field(description="Null when both are one trial, or ranks are not kept.")
    verdict: Verdict
    reason: str

    @classmethod
    def of(cls, regret: SegmentRegret) -> "SegmentRegretView":
        """The view of a segment."""
        return cls(
            segment=regret.segment,
            n_pairs=regret.n_pairs,
            best=ScoredTrialView.of(regret.best, regret.best_score),
            winner=ScoredTrialView.of(regret.winner, regret.winner_score),
            n_compared=regret.n_compared,
            regret=PairedDifferenceView.of(regret.regret),
            verdict=regret.verdict,
            reason=regret.reason,
        )


def _example_scored(value: float, number: int) -> JsonDict:
    estimate: JsonDict = {"value": value, "low": round(value - 0.02, 3), "high": round(value + 0.02, 3), "n": 1520}
    return {"trial_id": TRIAL_ID, "number": number, "parameters": EXAMPLE_PARAMETERS, "objective": estimate}


class SegmentReportView(View):
    """Every segment of a study."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "study_id": STUDY_ID,
                    "min_effect": 0.0,
                    "correction": CORRECTION,
                    "segments": [
                        {
                            "segment": "ar",
                            "n_pairs": 1520,
                            "best": _example_scored(0.31, 17),
                            "winner": _example_scored(0.25, 4),
                            "n_compared": 23,
                            "regret": {
                                "value": 0.06,
                                "low": 0.031,
                                "high": 0.089,
                                "p_value": 0.00001,
                                "n": 1520,
                                "level": 0.9978,
                            },
                            "verdict": "worth_it",
                            "reason": "The lower limit 0.0310 is above 0.",
                        }
                    ],
                }
            ]
        }
    )

    study_id: str
    min_effect: float
    correction: str = Field(description="How picking the best of many is allowed for.")
    segments: list[SegmentRegretView] = Field(description="By name: those with measured pairs.")

    @classmethod
    def of(cls, report: SegmentReport) -> "SegmentReportView":
        """The view of a report."""
        return cls(
            study_id=report.study.id,
            min_effect=report.min_effect,
            correction=CORRECTION,
            segments=[SegmentRegretView.of(regret) for regret in report.segments],
        )


class ObjectiveValueView(View):
    """One objective of a trial; the interval is null for what has none."""

    name: ObjectiveName
    is_minimised: bool
    value: float
    estimate: EstimateView | None

    @classmethod
    def of(cls, measured: Measured) -> "ObjectiveValueView":
        """The view of one objective."""
        return cls(
            name=measured.name,
            is_minimised=measured.name.is_minimised,
            value=measured.value,
            estimate=EstimateView.of(measured.estimate),
        )


class FrontTrialView(View):
    """A trial that no other beats in both objectives."""

    trial_id: str
    number: int
    parameters: TrainingParametersView | None
    has_vectors: bool = Field(description="Whether its own vectors can be promoted; else with fit `full`.")
    objectives: list[ObjectiveValueView]

    @classmethod
    def of(cls, found: FrontTrial) -> "FrontTrialView":
        """The view of a trial of the front."""
        trial = found.trial
        return cls(
            trial_id=trial.id,
            number=trial.number,
            parameters=None if trial.parameters is None else TrainingParametersView.of(trial.parameters),
            has_vectors=trial.has_vectors,
            objectives=[ObjectiveValueView.of(measured) for measured in found.objectives],
        )


class FrontView(View):
    """The front, the best in the first objective first: that trial is the study's best."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "objectives": ["hr_ndcg", "coverage"],
                    "items": [
                        {
                            "trial_id": TRIAL_ID,
                            "number": 4,
                            "parameters": EXAMPLE_PARAMETERS,
                            "has_vectors": True,
                            "objectives": [
                                {
                                    "name": "hr_ndcg",
                                    "is_minimised": False,
                                    "value": 0.25,
                                    "estimate": {"value": 0.25, "low": 0.23, "high": 0.27, "n": 1520},
                                },
                                {"name": "coverage", "is_minimised": False, "value": 0.41, "estimate": None},
                            ],
                        }
                    ],
                    "next_cursor": None,
                }
            ]
        }
    )

    objectives: list[ObjectiveName]
    items: list[FrontTrialView]
    next_cursor: str | None = Field(description="Ask for the next page with it; null on the last.")

    @classmethod
    def of(cls, front: Front) -> "FrontView":
        """The view of a page of the front."""
        return cls(
            objectives=list(front.objectives),
            items=[FrontTrialView.of(found) for found in front.page.rows],
            next_cursor=front.page.next_cursor,
        )
