"""Warm starts: which studies to start from, and what they gave."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.base import Body, Parameters, ResourceId, View
from app.api.schemas.trials import EXAMPLE_PARAMETERS, TRIAL_ID, TrainingParametersView
from app.domain.tuning.warm_start import MAX_SOURCES, Inherited, Source, WarmStart

SOURCE_ID = "std_0197e1c07a3d7f1296c80f4e5ab21d77"


class WarmStartBody(Body):
    """Studies that have ended, and how they are used."""

    mode: Literal["identical_data", "transfer"] = Field(
        description="`identical_data`: same data, objective and trainer; what their trials measured informs the "
        "suggester from the start, and stands for as many of the random initial trials. `transfer`: whatever they "
        "searched; their best points (on its segment, of a study of one), translated into this space, are the first "
        "trials, `n_initial` at most."
    )
    study_ids: list[ResourceId] = Field(min_length=1, max_length=MAX_SOURCES)

    def warm_start(self) -> WarmStart:
        """The domain's value. Raises: InvalidRequest."""
        return WarmStart(mode=self.mode, study_ids=tuple(self.study_ids))

    @classmethod
    def of(cls, warm_start: WarmStart | None) -> "WarmStartBody | None":
        """As a client would write it."""
        return None if warm_start is None else cls(mode=warm_start.mode, study_ids=list(warm_start.study_ids))


class SourceView(View):
    """A study that gave something, as it was named then, and of how many of its trials."""

    study_id: str
    name: str
    n_trials: int

    @classmethod
    def of(cls, source: Source) -> "SourceView":
        """The view of a source."""
        return cls(study_id=source.study_id, name=source.name, n_trials=source.n_trials)


class InheritedParameters(Parameters):
    """Which page of what a study took over."""

    limit: int = Field(default=50, ge=1, le=200, description="Most entries of the page.")
    cursor: Annotated[str, StringConstraints(pattern=r"^(0|-?[1-9][0-9]{0,8})$")] | None = Field(
        default=None, description="`next_cursor` of the page before."
    )


class InheritedView(View):
    """What one trial of an earlier study gave, as it was when this study was made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "gave": "point",
                    "number": 0,
                    "study_id": SOURCE_ID,
                    "study_name": "winter",
                    "trial_id": TRIAL_ID,
                    "trial_number": 17,
                    "parameters": EXAMPLE_PARAMETERS,
                    "objective": 0.24,
                    "is_estimate": False,
                    "changed": ["window"],
                }
            ]
        }
    )

    gave: Literal["measurement", "point"]
    number: int = Field(
        description="Of the trial that tries the point; below 0 for a measurement, from before trial 0."
    )
    study_id: str
    study_name: str
    trial_id: str
    trial_number: int
    parameters: TrainingParametersView = Field(description="As they were in the earlier study.")
    objective: float | None = Field(description="Null for a point that can never work.")
    is_estimate: bool = Field(description="Whether the trial was pruned, and this is what it may have been worth.")
    changed: list[str] = Field(description="Hyperparameters that were translated, for this space is another.")

    @classmethod
    def of(cls, inherited: Inherited) -> "InheritedView":
        """The view of what was taken over."""
        return cls(
            gave="measurement" if inherited.number < 0 else "point",
            number=inherited.number,
            study_id=inherited.source_study_id,
            study_name=inherited.source_study_name,
            trial_id=inherited.source_trial_id,
            trial_number=inherited.source_number,
            parameters=TrainingParametersView.of(inherited.parameters),
            objective=inherited.value,
            is_estimate=inherited.is_estimate,
            changed=list(inherited.changed),
        )
