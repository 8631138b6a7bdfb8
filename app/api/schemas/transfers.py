"""Transfers as clients ask for them and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import Body, View
from app.api.schemas.trials import STUDY_ID, TRIAL_ID
from app.domain.tuning.transfer import MOST_FRACTIONS, MOST_POINTS, Agreement, Correlation, Transfer, TransferSpec
from app.services.transfers import Cell, PairReport, PointReport, TransferReport

TRANSFER_ID = "tra_0197f3a2417b7b0e8f4dd5b1c6a2e390"

EXAMPLE_TRANSFER: JsonDict = {
    "id": TRANSFER_ID,
    "study_id": STUDY_ID,
    "fractions": [0.1, 0.3, 1.0],
    "n_top": 8,
    "created_at": "2026-01-01T12:00:00Z",
}


Share = Annotated[float, Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 1})]
"""Bounded where the shares are compared with each other, by `TransferSpec`."""


class TransferBody(Body):
    """On which samples the best points are measured again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fractions": [0.1, 0.3, 1.0], "n_top": 8}]})

    fractions: list[Share] = Field(
        default=[0.1, 0.3, 1.0], min_length=2, max_length=MOST_FRACTIONS, description="Shares of the sessions, rising."
    )
    n_top: int = Field(default=8, ge=2, le=MOST_POINTS, description="How many of the best trials.")

    def spec(self) -> TransferSpec:
        """The domain's value. Raises: InvalidRequest."""
        return TransferSpec(fractions=tuple(self.fractions), n_top=self.n_top)


class TransferSummaryView(View):
    """A transfer without what it measured."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_TRANSFER]})

    id: str
    study_id: str
    fractions: list[float]
    n_top: int
    created_at: datetime

    @classmethod
    def of(cls, transfer: Transfer) -> "TransferSummaryView":
        """The view of a transfer."""
        return cls.model_validate(_fields(transfer))


class CellView(View):
    """One point on one sample."""

    fraction: float
    trial_id: str | None
    state: str | None
    objective: float | None

    @classmethod
    def of(cls, cell: Cell) -> "CellView":
        """The view of a cell."""
        trial = cell.trial
        return cls(
            fraction=cell.fraction,
            trial_id=None if trial is None else trial.id,
            state=None if trial is None else trial.state.value,
            objective=None if trial is None else trial.objective,
        )


class PointView(View):
    """One point: the trial or baseline that it is taken from, and its objective on each sample."""

    trial_id: str
    name: str
    samples: list[CellView]

    @classmethod
    def of(cls, point: PointReport) -> "PointView":
        """The view of a point."""
        return cls(
            trial_id=point.source.id, name=point.source.name, samples=[CellView.of(cell) for cell in point.cells]
        )


class CorrelationView(View):
    """A rank correlation and its 95 % interval over resamples of the points; null below four points."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, correlation: Correlation | None) -> "CorrelationView | None":
        """The view, None where one sample ranks all points the same."""
        if correlation is None:
            return None
        return cls(value=correlation.value, low=correlation.low, high=correlation.high)


class AgreementView(View):
    """How two samples agree about the order of the points that both have measured."""

    fractions: tuple[float, float]
    n: int
    spearman: CorrelationView | None
    kendall: CorrelationView | None

    @classmethod
    def of(cls, pair: PairReport) -> "AgreementView":
        """The view of an agreement."""
        found: Agreement = pair.agreement
        return cls(
            fractions=pair.fractions,
            n=found.n,
            spearman=CorrelationView.of(found.spearman),
            kendall=CorrelationView.of(found.kendall),
        )


class TransferProgressView(View):
    """How many of the measurements have ended."""

    n_ended: int
    n_trials: int


class TransferView(TransferSummaryView):
    """A transfer and what it has shown so far."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_TRANSFER,
                    "state": "running",
                    "progress": {"n_ended": 12, "n_trials": 30},
                    "points": [
                        {
                            "trial_id": TRIAL_ID,
                            "name": "trial-4",
                            "samples": [
                                {"fraction": 1.0, "trial_id": TRIAL_ID, "state": "completed", "objective": 0.21}
                            ],
                        }
                    ],
                    "agreements": [
                        {
                            "fractions": [0.1, 1.0],
                            "n": 10,
                            "spearman": {"value": 0.41, "low": -0.3, "high": 0.88},
                            "kendall": {"value": 0.29, "low": -0.22, "high": 0.72},
                        }
                    ],
                }
            ]
        }
    )

    state: str = Field(description="The study's until all is measured, then `completed`.")
    progress: TransferProgressView
    points: list[PointView]
    agreements: list[AgreementView] = Field(description="Of each two samples, the smaller first.")

    @classmethod
    def of_report(cls, report: TransferReport) -> "TransferView":
        """The view of a report."""
        return cls.model_validate(
            {
                **_fields(report.transfer),
                "state": report.state,
                "progress": TransferProgressView(n_ended=report.n_ended, n_trials=report.n_trials),
                "points": [PointView.of(point) for point in report.points],
                "agreements": [AgreementView.of(pair) for pair in report.agreements],
            }
        )


def _fields(transfer: Transfer) -> dict[str, object]:
    return {
        "id": transfer.id,
        "study_id": transfer.study_id,
        "fractions": list(transfer.spec.fractions),
        "n_top": transfer.spec.n_top,
        "created_at": transfer.created_at,
    }
