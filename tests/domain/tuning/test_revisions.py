from dataclasses import replace

import numpy as np
import pytest

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.revisions import holds, revised, within
from app.domain.tuning.search_space import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchSpace,
    Value,
    preset,
)
from app.domain.tuning.suggester import Observation

SPACE = preset("article", epochs=3, overrides={})
POINT = TrainingParameters(vector_size=50, window=5, negative=5, alpha=0.01, epochs=3, sg=1)

FINE = FloatParameter(name="ns_exponent", low=-1.0, high=1.0)
WIDE = FloatParameter(name="ns_exponent", low=-2.0, high=2.0)


def test_change_replaces_what_it_names_and_leaves_the_rest_in_its_order() -> None:
    window = IntParameter(name="window", low=1, high=4)
    changed = revised(SPACE, {"window": window, "epochs": 5})
    assert [parameter.name for parameter in changed.parameters] == [parameter.name for parameter in SPACE.parameters]
    assert changed.parameters[1] == window
    assert changed.fixed == {**SPACE.fixed, "epochs": 5}


def test_parameter_may_be_fixed_and_a_fixed_one_freed() -> None:
    epochs = IntParameter(name="epochs", low=1, high=9)
    changed = revised(SPACE, {"alpha": 0.05, "epochs": epochs})
    assert [parameter.name for parameter in changed.parameters] == ["vector_size", "window", "negative", "epochs"]
    assert changed.fixed["alpha"] == 0.05
    assert "epochs" not in changed.fixed


def test_space_with_nothing_left_to_tune_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        revised(SPACE, {"vector_size": 9, "window": 9, "negative": 9, "alpha": 0.1})


@pytest.mark.parametrize(
    ("changes", "is_held"),
    [
        ({}, True),
        ({"window": IntParameter(name="window", low=5, high=6)}, True),
        ({"window": IntParameter(name="window", low=6, high=9)}, False),
        ({"window": IntParameter(name="window", low=1, high=4)}, False),
        ({"window": 5}, True),
        ({"window": 6}, False),
        ({"epochs": 5}, False),
        ({"epochs": IntParameter(name="epochs", low=1, high=9)}, True),
        ({"alpha": FloatParameter(name="alpha", low=0.01, high=0.1)}, True),
        ({"alpha": FloatParameter(name="alpha", low=0.0101, high=0.1)}, False),
        ({"alpha": FloatParameter(name="alpha", low=0.0001, high=0.0099, scale="log")}, False),
        ({"scoring": CategoricalParameter(name="scoring", choices=("input", "sum"))}, True),
        ({"scoring": CategoricalParameter(name="scoring", choices=("output", "sum"))}, False),
        ({"sample": 0.0}, False),
        ({"sample": FloatParameter(name="sample", low=1e-6, high=1e-4, scale="log")}, False),
    ],
)
def test_space_holds_a_point_whose_values_lie_within_it(changes: dict[str, Parameter | Value], is_held: bool) -> None:
    assert holds(revised(SPACE, changes), POINT) is is_held


@pytest.mark.parametrize(("asked", "now"), [(FINE, WIDE), (WIDE, replace(WIDE, low=-1.9))])
def test_points_of_one_space_are_held_by_another_that_rounds_otherwise(
    asked: FloatParameter, now: FloatParameter
) -> None:
    first = SearchSpace(parameters=(asked,), fixed={})
    second = SearchSpace(parameters=(now,), fixed={})
    points = [RandomSearch(first, 0).suggest([], number=number) for number in range(200)]
    assert all(holds(second, point) is (now.low <= point.ns_exponent <= now.high) for point in points)


def test_every_point_of_a_space_is_held_by_it() -> None:
    space = preset("extended", epochs=3, overrides={})
    rng = np.random.default_rng(0)
    assert all(holds(space, space.decode(rng.random(space.n_dims))) for _ in range(300))


def test_points_outside_are_left_out_rather_than_moved_to_the_edge() -> None:
    narrow = revised(SPACE, {"window": IntParameter(name="window", low=1, high=4)})
    inside, outside = replace(POINT, window=4), replace(POINT, window=40)
    assert narrow.decode(narrow.encode(outside)) == inside  # of which its value would be learnt
    seen = [Observation(0, inside, 0.1), Observation(1, outside, 0.9), Observation(2, inside, None, is_infeasible=True)]
    assert within(narrow, seen) == [seen[0], seen[2]]
    assert within(SPACE, seen) == seen


def test_point_scored_in_another_way_is_another_point() -> None:
    assert not holds(SPACE, replace(POINT, scoring=Scoring.SUM))
