"""Own points: parameters that a client gives, held against a study's search space.

A point must lie in the space. The suggester sees the space alone: it would take a point outside for one on its edge,
and learn a value for what was never trained. (Optuna warns of such a point and tries it.)
"""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.search_space import INTEGERS, CategoricalParameter, Parameter, SearchSpace, Value

_NO_VALUE = "{} is tuned by this study: a point of it needs a value."


def own_point(space: SearchSpace, given: Mapping[str, Value], *, pointer: str) -> TrainingParameters:
    """The point that the values make with those that the space fixes; fixed and inactive ones may be left out.

    `pointer` is where the values stand in the request. Raises: InvalidRequest, which names the hyperparameter.
    """
    idle = {parameter.name: parameter.idle for parameter in space.parameters if parameter.only_if is not None}
    for parameter in space.parameters:
        if parameter.name not in given and parameter.name not in idle:
            raise InvalidRequest(_NO_VALUE.format(parameter.name), pointer=f"{pointer}/{parameter.name}")
    for name, value in given.items():
        fault = None if name in idle and value == idle[name] else _fault(space, name, value)
        if fault is not None:
            raise InvalidRequest(fault, pointer=f"{pointer}/{name}")
    point = built({**space.fixed, **idle, **given})
    inactive = space.inactive(point)
    for parameter in space.parameters:
        fault = _fault_of(parameter, given.get(parameter.name), is_active=parameter.name not in inactive)
        if fault is not None:
            raise InvalidRequest(fault, pointer=f"{pointer}/{parameter.name}")
    return point


def _fault_of(parameter: Parameter, value: Value | None, *, is_active: bool) -> str | None:
    """Why a tuned hyperparameter cannot have this value, None where it was given none; None when it can."""
    if not is_active:
        is_idle = value is None or value == parameter.idle
        told = f"{parameter.name} does not matter beside these values: it is {parameter.idle} and cannot be {value}."
        return None if is_idle else told
    return _NO_VALUE.format(parameter.name) if value is None else _outside(parameter, value)


def built(values: Mapping[str, Value]) -> TrainingParameters:
    """The hyperparameters with these values, gensim's defaults for the others. Raises: InvalidRequest."""
    changes = {
        name: Scoring(str(value)) if name == "scoring" else int(value) if name in INTEGERS else float(value)
        for name, value in values.items()
    }
    return replace(TrainingParameters(), **changes)  # type: ignore[arg-type] # each value is of its field's type


def _fault(space: SearchSpace, name: str, value: Value) -> str | None:
    """Why a point of the space cannot have the value; None when it can. What it does not name has gensim's default."""
    for parameter in space.parameters:
        if parameter.name == name:
            return _outside(parameter, value)
    fixed = space.fixed.get(name, getattr(TrainingParameters(), name))
    return None if value == fixed else f"{name} is fixed to {fixed} in this study and cannot be {value}."


def _outside(parameter: Parameter, value: Value) -> str | None:
    if isinstance(parameter, CategoricalParameter):
        choices = ", ".join(map(str, parameter.choices))
        return None if value in parameter.choices else f"{parameter.name} must be one of {choices}, not {value}."
    is_inside = isinstance(value, int | float) and parameter.low <= value <= parameter.high
    bounds = f"{parameter.low:g} and {parameter.high:g}"
    return None if is_inside else f"{parameter.name} must be between {bounds} in this study, not {value}."
