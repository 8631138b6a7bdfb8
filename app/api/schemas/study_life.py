"""What an owner may change about a study, and what another run of it may differ in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ConfigDict, Field

from app.api.schemas.base import Body, Name, ResourceId
from app.api.schemas.datasets import DATASET_ID
from app.api.schemas.policies import RetryBody, StoppingBody
from app.api.schemas.search_spaces import SearchSpaceBody, overrides, pointing_into
from app.api.schemas.studies import within
from app.domain.tuning.study import MAX_BUDGET
from app.services.study_life import Changes


def absent() -> Any:  # noqa: ANN401 - stands for a value of any type
    """Stands where a field was left out, and is never read: unlike a default, it isn't described as one."""
    return None


class ExtensionBody(Body):
    """How many further trials a study that has ended shall run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"n_iterations": 12}]})

    n_iterations: int = Field(ge=1, le=MAX_BUDGET, description="Trials beyond those there are.")


class StudyChangesBody(Body):
    """What is to change; what is left out stays. `stopping` and `retry` are replaced whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parallelism": 4, "stopping": {"target": 0.3}},
                {"search_space": {"window": {"type": "int", "low": 1, "high": 10}, "epochs": {"value": 5}}},
            ]
        }
    )

    name: Name = Field(default_factory=absent)
    search_space: SearchSpaceBody = Field(
        default_factory=absent,
        description="What differs from the present one, by hyperparameter; a new revision. What was measured before "
        "still informs the search where the new space holds it.",
    )
    n_iterations: int = Field(
        default_factory=absent,
        **within("n_iterations"),
        description="Of a study that has not ended; then it is extended.",
    )
    parallelism: int = Field(default_factory=absent, **within("parallelism"))
    trial_timeout_s: float | None = Field(
        default=None, ge=1, le=30 * 86_400, description="For trials begun from now on; null: as the workers are set."
    )
    max_attempts: int = Field(default_factory=absent, **within("max_attempts"))
    replicates: int = Field(
        default_factory=absent,
        **within("replicates"),
        description="A study that is completed runs again for those that it lacks.",
    )
    stopping: StoppingBody = Field(default_factory=absent)
    retry: RetryBody = Field(default_factory=absent)

    @contextmanager
    def changes(self) -> Iterator[Changes]:
        """The service's value; what is refused inside is pointed to in the body. Raises: InvalidRequest."""
        space = self.search_space if "search_space" in self.model_fields_set else {}
        with pointing_into(space):
            yield Changes(spec=_fields_of(self, but="search_space"), space=overrides(space))


class CloneBody(Body):
    """What the clone shall differ in; the rest is the original's specification as it is now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "spring, another seed", "seed": 1}, {"dataset_id": DATASET_ID}]}
    )

    name: Name = Field(default_factory=absent)
    dataset_id: ResourceId = Field(default_factory=absent)
    seed: int = Field(default_factory=absent, **within("seed"))
    n_initial: int = Field(default_factory=absent, **within("n_initial"))
    n_iterations: int = Field(default_factory=absent, **within("n_iterations"))
    parallelism: int = Field(default_factory=absent, **within("parallelism"))
    replicates: int = Field(default_factory=absent, **within("replicates"))

    def overrides(self) -> dict[str, Any]:
        """Fields of a specification by name. Raises: InvalidRequest."""
        return _fields_of(self)


def _fields_of(body: Body, *, but: str = "") -> dict[str, Any]:
    """What was given, by its name in the specification, as the domain's values. Raises: InvalidRequest."""
    given = {name: getattr(body, name) for name in body.model_fields_set if name != but}
    return {
        name: value.value() if isinstance(value, StoppingBody | RetryBody) else value for name, value in given.items()
    }
