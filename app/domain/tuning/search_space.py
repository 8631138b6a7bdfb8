"""Search spaces: which hyperparameters a study tunes, between which bounds, and how they lie on the unit cube.

Notation: a point x in [0, 1]^n_dims, float64 `(n_dims,)`. Each parameter takes the next dimensions of x in order:

    float   one dimension; value = low + x (high - low), or low (high / low)^x on a log scale
    int     one dimension; the integers of [low, high] share [0, 1] in equal cells (in the scale's measure)
    choice  one dimension a choice; the largest coordinate wins, ties to the first

A parameter may matter only when another has certain values (`Condition`). Elsewhere it is inactive: it has the value
`otherwise`, whatever its coordinates, and `encode` and `snapped` put them where that value lies, so that points which
mean the same are the same. A parent whose value is not free any more counts with the value it has.

Real values are rounded to 9 digits (of the value on a log scale, of the range on a linear one), so that `encode` and
`decode` are inverses in spite of floating point, and a point reads well.

Source of the article's ranges: the module `app.domain.training`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, cast, get_args

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
DEFAULTS: dict[str, Value] = {field.name: cast("Value", field.default) for field in fields(TrainingParameters)}
SCORINGS = frozenset(scoring.value for scoring in Scoring)

MAX_CHOICES = 50
"""Choices that one parameter may have: each is a dimension of the cube."""

LEAST_LOG = 1e-12
"""The smallest lower bound on a log scale."""

N_DIGITS = 9
"""Digits of a real value."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The parameter `parent` has one of these values."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Free:
    """What all free parameters have. `otherwise`: the value while inactive; by default that of `TrainingParameters`."""

    name: str
    only_if: Condition | None = None
    otherwise: Value | None = None

    @property
    def idle(self) -> Value:
        """The value while inactive."""
        return DEFAULTS[self.name] if self.otherwise is None else self.otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatParameter(_Free):
    """A real number between bounds, both included."""

    low: float
    high: float
    scale: Scale = "linear"
    kind: Literal["float"] = "float"

    def __post_init__(self) -> None:
        _check_free(self)
        if self.name in INTEGERS or self.name == "scoring":
            raise _wrong(self.name, "kind", f"{self.name} is not a real number.")
        _check_bounds(self.name, self.low, self.high, self.scale)

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return 1

    @property
    def values(self) -> None:
        """There are too many to list."""
        return

    def decode(self, x: Point) -> float:
        """The value at a coordinate."""
        value = _stretched(float(x[0]), self.low, self.high, self.scale)
        magnitude = value if self.scale == "log" else self.high - self.low
        rounded = round(value, N_DIGITS - math.ceil(math.log10(magnitude)))
        return min(max(rounded, float(self.low)), float(self.high))

    def encode(self, value: Value) -> list[float]:
        """A coordinate at which the value lies, clipped to the cube."""
        return [_shrunk(float(value), self.low, self.high, self.scale)]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntParameter(_Free):
    """A whole number between bounds, both included."""

    low: int
    high: int
    scale: Scale = "linear"
    kind: Literal["int"] = "int"

    def __post_init__(self) -> None:
        _check_free(self)
        if self.name not in INTEGERS:
            raise _wrong(self.name, "kind", f"{self.name} is not a whole number.")
        for field, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise _wrong(self.name, field, f"{field} of {self.name} must be a whole number, not {value!r}.")
        _check_bounds(self.name, self.low, self.high, self.scale)

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return 1

    @property
    def values(self) -> range:
        """All of them."""
        return range(self.low, self.high + 1)

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
class CategoricalParameter(_Free):
    """One of several values that have no order."""

    choices: tuple[Value, ...]
    kind: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        _check_free(self)
        if not 2 <= len(self.choices) <= MAX_CHOICES:
            message = f"{self.name} needs between 2 and {MAX_CHOICES} choices, not {len(self.choices)}."
            raise _wrong(self.name, "choices", f"{message} A single one is given as a fixed value.")
        for number, choice in enumerate(self.choices):
            _check_value(self.name, choice, field=f"choices/{number}")
            if choice in self.choices[:number]:
                raise _wrong(self.name, f"choices/{number}", f"The choice {choice!r} of {self.name} is given twice.")

    @property
    def n_dims(self) -> int:
        """Dimensions on the cube."""
        return len(self.choices)

    @property
    def values(self) -> tuple[Value, ...]:
        """All of them."""
        return self.choices

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
        if not self.parameters:
            raise InvalidRequest("A search space needs at least one free parameter.", pointer="/search_space")
        names = [parameter.name for parameter in self.parameters]
        for name in names:
            if names.count(name) > 1 or name in self.fixed:
                raise _wrong(name, "", f"{name} is given twice.")
        for name, value in self.fixed.items():
            _check_name(name)
            _check_value(name, value, field="")
        for parameter in self.parameters:
            self._check_condition(parameter)
        object.__setattr__(self, "fixed", dict(self.fixed))  # the caller's may change

    @property
    def n_dims(self) -> int:
        """Dimensions of the cube."""
        return sum(parameter.n_dims for parameter in self.parameters)

    @property
    def n_points(self) -> int | None:
        """How many different points there are; None where a real number is free."""
        if any(parameter.values is None for parameter in self.parameters):
            return None
        return math.prod(self._n_ways(parameter, is_active=True) for parameter in self._children(None))

    def decode(self, point: Point) -> TrainingParameters:
        """The hyperparameters at a point of the cube. Raises: ValueError for another shape or no number."""
        if point.shape != (self.n_dims,) or not np.isfinite(point).all():
            msg = f"A point of this space has shape ({self.n_dims},) and is finite, unlike {point}."
            raise ValueError(msg)
        values: dict[str, Value] = dict(self.fixed)
        for parameter, dimensions in self._dimensions():
            is_active = self._are_active(parameter, point[np.newaxis])[0]
            values[parameter.name] = parameter.decode(point[dimensions]) if is_active else parameter.idle
        return _built(values)

    def encode(self, parameters: TrainingParameters) -> Point:
        """A point at which `decode` gives these hyperparameters, if the space holds them."""
        values = asdict(parameters)
        point = np.array([x for parameter in self.parameters for x in parameter.encode(values[parameter.name])])
        self._put_idle(point[np.newaxis])
        return point

    def at(self, index: int) -> TrainingParameters:
        """The hyperparameters number `index` of `n_points`, the last parameter turning fastest.

        A parameter that depends on another turns within each value of that one. Raises: ValueError where a real number
        is free.
        """
        for parameter in self.parameters:
            if parameter.values is None:
                msg = f"The values of {parameter.name} cannot be counted."
                raise ValueError(msg)
        values: dict[str, Value] = dict(self.fixed)
        for parameter in reversed(self._children(None)):
            index, way = divmod(index, self._n_ways(parameter, is_active=True))
            values |= self._way(parameter, way, is_active=True)
        return _built(values)

    def snapped(self, points: Point) -> Point:
        """Points `(n, n_dims)`, a new array, with coordinates that mean the same made the same.

        Each choice's are one where it wins and zero elsewhere, an inactive parameter's lie at its value: a model of the
        objective must not tell such points apart.
        """
        snapped = np.array(points, dtype=np.float64)
        for parameter, dimensions in self._dimensions():
            if isinstance(parameter, CategoricalParameter):
                winners = np.argmax(snapped[:, dimensions], axis=1)
                snapped[:, dimensions] = np.eye(parameter.n_dims)[winners]
        self._put_idle(snapped)
        return snapped

    def inactive(self, parameters: TrainingParameters) -> tuple[str, ...]:
        """Names of the free parameters that do not matter at these values, in the space's order."""
        point = self.encode(parameters)[np.newaxis]
        return tuple(parameter.name for parameter in self.parameters if not self._are_active(parameter, point)[0])

    def settled(self, parameters: TrainingParameters) -> TrainingParameters:
        """The same with the values that its inactive parameters have."""
        inactive = self.inactive(parameters)
        idle = {parameter.name: parameter.idle for parameter in self.parameters if parameter.name in inactive}
        return _built({**asdict(parameters), **idle})

    def _put_idle(self, points: Point) -> None:
        """Set the coordinates of inactive parameters to where their values lie."""
        for parameter, dimensions in self._dimensions():
            if parameter.only_if is not None:
                is_active = self._are_active(parameter, points)
                points[~is_active, dimensions] = parameter.encode(parameter.idle)

    def _are_active(self, parameter: Parameter, points: Point) -> NDArray[np.bool_]:
        """Whether the parameter matters at each of the points."""
        condition = parameter.only_if
        if condition is None or condition.parent in self.fixed:
            return np.ones(len(points), dtype=np.bool_)
        parent, dimensions = next(found for found in self._dimensions() if found[0].name == condition.parent)
        meets = np.array([parent.decode(x) in condition.values for x in points[:, dimensions]], dtype=np.bool_)
        return np.where(self._are_active(parent, points), meets, parent.idle in condition.values)

    def _children(self, name: str | None) -> list[Parameter]:
        """Parameters that depend on this one; with None, those that depend on no free one."""
        return [
            parameter
            for parameter in self.parameters
            if (
                None
                if parameter.only_if is None or parameter.only_if.parent in self.fixed
                else parameter.only_if.parent
            )
            == name
        ]

    def _n_ways(self, parameter: Parameter, *, is_active: bool) -> int:
        """How many different values the parameter has together with those that depend on it."""
        values = _values(parameter, is_active=is_active)
        children = self._children(parameter.name)
        return sum(
            math.prod(self._n_ways(child, is_active=_meets(child, value)) for child in children) for value in values
        )

    def _way(self, parameter: Parameter, way: int, *, is_active: bool) -> dict[str, Value]:
        """The values by name, number `way` of `_n_ways`."""
        children = self._children(parameter.name)
        for value in _values(parameter, is_active=is_active):
            n_ways = [self._n_ways(child, is_active=_meets(child, value)) for child in children]
            if way >= math.prod(n_ways):
                way -= math.prod(n_ways)
                continue
            values = {parameter.name: value}
            for child, n in zip(reversed(children), reversed(n_ways), strict=True):
                way, place = divmod(way, n)
                values |= self._way(child, place, is_active=_meets(child, value))
            return values
        msg = f"There is no such point: {way} too many."
        raise ValueError(msg)

    def _check_condition(self, parameter: Parameter) -> None:
        """Raises: InvalidRequest for a parent that is not there, has no such value, or depends on the parameter."""
        condition = parameter.only_if
        if condition is None:
            return
        field = f"only_if/{condition.parent}"
        parents = {other.name: other for other in self.parameters}
        if condition.parent not in parents and condition.parent not in self.fixed:
            raise _wrong(parameter.name, field, f"{parameter.name} depends on {condition.parent}, which is not given.")
        for value in condition.values:
            if not self._may_be(condition.parent, value):
                message = f"{parameter.name} depends on a value that {condition.parent} cannot have: {_shown(value)}."
                raise _wrong(parameter.name, field, message)
        above, seen = condition.parent, {parameter.name}
        while above not in seen:
            seen.add(above)
            grandparent = parents[above].only_if if above in parents else None
            if grandparent is None:
                return
            above = grandparent.parent
        raise _wrong(parameter.name, field, f"{parameter.name} depends on itself.")

    def _may_be(self, name: str, value: Value) -> bool:
        if name in self.fixed:
            return self.fixed[name] == value
        parameter = next(parameter for parameter in self.parameters if parameter.name == name)
        return value in (parameter.values or ()) or (parameter.only_if is not None and value == parameter.idle)

    def _dimensions(self) -> Iterator[tuple[Parameter, slice]]:
        start = 0
        for parameter in self.parameters:
            yield parameter, slice(start, start + parameter.n_dims)
            start += parameter.n_dims


def _built(values: Mapping[str, Value]) -> TrainingParameters:
    numbers = {
        name: int(value) if name in INTEGERS else float(value) for name, value in values.items() if name != "scoring"
    }
    scoring = Scoring(str(values.get("scoring", Scoring.INPUT.value)))
    return TrainingParameters(**numbers, scoring=scoring)  # type: ignore[arg-type]


def _values(parameter: Parameter, *, is_active: bool) -> Sequence[Value]:
    return (parameter.values or ()) if is_active else (parameter.idle,)


def _meets(child: Parameter, value: Value) -> bool:
    return child.only_if is not None and value in child.only_if.values


Preset = Literal["article", "extended"]


def preset(name: Preset, *, epochs: int, overrides: Mapping[str, Parameter | Value]) -> SearchSpace:
    """The named space; an override replaces a parameter or fixes it to a value.

    `article` tunes four hyperparameters of skip-gram for a fixed number of epochs; `extended` tunes all of them, the
    epochs too (`epochs` is not used). Raises: InvalidRequest.
    """
    if name not in get_args(Preset):
        raise InvalidRequest(f"preset must be article or extended, not {name!r}.", pointer="/preset")
    _check_value("epochs", epochs, field="", pointer="/epochs")
    chosen: dict[str, Parameter | Value] = {parameter.name: parameter for parameter in _free(name)}
    if name == "article":
        chosen |= {"epochs": epochs, "sg": 1, "ns_exponent": 0.75, "sample": 1e-3, "scoring": Scoring.INPUT.value}
    for key, override in overrides.items():
        _check_name(key)
        if isinstance(override, Parameter) and override.name != key:
            raise _wrong(key, "name", f"The parameter under {key} is named {override.name}.")
        chosen[key] = override
    return SearchSpace(
        parameters=tuple(value for value in chosen.values() if isinstance(value, Parameter)),
        fixed={key: value for key, value in chosen.items() if not isinstance(value, Parameter)},
    )


def _free(name: Preset) -> tuple[Parameter, ...]:
    article = (
        IntParameter(name="vector_size", low=10, high=200),
        IntParameter(name="window", low=1, high=40),
        IntParameter(name="negative", low=1, high=40),
        FloatParameter(name="alpha", low=0.001, high=0.1, scale="log"),
    )
    if name == "article":
        return article
    return (
        *article,
        IntParameter(name="epochs", low=3, high=100, scale="log"),
        CategoricalParameter(name="sg", choices=(0, 1)),
        FloatParameter(name="ns_exponent", low=-1.0, high=1.0),
        FloatParameter(name="sample", low=1e-6, high=1e-2, scale="log"),
        CategoricalParameter(name="scoring", choices=tuple(scoring.value for scoring in Scoring)),
    )


def _wrong(name: str, field: str, message: str) -> InvalidRequest:
    escaped = name.replace("~", "~0").replace("/", "~1")
    return InvalidRequest(message, pointer=f"/search_space/{escaped}" + (f"/{field}" if field else ""))


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise _wrong(name, "", f"{name!r} is no hyperparameter; there are {', '.join(sorted(NAMES))}.")


def _check_free(parameter: _Free) -> None:
    _check_name(parameter.name)
    condition = parameter.only_if
    if condition is None:
        if parameter.otherwise is not None:
            message = f"otherwise says what {parameter.name} is where only_if does not hold, but there is no only_if."
            raise _wrong(parameter.name, "otherwise", message)
        return
    if parameter.otherwise is not None:
        _check_value(parameter.name, parameter.otherwise, field="otherwise")
    field = f"only_if/{condition.parent}"
    if condition.parent not in NAMES - {"alpha", "ns_exponent", "sample"}:
        message = f"{parameter.name} can depend on a whole number or a choice, not on {_shown(condition.parent)}."
        raise _wrong(parameter.name, field, message)
    if not 1 <= len(condition.values) <= MAX_CHOICES:
        message = f"only_if of {parameter.name} needs between 1 and {MAX_CHOICES} values, not {len(condition.values)}."
        raise _wrong(parameter.name, field, message)
    for value in condition.values:
        fault = _fault(condition.parent, value)
        if fault is not None:
            raise _wrong(parameter.name, field, fault)


def _check_bounds(name: str, low: float, high: float, scale: Scale) -> None:
    for field, value in (("low", low), ("high", high)):
        _check_value(name, value, field=field)
    if not low < high:
        raise _wrong(name, "low", f"low of {name} must be below high, not {low} and {high}.")
    if scale not in get_args(Scale):
        raise _wrong(name, "scale", f"scale of {name} must be linear or log, not {scale!r}.")
    if scale == "log" and low < LEAST_LOG:
        raise _wrong(name, "low", f"low of {name} must be above 0 on a log scale ({LEAST_LOG} or more), not {low}.")


def _check_value(name: str, value: Value, *, field: str, pointer: str | None = None) -> None:
    fault = _fault(name, value)
    if fault is not None:
        error = _wrong(name, field, fault)
        raise error if pointer is None else InvalidRequest(fault, pointer=pointer)


def _fault(name: str, value: object) -> str | None:
    """Why the hyperparameter cannot have the value; None when it can."""
    if name == "scoring":
        is_scoring = isinstance(value, str) and value in SCORINGS
        return None if is_scoring else f"scoring must be input, output or sum, not {_shown(value)}."
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not (value.is_integer() or name not in INTEGERS)):
        return f"{name} must be a {'whole ' if name in INTEGERS else ''}number, not {_shown(value)}."
    low, high = LIMITS[name]
    if not low <= value <= high:  # type: ignore[operator] # a number
        return f"{name} must be between {low:g} and {high:g}, not {_shown(value)}."
    return None


def _shown(value: object) -> str:
    try:
        return f"{value!r:.40}"
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number that long"


def _stretched(x: float, low: float, high: float, scale: Scale) -> float:
    clipped = min(max(x, 0.0), 1.0)
    return low * (high / low) ** clipped if scale == "log" else low + clipped * (high - low)


def _shrunk(value: float, low: float, high: float, scale: Scale) -> float:
    if scale == "log":
        x = math.log(value / low) / math.log(high / low) if value > 0 else 0.0
    else:
        x = (value - low) / (high - low)
    return min(max(x, 0.0), 1.0)
