"""Search spaces: for each hyperparameter a range, choices, or a fixed value."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from app.api.schemas.base import Body
from app.domain.errors import InvalidRequest
from app.domain.tuning.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchSpace,
    Value,
)

ParameterName = Literal[
    "vector_size", "window", "negative", "alpha", "epochs", "sg", "ns_exponent", "sample", "scoring"
]

ValueBody = int | float | Annotated[str, StringConstraints(max_length=32)]


def _is_none(value: object) -> bool:
    return value is None


OnlyIf = dict[ParameterName, ValueBody | Annotated[list[ValueBody], Field(min_length=1, max_length=50)]]


class Free(Body):
    """What all hyperparameters that are tuned may have."""

    only_if: Annotated[OnlyIf, Field(min_length=1, max_length=1)] | None = Field(
        default=None,
        description="Another hyperparameter, a whole number or a choice, with the value or values without which this "
        "one does not matter. Elsewhere it is inactive: it is not searched.",
        examples=[{"sg": 1}],
        exclude_if=_is_none,
    )
    otherwise: ValueBody | None = Field(
        default=None,
        description="The value while it is inactive; by default gensim's, and 3 epochs.",
        exclude_if=_is_none,
    )

    def condition(self) -> Condition | None:
        """The domain's value."""
        for parent, values in (self.only_if or {}).items():
            return Condition(parent, tuple(values) if isinstance(values, list) else (values,))
        return None


class FloatRange(Free):
    """A real number between bounds, both included."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "float", "low": 0.001, "high": 0.1, "scale": "log"}]}
    )

    type: Literal["float"]
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"

    def parameter(self, name: str) -> Parameter:
        """The domain's value. Raises: InvalidRequest."""
        return FloatParameter(
            name=name,
            low=self.low,
            high=self.high,
            scale=self.scale,
            only_if=self.condition(),
            otherwise=self.otherwise,
        )


class IntRange(Free):
    """A whole number between bounds, both included."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "int", "low": 10, "high": 200}]})

    type: Literal["int"]
    low: int
    high: int
    scale: Literal["linear", "log"] = "linear"

    def parameter(self, name: str) -> Parameter:
        """The domain's value. Raises: InvalidRequest."""
        return IntParameter(
            name=name,
            low=self.low,
            high=self.high,
            scale=self.scale,
            only_if=self.condition(),
            otherwise=self.otherwise,
        )


class Choices(Free):
    """One of several values that have no order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "categorical", "choices": ["input", "output"]}]})

    type: Literal["categorical"]
    choices: list[ValueBody] = Field(min_length=2, max_length=64)

    def parameter(self, name: str) -> Parameter:
        """The domain's value. Raises: InvalidRequest."""
        return CategoricalParameter(
            name=name, choices=tuple(self.choices), only_if=self.condition(), otherwise=self.otherwise
        )


class FixedValue(Body):
    """A value that is not tuned."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": 1}]})

    value: ValueBody

    def parameter(self, name: str) -> Value:
        """The domain's value."""
        return self.value


def _kind(value: object) -> str | None:
    """Which of the four a value is; None when it says neither a type nor a value."""
    if isinstance(value, FloatRange | IntRange | Choices):
        return value.type
    if isinstance(value, FixedValue):
        return "fixed"
    if not isinstance(value, dict):
        return None
    kind = value.get("type")
    if isinstance(kind, str):
        return kind
    return "fixed" if "value" in value else None


ParameterBody = Annotated[
    Annotated[FloatRange, Tag("float")]
    | Annotated[IntRange, Tag("int")]
    | Annotated[Choices, Tag("categorical")]
    | Annotated[FixedValue, Tag("fixed")],
    Discriminator(
        _kind,
        custom_error_type="no_parameter",
        custom_error_message=(
            "Input should be an object with the type float, int or categorical, or with a fixed value"
        ),
    ),
]

SearchSpaceBody = dict[ParameterName, ParameterBody]


@contextmanager
def pointing_into(space: SearchSpaceBody) -> Iterator[None]:
    """Have the domain's refusals point to where the body has what is wrong: its words for a type and a value differ."""
    named: dict[str, object] = {str(name): body for name, body in space.items()}
    try:
        yield
    except InvalidRequest as error:
        _, *steps = error.pointer.split("/")
        match steps:
            case ["search_space", name] if isinstance(named.get(name), FixedValue):
                pointer = f"{error.pointer}/value"
            case ["search_space", name, "kind"]:
                pointer = f"/search_space/{name}/type"
            case _:
                raise
        raise InvalidRequest(str(error), pointer=pointer) from error


def overrides(space: SearchSpaceBody) -> dict[str, Parameter | Value]:
    """What replaces a preset's parameters. Raises: InvalidRequest."""
    return {name: body.parameter(name) for name, body in space.items()}


def search_space_view(space: SearchSpace) -> SearchSpaceBody:
    """A whole space as a client would write it."""
    shown: dict[str, FloatRange | IntRange | Choices | FixedValue] = {}
    for parameter in space.parameters:
        only_if = None if parameter.only_if is None else _only_if(parameter.only_if)
        match parameter:
            case FloatParameter():
                shown[parameter.name] = FloatRange(
                    type="float",
                    low=parameter.low,
                    high=parameter.high,
                    scale=parameter.scale,
                    only_if=only_if,
                    otherwise=parameter.otherwise,
                )
            case IntParameter():
                shown[parameter.name] = IntRange(
                    type="int",
                    low=parameter.low,
                    high=parameter.high,
                    scale=parameter.scale,
                    only_if=only_if,
                    otherwise=parameter.otherwise,
                )
            case CategoricalParameter():
                shown[parameter.name] = Choices(
                    type="categorical",
                    choices=list(parameter.choices),
                    only_if=only_if,
                    otherwise=parameter.otherwise,
                )
    shown |= {name: FixedValue(value=value) for name, value in space.fixed.items()}
    return cast("SearchSpaceBody", shown)  # the domain has checked the names


def _only_if(condition: Condition) -> OnlyIf:
    """A condition as a client would write it: a single value bare."""
    values = list(condition.values)
    return {cast("ParameterName", condition.parent): values[0] if len(values) == 1 else values}
