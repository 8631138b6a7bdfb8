"""Own trials: points that a client gives a study."""

from typing import Literal, TypedDict

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.api.schemas.base import Body, View
from app.api.schemas.reports import EXAMPLE_REPORT, CostsBody, ReportBody
from app.api.schemas.trials import TrialSummaryView, example_trial
from app.domain.training import LIMITS
from app.domain.tuning.search_space import Value
from app.services.own_trials import AddedTrials, OwnTrial

MOST_AT_ONCE = 100


class Bounds(TypedDict):
    """The smallest and largest value of a field."""

    ge: float
    le: float


def _within(name: str) -> Bounds:
    low, high = LIMITS[name]
    return {"ge": low, "le": high}


class OwnParametersBody(Body):
    """A point: a value for each hyperparameter that the study tunes; those that it fixes may be left out."""

    vector_size: int | None = Field(default=None, **_within("vector_size"))
    window: int | None = Field(default=None, **_within("window"))
    negative: int | None = Field(default=None, **_within("negative"))
    alpha: float | None = Field(default=None, **_within("alpha"))
    epochs: int | None = Field(default=None, **_within("epochs"))
    sg: int | None = Field(default=None, **_within("sg"))
    ns_exponent: float | None = Field(default=None, **_within("ns_exponent"))
    sample: float | None = Field(default=None, **_within("sample"))
    scoring: Literal["input", "output", "sum"] | None = None

    def values(self) -> dict[str, Value]:
        """What is given, by hyperparameter."""
        return self.model_dump(exclude_none=True)


class OwnTrialBody(CostsBody):
    """A point to try or, with its measurement, one that was trained and measured elsewhere."""

    parameters: OwnParametersBody
    measurement: ReportBody | None = Field(
        default=None,
        description="With it the trial is attached, finished: it informs the suggester, does not count towards the "
        "budget, and never becomes the study's best. Without it the point is tried before the next suggestion.",
    )

    def own_trial(self, *, pointer: str) -> OwnTrial:
        """The service's value; `pointer` is where the body has it. Raises: InvalidRequest."""
        report = None if self.measurement is None else self.measurement.report(pointer=f"{pointer}/measurement")
        return OwnTrial(parameters=self.parameters.values(), report=None if report is None else self.with_costs(report))


_POINT: JsonDict = {"vector_size": 96, "window": 3, "negative": 20, "alpha": 0.062}


class OwnTrialsBody(Body):
    """Points, taken all together or not at all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"trials": [{"parameters": _POINT}]},
                {"trials": [{"parameters": _POINT, "measurement": EXAMPLE_REPORT, "train_s": 41.7}]},
            ]
        }
    )

    trials: list[OwnTrialBody] = Field(min_length=1, max_length=MOST_AT_ONCE)

    def own_trials(self) -> list[OwnTrial]:
        """The service's values. Raises: InvalidRequest."""
        return [body.own_trial(pointer=f"/trials/{place}") for place, body in enumerate(self.trials)]


class OwnTrialsView(View):
    """The trials that were made of the points, in the order given."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            **example_trial(),
                            "origin": "enqueued",
                            "state": "waiting",
                            "attempt": 0,
                            "progress": None,
                            "objective": None,
                            "validation": None,
                            "times_s": {},
                            "has_vectors": False,
                            "started_at": None,
                            "finished_at": None,
                        }
                    ]
                }
            ]
        }
    )

    items: list[TrialSummaryView]

    @classmethod
    def of(cls, added: AddedTrials) -> "OwnTrialsView":
        """The view of trials."""
        return cls(items=[TrialSummaryView.of(trial, added.study) for trial in added.trials])
