"""Revisions: a study whose search space is changed keeps the spaces it had, and each trial the one it came from.

What was measured under an earlier revision is used under the present one where it means the same: a point informs
the suggester if the present space holds it, that is, if each tuned value lies within its new bounds or among its new
choices and each fixed value is the one the point was trained with. The others are left out: `SearchSpace.encode` would
put such a point on the edge of the cube, and its value would be learnt for a point that was never trained. They count
again once a later revision holds them. The study's best is the best of all revisions.

A parameter that the new space tunes and an old one fixed is no obstacle: the point lies where its fixed value lies.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from app.domain.training import TrainingParameters
from app.domain.tuning.search_space import Parameter, SearchSpace, Value
from app.domain.tuning.suggester import Observation

REL_TOL = 1e-6
ABS_TOL = 3e-8
"""Real values are rounded to nine digits of a space's bounds, so that spaces differ in what they round to. These are
wider than the rounding and far narrower than anything that training could tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A search space and since when it holds; number 0 is the one that was asked for."""

    number: int
    space: SearchSpace
    at: datetime


def revised(space: SearchSpace, changes: Mapping[str, Parameter | Value]) -> SearchSpace:
    """The space with some parameters replaced or fixed, the others as they are. Raises: InvalidRequest."""
    chosen: dict[str, Parameter | Value] = {parameter.name: parameter for parameter in space.parameters}
    chosen |= space.fixed
    chosen |= changes
    return SearchSpace(
        parameters=tuple(value for value in chosen.values() if isinstance(value, Parameter)),
        fixed={name: value for name, value in chosen.items() if not isinstance(value, Parameter)},
    )


def holds(space: SearchSpace, parameters: TrainingParameters) -> bool:
    """Whether the point is one of the space."""
    there = space.decode(space.encode(parameters))
    return all(_same(getattr(there, name), getattr(parameters, name)) for name in _NAMES)


def within(space: SearchSpace, observations: Iterable[Observation]) -> list[Observation]:
    """Those whose point the space holds, in the order given."""
    return [seen for seen in observations if holds(space, seen.parameters)]


_NAMES = tuple(field.name for field in fields(TrainingParameters))


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=REL_TOL, abs_tol=ABS_TOL)
    return one == other
