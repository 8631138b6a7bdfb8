"""Importances as clients see them."""

from pydantic import ConfigDict, Field

from app.api.schemas.base import View
from app.domain.tuning.importance import Importance


class ParameterImportanceView(View):
    """How much worse the surrogate answers once this parameter is shuffled."""

    name: str
    value: float = Field(description="Rise of the squared error over the objective's variance; about 0: no matter.")
    low: float = Field(description="2.5th percentile over the refits.")
    high: float


class ImportanceView(View):
    """The free parameters, the most important first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "parameters": [{"name": "alpha", "value": 0.81, "low": 0.35, "high": 1.42}],
                    "r2": 0.64,
                    "n_trials": 24,
                    "n_refits": 30,
                }
            ]
        }
    )

    parameters: list[ParameterImportanceView]
    r2: float = Field(
        description="Of the surrogate, on trials it was not fitted to; near 0 the importances say nothing."
    )
    n_trials: int
    n_refits: int = Field(description="Resamples of the trials that the surrogate was fitted to.")

    @classmethod
    def of(cls, importance: Importance) -> "ImportanceView":
        """The view of importances."""
        parameters = [
            ParameterImportanceView(name=each.name, value=each.value, low=each.low, high=each.high)
            for each in importance.parameters
        ]
        return cls(parameters=parameters, r2=importance.r2, n_trials=importance.n_trials, n_refits=importance.n_refits)
