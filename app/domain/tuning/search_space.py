"""Search spaces: which hyperparameters a study tunes, between which bounds, and how they lie on the unit cube.

Notation: a point x in [0, 1]^n_dims, float64 `(n_dims,)`. Each parameter takes the next dimensions of x in order:

    float   one dimension; value = low + x (high - low), or low (high / low)^x on a log scale
    int     one dimension; the integers of [low, high] share [0, 1] in equal cells (in the scale's measure)
    choice  one dimension a choice; the largest coordinate wins, ties to the first

Source of the article's ranges: the module `app.domain.training`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import LIMITS, TrainingParameters

Value = int | float | str
Scale = Literal["linear", "log"]
Point = NDArray[np.float64]

INTEGERS = frozenset({"vector_size", "window", "negative", "epochs", "sg"})
NAMES = frozenset(LIMITS) | {"scoring"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatParameter:
    """A real number between bounds, both included."""

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    kind: Literal["float"] = "float"

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.name in INTEGERS or self.name == "scoring":
            raise _wrong(self.name, "type", f"{self.name} is not a real number.")
        _check_bounds(self.name, self.low, self.high, self.scale)

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return 1

    def decode(self, x: Point) -> float:
        """The value at a coordinate."""
        value = _stretched(float(x[0]), self.low, self.high, self.scale)
        return min(max(value, self.low), self.high)

    def encode(self, value: Value) -> list[float]:
        """A coordinate at which the value lies, clipped to the cube."""
        return [_shrunk(float(value), self.low, self.high, self.scale)]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntParameter:
    """A whole number between bounds, both included."""

    name: str
    low: int
    high: int
    scale: Scale = "linear"
    kind: Literal["int"] = "int"

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.name not in INTEGERS:
            raise _wrong(self.name, "type", f"{self.name} is not a whole number.")
        for field, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong(self.name, field, f"{field} of {self.name} must be a whole number, not {value!r}.")
        _check_bounds(self.name, self.low, self.high, self.scale)

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return 1

    def decode(self, x: Point) -> int:
        """The value at a coordinate."""
        low, high = self._edges()
        return min(max(math.floor(_stretched(float(x[0]), low, high, self.scale)), self.low), self.high)

    def encode(self, value: Value) -> list[float]:
        """The middle of the value's cell, clipped to the cube."""
        low, high = self._edges()
        whole = int(value)
        edges = (_shrunk(float(edge), low, high, self.scale) for edge in (whole, whole + 1))
        return [sum(edges) / 2]

    def _edges(self) -> tuple[float, float]:
        return float(self.low), float(self.high + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalParameter:
    """One of several values that have no order."""

    name: str
    choices: tuple[Value, ...]
    kind: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.choices) < 2:
            raise _wrong(self.name, "choices", f"{self.name} needs at least two choices; give one as a fixed value.")
        if len(set(self.choices)) != len(self.choices):
            raise _wrong(self.name, "choices", f"The choices of {self.name} must differ.")
        for choice in self.choices:
            _check_value(self.name, choice, field="choices")

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return len(self.choices)

    def decode(self, x: Point) -> Value:
        """The choice with the largest coordinate."""
        return self.choices[int(np.argmax(x))]

    def encode(self, value: Value) -> list[float]:
        """One at the value, zero elsewhere; all zero for a value that is no choice."""
        return [float(choice == value) for choice in self.choices]


Parameter = FloatParameter | IntParameter | CategoricalParameter


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The free parameters in order, and the values of those that stay fixed."""

    parameters: tuple[Parameter, ...]
    fixed: dict[str, Value]

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        if not names:
            raise InvalidRequest("A search space needs at least one free parameter.", pointer="/search_space")
        for name in names:
            if names.count(name) > 1 or name in self.fixed:
                raise _wrong(name, "", f"{name} is given twice.")
        for name, value in self.fixed.items():
            _check_name(name)
            _check_value(name, value, field="value")

    @property
    def n_dims(self) -> int:
        """Dimensions of the cube."""
        return sum(parameter.n_dims for parameter in self.parameters)

    def decode(self, point: Point) -> TrainingParameters:
        """The hyperparameters at a point of the cube. Raises: ValueError for another shape."""
        if point.shape != (self.n_dims,):
            msg = f"A point of this space has shape ({self.n_dims},), not {point.shape}."
            raise ValueError(msg)
        values: dict[str, Value] = dict(self.fixed)
        start = 0
        for parameter in self.parameters:
            values[parameter.name] = parameter.decode(point[start : start + parameter.n_dims])
            start += parameter.n_dims
        return _built(values)

    def encode(self, parameters: TrainingParameters) -> Point:
        """A point at which `decode` gives these hyperparameters, if the space holds them."""
        values = asdict(parameters)
        return np.array([x for parameter in self.parameters for x in parameter.encode(values[parameter.name])])


def _built(values: Mapping[str, Value]) -> TrainingParameters:
    numbers = {
        name: int(value) if name in INTEGERS else float(value) for name, value in values.items() if name != "scoring"
    }
    scoring = Scoring(str(values.get("scoring", Scoring.INPUT.value)))
    return TrainingParameters(**numbers, scoring=scoring)  # type: ignore[arg-type]


def preset(
    name: Literal["article", "extended"], *, epochs: int, overrides: Mapping[str, Parameter | Value]
) -> SearchSpace:
    """The named space; an override replaces a parameter or fixes it to a value.

    `article` tunes four hyperparameters of skip-gram for a fixed number of epochs; `extended` tunes all of them.
    Raises: InvalidRequest.
    """
    chosen: dict[str, Parameter | Value] = {
        "vector_size": IntParameter(name="vector_size", low=10, high=200),
        "window": IntParameter(name="window", low=1, high=40),
        "negative": IntParameter(name="negative", low=1, high=40),
        "alpha": FloatParameter(name="alpha", low=0.001, high=0.1, scale="log"),
        "epochs": epochs,
        "sg": 1,
        "ns_exponent": 0.75,
        "sample": 1e-3,
        "scoring": Scoring.INPUT.value,
    }
    if name == "extended":
        chosen |= {
            "epochs": IntParameter(name="epochs", low=3, high=100, scale="log"),
            "sg": CategoricalParameter(name="sg", choices=(0, 1)),
            "ns_exponent": FloatParameter(name="ns_exponent", low=-1.0, high=1.0),
            "sample": FloatParameter(name="sample", low=1e-6, high=1e-2, scale="log"),
            "scoring": CategoricalParameter(name="scoring", choices=tuple(scoring.value for scoring in Scoring)),
        }
    for key, override in overrides.items():
        _check_name(key)
        if isinstance(override, Parameter) and override.name != key:
            raise _wrong(key, "name", f"The parameter under {key} is named {override.name}.")
        chosen[key] = override
    free = tuple(value for value in chosen.values() if isinstance(value, Parameter))
    fixed = {key: value for key, value in chosen.items() if not isinstance(value, Parameter)}
    return SearchSpace(parameters=free, fixed=fixed)


def _wrong(name: str, field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, pointer=f"/search_space/{name}" + (f"/{field}" if field else ""))


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise _wrong(name, "", f"{name!r} is no hyperparameter; there are {', '.join(sorted(NAMES))}.")


def _check_bounds(name: str, low: float, high: float, scale: Scale) -> None:
    for field, value in (("low", low), ("high", high)):
        _check_value(name, value, field=field)
    if not low < high:
        raise _wrong(name, "low", f"low of {name} must be below high, not {low} and {high}.")
    if scale == "log" and low <= 0:
        raise _wrong(name, "low", f"low of {name} must be above 0 on a log scale, not {low}.")


def _check_value(name: str, value: Value, *, field: str) -> None:
    if name == "scoring":
        if value not in {scoring.value for scoring in Scoring}:
            raise _wrong(name, field, f"scoring must be one of input, output and sum, not {value!r}.")
        return
    if isinstance(value, bool | str) or not math.isfinite(value) or (name in INTEGERS and value != int(value)):
        expected = "a whole number" if name in INTEGERS else "a finite number"
        raise _wrong(name, field, f"{name} must be {expected}, not {value!r}.")
    low, high = LIMITS[name]
    if not low <= value <= high:
        raise _wrong(name, field, f"{name} must be between {low:g} and {high:g}, not {value:g}.")


def _stretched(x: float, low: float, high: float, scale: Scale) -> float:
    clipped = min(max(x, 0.0), 1.0)
    return low * (high / low) ** clipped if scale == "log" else low + clipped * (high - low)


def _shrunk(value: float, low: float, high: float, scale: Scale) -> float:
    if scale == "log":
        x = math.log(value / low) / math.log(high / low) if value > 0 else 0.0
    else:
        x = (value - low) / (high - low)
    return min(max(x, 0.0), 1.0)
