from typing import Any

import pytest

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.own_points import built, own_point
from app.domain.tuning.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    SearchSpace,
    Value,
)

SPACE = SearchSpace(
    parameters=(
        IntParameter(name="window", low=1, high=9),
        FloatParameter(name="alpha", low=0.01, high=0.1, scale="log"),
        CategoricalParameter(name="scoring", choices=("input", "sum")),
    ),
    fixed={"epochs": 7, "sg": 1},
)
POINT: dict[str, Value] = {"window": 3, "alpha": 0.05, "scoring": "sum"}


def test_fixed_values_may_be_left_out_or_given_as_they_are() -> None:
    expected = TrainingParameters(window=3, alpha=0.05, scoring=Scoring.SUM, epochs=7, sg=1)
    assert own_point(SPACE, POINT, pointer="") == expected
    assert own_point(SPACE, {**POINT, "epochs": 7}, pointer="") == expected


@pytest.mark.parametrize(
    ("changes", "name", "told"),
    [
        ({"window": 0}, "window", "between 1 and 9"),
        ({"window": 10}, "window", "between 1 and 9"),
        ({"window": "3"}, "window", "between 1 and 9"),
        ({"alpha": 0.2}, "alpha", "between 0.01 and 0.1"),
        ({"scoring": "output"}, "scoring", "one of input, sum"),
        ({"epochs": 3}, "epochs", "fixed to 7"),
        ({"vector_size": 50}, "vector_size", "fixed to 100"),
    ],
)
def test_a_value_outside_the_space_is_refused_with_its_name_and_its_limit(
    changes: dict[str, Any], name: str, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        own_point(SPACE, {**POINT, **changes}, pointer="")
    assert refused.value.pointer == f"/{name}"


CONDITIONAL = SearchSpace(
    parameters=(
        CategoricalParameter(name="sg", choices=(0, 1)),
        IntParameter(name="negative", low=10, high=20, only_if=Condition("sg", (1,))),
    ),
    fixed={},
)


def test_a_value_that_does_not_matter_may_be_left_out_or_given_as_it_is() -> None:
    assert own_point(CONDITIONAL, {"sg": 0}, pointer="") == TrainingParameters(sg=0, negative=5)
    assert own_point(CONDITIONAL, {"sg": 0, "negative": 5}, pointer="") == TrainingParameters(sg=0, negative=5)
    assert own_point(CONDITIONAL, {"sg": 1, "negative": 12}, pointer="") == TrainingParameters(sg=1, negative=12)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sg": 0, "negative": 12}, "does not matter beside these values: it is 5"),
        ({"sg": 1, "negative": 5}, "between 10 and 20"),
        ({"sg": 1}, "needs a value"),
    ],
)
def test_a_value_that_matters_elsewhere_alone_is_refused_as_one_outside(given: dict[str, Value], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        own_point(CONDITIONAL, given, pointer="")
    assert refused.value.pointer == "/negative"


def test_a_tuned_value_that_is_missing_is_named_where_the_request_has_the_point() -> None:
    with pytest.raises(InvalidRequest) as refused:
        own_point(SPACE, {"window": 3, "scoring": "sum"}, pointer="/trials/4/parameters")
    assert refused.value.pointer == "/trials/4/parameters/alpha"


def test_values_become_what_their_fields_hold() -> None:
    made = built({"window": 3.0, "alpha": 1, "scoring": "output"})
    assert made == TrainingParameters(window=3, alpha=1.0, scoring=Scoring.OUTPUT)
    assert (type(made.window), type(made.alpha)) == (int, float)
