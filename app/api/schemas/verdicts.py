"""Verdicts as clients see them."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import View
from app.api.schemas.measurements import EstimateView
from app.api.schemas.trials import STUDY_ID, TRIAL_ID
from app.domain.tuning.verdict import Basis, Difference, Finding, Spread, Standing, Verdict
from app.services.verdicts import Row, VerdictReport

EXAMPLE_DIFFERENCE: JsonDict = {
    "value": 0.101,
    "low": 0.079,
    "high": 0.123,
    "p_value": 1e-12,
    "n": 513,
    "basis": "pairs",
}

EXAMPLE_VERDICT: JsonDict = {
    "finding": "improved",
    "reason": "The winner scores higher than every rival that decides; closest is gensim_defaults_skip_gram: "
    "+0.1010 (95 % interval +0.0790 to +0.1230) over 513 test pairs.",
    "against": "gensim_defaults_skip_gram",
    "differences": [EXAMPLE_DIFFERENCE],
    "beaten_by": ["next_song", "co_occurrence"],
}


class DifferenceView(View):
    """The winner's objective less a rival's, on the test pairs."""

    value: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float
    p_value: float | None = Field(description="Two-sided; null where only intervals are known.")
    n: int = Field(description="Test pairs, or seeds.")
    basis: Basis = Field(
        description="`pairs`: paired on the same pairs. `intervals`: from the two intervals, as pairs were not kept. "
        "`seeds`: paired over further training seeds."
    )

    @classmethod
    def of(cls, difference: Difference) -> "DifferenceView":
        """The view of a difference."""
        return cls(
            value=difference.value,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
            n=difference.n,
            basis=difference.basis,
        )


class VerdictView(View):
    """Whether the winner is better than gensim's defaults and than the most popular songs, and what that rests on."""

    finding: Finding
    reason: str
    against: str = Field(description="The rival that decided.")
    differences: list[DifferenceView] = Field(description="What the verdict rests on; all must agree.")
    beaten_by: list[str] = Field(description="Plain baselines that score higher than the winner.")

    @classmethod
    def of(cls, verdict: Verdict | None) -> "VerdictView | None":
        """The view, None where there is no verdict."""
        if verdict is None:
            return None
        return cls(
            finding=verdict.finding,
            reason=verdict.reason,
            against=verdict.against,
            differences=[DifferenceView.of(difference) for difference in verdict.differences],
            beaten_by=list(verdict.beaten_by),
        )


class SpreadView(View):
    """The objective over the seeds of the replicates, the study's own seed left out."""

    mean: float
    sd: float | None = Field(description="Sample deviation; null below two seeds.")
    n: int

    @classmethod
    def of(cls, spread: Spread | None) -> "SpreadView | None":
        """The view, None without replicates."""
        return None if spread is None else cls(mean=spread.mean, sd=spread.sd, n=spread.n)


class VerdictRowView(View):
    """One model of the table."""

    name: str
    standing: Standing | Literal["winner"]
    trial_id: str
    validation: EstimateView | None = Field(description="The winner was chosen by this: it flatters the winner.")
    test: EstimateView | None
    difference: DifferenceView | None = Field(description="The winner's test score less this one's.")
    over_seeds: DifferenceView | None
    validation_spread: SpreadView | None
    test_spread: SpreadView | None

    @classmethod
    def of(cls, row: Row) -> "VerdictRowView":
        """The view of a row."""
        return cls(
            name=row.name,
            standing=row.standing or "winner",
            trial_id=row.trial.id,
            validation=EstimateView.of(row.validation),
            test=EstimateView.of(row.test),
            difference=None if row.difference is None else DifferenceView.of(row.difference),
            over_seeds=None if row.over_seeds is None else DifferenceView.of(row.over_seeds),
            validation_spread=SpreadView.of(row.validation_spread),
            test_spread=SpreadView.of(row.test_spread),
        )


class VerdictReportView(View):
    """The verdict and the table that it rests on, the winner first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "study_id": STUDY_ID,
                    "verdict": EXAMPLE_VERDICT,
                    "missing": None,
                    "rows": [
                        {
                            "name": "trial-4",
                            "standing": "winner",
                            "trial_id": TRIAL_ID,
                            "validation": {"value": 0.18, "low": 0.16, "high": 0.2, "n": 1196},
                            "test": {"value": 0.155, "low": 0.13, "high": 0.18, "n": 513},
                            "difference": None,
                            "over_seeds": None,
                            "validation_spread": {"mean": 0.172, "sd": 0.004, "n": 5},
                            "test_spread": {"mean": 0.151, "sd": 0.005, "n": 5},
                        }
                    ],
                }
            ]
        }
    )

    study_id: str
    verdict: VerdictView | None
    missing: str | None = Field(description="Why there is no verdict.")
    rows: list[VerdictRowView]

    @classmethod
    def of(cls, report: VerdictReport) -> "VerdictReportView":
        """The view of a report."""
        return cls(
            study_id=report.study.id,
            verdict=VerdictView.of(report.verdict),
            missing=report.missing,
            rows=[VerdictRowView.of(row) for row in report.rows],
        )
