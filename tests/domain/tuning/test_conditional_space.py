"""Parameters that matter only where another has certain values."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchSpace,
    Value,
    preset,
)
from app.domain.tuning.suggester import Observation

SG = CategoricalParameter(name="sg", choices=(0, 1))
SKIP_GRAM = Condition("sg", (1,))
SCORING = CategoricalParameter(name="scoring", choices=("input", "output", "sum"), only_if=SKIP_GRAM)
SAMPLE = FloatParameter(name="sample", low=1e-6, high=1e-2, scale="log", only_if=Condition("window", (2, 3)))
WINDOW = IntParameter(name="window", low=1, high=4)
NEGATIVE = IntParameter(name="negative", low=10, high=12, only_if=Condition("scoring", ("output", "sum")), otherwise=7)


def space(*parameters: Parameter, **fixed: Value) -> SearchSpace:
    return SearchSpace(parameters=parameters, fixed=fixed)


ALL = space(NEGATIVE, SAMPLE, SCORING, WINDOW, SG)
COUNTED = space(NEGATIVE, SCORING, WINDOW, SG)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Chains and trees of conditions in any order, in part on values that are fixed."""
    epochs = IntParameter(name="epochs", low=1, high=draw(st.integers(2, 5)))
    parameters: list[Parameter] = [epochs]
    parents: list[Parameter] = [epochs]
    for child in (SG, SCORING, WINDOW, NEGATIVE, FloatParameter(name="alpha", low=0.001, high=0.1, scale="log")):
        parent = draw(st.sampled_from(parents))
        values = draw(st.lists(st.sampled_from(list(parent.values or ())), min_size=1, unique=True))
        condition = draw(st.sampled_from([None, Condition(parent.name, tuple(values))]))
        fields = {name: getattr(child, name) for name in child.__dataclass_fields__}
        fields |= {"only_if": condition, "otherwise": None if condition is None else child.otherwise}
        parameters.append(type(child)(**fields))
        if child.name != "alpha":
            parents.append(parameters[-1])
    return space(*draw(st.permutations(parameters)))


@st.composite
def spaces_and_points(draw: st.DrawFn) -> tuple[SearchSpace, np.ndarray]:
    searched = draw(spaces())
    coordinates = st.lists(st.floats(0, 1), min_size=searched.n_dims, max_size=searched.n_dims)
    return searched, np.array(draw(st.lists(coordinates, min_size=1, max_size=5)))


@given(spaces_and_points())
def test_encoding_and_decoding_are_inverses(drawn: tuple[SearchSpace, np.ndarray]) -> None:
    searched, points = drawn
    for point in points:
        parameters = searched.decode(point)
        assert searched.decode(searched.encode(parameters)) == parameters


@given(spaces_and_points())
def test_points_that_mean_the_same_lie_at_one_place(drawn: tuple[SearchSpace, np.ndarray]) -> None:
    searched, points = drawn
    before = points.copy()
    snapped = searched.snapped(points)
    assert np.array_equal(points, before)
    assert np.array_equal(searched.snapped(snapped), snapped)
    for point, place in zip(points, snapped, strict=True):
        parameters = searched.decode(point)
        assert searched.decode(place) == parameters
        for parameter, dimensions in searched._dimensions():
            if parameter.name in searched.inactive(parameters):
                assert np.array_equal(place[dimensions], searched.encode(parameters)[dimensions])
                assert getattr(parameters, parameter.name) == parameter.idle


@given(spaces_and_points())
def test_conditional_space_survives_json(drawn: tuple[SearchSpace, np.ndarray]) -> None:
    stored = TypeAdapter(SearchSpace)
    assert stored.validate_json(stored.dump_json(drawn[0])) == drawn[0]


@given(spaces())
def test_every_point_is_listed_once(searched: SearchSpace) -> None:
    counted = space(*(parameter for parameter in searched.parameters if parameter.name != "alpha"))
    n_points = counted.n_points
    assert n_points is not None
    listed = {counted.at(index) for index in range(n_points)}
    assert len(listed) == n_points
    draws = np.random.default_rng(0).random((50, counted.n_dims))
    assert {counted.decode(point) for point in draws} <= listed


def test_inactive_parameter_has_the_default_or_the_value_given() -> None:
    bag_of_words = ALL.decode(np.array([0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]))
    assert bag_of_words == TrainingParameters(negative=7, sample=1e-3, window=1, sg=0, scoring=Scoring.INPUT)
    assert ALL.inactive(bag_of_words) == ("negative", "sample", "scoring")
    skip_gram = ALL.decode(np.array([0.5, 0.5, 0.0, 1.0, 0.0, 0.4, 0.0, 1.0]))
    assert skip_gram == TrainingParameters(negative=11, sample=1e-4, window=2, sg=1, scoring=Scoring.OUTPUT)
    assert ALL.inactive(skip_gram) == ()


def test_only_values_that_differ_are_counted() -> None:
    assert COUNTED.n_points == 4 * (1 + (1 + 2 * 3))
    assert ALL.n_points is None
    listed = [COUNTED.at(index) for index in range(32)]
    assert Counter(found.sg for found in listed) == {0: 4, 1: 28}
    with pytest.raises(ValueError, match="sample"):
        ALL.at(0)


def test_point_beyond_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="no such point"):
        COUNTED._way(WINDOW, 5, is_active=True)


def test_value_of_an_inactive_parent_counts() -> None:
    parent = IntParameter(name="window", low=2, high=3, only_if=SKIP_GRAM, otherwise=9)
    searched = space(SG, parent, IntParameter(name="negative", low=1, high=5, only_if=Condition("window", (9,))))
    found = {searched.at(index) for index in range(searched.n_points or 0)}
    assert {(point.sg, point.window, point.negative) for point in found} == {
        *((0, 9, negative) for negative in range(1, 6)),
        *((1, window, 5) for window in (2, 3)),
    }


def test_value_measured_elsewhere_is_not_told_apart_where_it_does_not_matter() -> None:
    there = [ALL.encode(TrainingParameters(sg=0, negative=negative, window=2)) for negative in (3, 40)]
    assert np.array_equal(there[0], there[1])


def test_fixed_parent_with_the_value_leaves_the_parameter_free() -> None:
    searched = preset("article", epochs=3, overrides={"scoring": SCORING})
    assert searched.inactive(TrainingParameters(sg=1)) == ()
    assert {searched.decode(point).scoring for point in np.random.default_rng(0).random((50, searched.n_dims))} == set(
        Scoring
    )


def test_random_search_uses_up_a_conditional_space() -> None:
    seen: list[Observation] = []
    for number in range(32):
        seen.append(Observation(number, RandomSearch(COUNTED, 0).suggest(seen, number=number), value=0.5))
    assert len({observation.parameters for observation in seen}) == 32


def cyclic() -> SearchSpace:
    return space(
        IntParameter(name="window", low=1, high=4, only_if=Condition("negative", (2,))),
        IntParameter(name="negative", low=1, high=4, only_if=Condition("window", (2,))),
    )


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "parent not given": (lambda: space(SCORING), "scoring/only_if/sg"),
    "parent is fixed to another value": (lambda: space(SCORING, sg=0), "scoring/only_if/sg"),
    "value out of the parent's range": (
        lambda: space(SAMPLE, IntParameter(name="window", low=5, high=9)),
        "sample/only_if/window",
    ),
    "parent is a real number": (
        lambda: IntParameter(name="window", low=1, high=4, only_if=Condition("alpha", (0.1,))),
        "window/only_if/alpha",
    ),
    "parent is no hyperparameter": (
        lambda: IntParameter(name="window", low=1, high=4, only_if=Condition("beta", (1,))),
        "window/only_if/beta",
    ),
    "no value": (lambda: IntParameter(name="window", low=1, high=4, only_if=Condition("sg", ())), "window/only_if/sg"),
    "value the parent never has": (
        lambda: IntParameter(name="window", low=1, high=4, only_if=Condition("sg", (2,))),
        "window/only_if/sg",
    ),
    "depends on itself": (cyclic, "window/only_if/negative"),
    "otherwise never possible": (
        lambda: IntParameter(name="window", low=1, high=4, only_if=SKIP_GRAM, otherwise=0),
        "window/otherwise",
    ),
    "otherwise without a condition": (
        lambda: IntParameter(name="window", low=1, high=4, otherwise=2),
        "window/otherwise",
    ),
}


@pytest.mark.parametrize(("build", "pointer"), REFUSALS.values(), ids=REFUSALS.keys())
def test_malformed_condition_is_refused_and_the_field_named(build: Callable[[], object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        build()
    assert refused.value.pointer == f"/search_space/{pointer}"
