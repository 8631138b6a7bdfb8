import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import LIMITS, TrainingParameters
from app.domain.tuning.search_space import (
    INTEGERS,
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Preset,
    Scale,
    SearchSpace,
    Value,
    preset,
)

COORDINATES = st.floats(0, 1)
NAN = float("nan")
ALPHA = FloatParameter(name="alpha", low=0.001, high=0.1, scale="log")
WINDOW = IntParameter(name="window", low=1, high=4)
SG = CategoricalParameter(name="sg", choices=(0, 1))


def space(*parameters: Parameter, **fixed: Value) -> SearchSpace:
    return SearchSpace(parameters=parameters or (ALPHA,), fixed=fixed)


def presets() -> list[SearchSpace]:
    names: tuple[Preset, ...] = ("article", "extended")
    return [preset(name, epochs=3, overrides={}) for name in names]


@st.composite
def float_parameters(draw: st.DrawFn) -> FloatParameter:
    name = draw(st.sampled_from(sorted(set(LIMITS) - INTEGERS)))
    scale: Scale = draw(st.sampled_from(("linear", "log")))
    low, high = sorted(draw(st.tuples(*[st.floats(*LIMITS[name])] * 2)))
    assume(high - low > 1e-6 * max(abs(low), abs(high)))
    assume(scale == "linear" or low >= 1e-9)
    return FloatParameter(name=name, low=low, high=high, scale=scale)


@st.composite
def int_parameters(draw: st.DrawFn) -> IntParameter:
    name = draw(st.sampled_from(sorted(INTEGERS)))
    least, most = (int(limit) for limit in LIMITS[name])
    low = draw(st.integers(least, most - 1))
    scale: Scale = draw(st.sampled_from(("linear", "log"))) if low > 0 else "linear"
    return IntParameter(name=name, low=low, high=draw(st.integers(low + 1, most)), scale=scale)


@given(float_parameters(), COORDINATES)
def test_real_value_stays_in_bounds_and_survives_encoding(parameter: FloatParameter, x: float) -> None:
    value = parameter.decode(np.array([x]))
    assert parameter.low <= value <= parameter.high
    assert parameter.decode(np.array(parameter.encode(value))) == value


@given(int_parameters(), COORDINATES)
def test_whole_value_stays_in_bounds_and_survives_encoding(parameter: IntParameter, x: float) -> None:
    value = parameter.decode(np.array([x]))
    assert parameter.low <= value <= parameter.high
    assert parameter.decode(np.array(parameter.encode(value))) == value


@pytest.mark.parametrize("searched", presets(), ids=["article", "extended"])
@given(coordinates=st.lists(COORDINATES, min_size=12, max_size=12))
def test_point_of_a_preset_survives_encoding(searched: SearchSpace, coordinates: list[float]) -> None:
    point = np.array(coordinates[: searched.n_dims])
    parameters = searched.decode(point)
    encoded = searched.encode(parameters)
    assert encoded.shape == (searched.n_dims,)
    assert ((encoded >= 0) & (encoded <= 1)).all()
    assert searched.decode(encoded) == parameters


def test_bounds_lie_at_the_ends_of_the_cube() -> None:
    assert ALPHA.decode(np.array([0.0])) == 0.001
    assert ALPHA.decode(np.array([1.0])) == 0.1
    assert (WINDOW.decode(np.array([0.0])), WINDOW.decode(np.array([1.0]))) == (1, 4)


def test_log_scale_puts_the_geometric_mean_in_the_middle() -> None:
    assert ALPHA.decode(np.array([0.5])) == pytest.approx(0.01, rel=1e-9)
    assert ALPHA.encode(0.01) == [pytest.approx(0.5)]


def test_linear_scale_puts_the_mean_in_the_middle() -> None:
    exponent = FloatParameter(name="ns_exponent", low=-1.0, high=0.5)
    assert exponent.decode(np.array([0.5])) == -0.25
    assert exponent.encode(-0.25) == [0.5]


def test_every_whole_number_is_equally_likely() -> None:
    cells = (np.arange(40_000) + 0.5) / 40_000
    assert Counter(WINDOW.decode(np.array([x])) for x in cells) == dict.fromkeys((1, 2, 3, 4), 10_000)


def test_whole_numbers_on_a_log_scale_have_cells_of_their_log_width() -> None:
    epochs = IntParameter(name="epochs", low=1, high=7, scale="log")
    cells = (np.arange(3_000) + 0.5) / 3_000
    drawn = Counter(epochs.decode(np.array([x])) for x in cells)
    assert drawn[1] == 1_000
    assert drawn[2] + drawn[3] == 1_000


def test_values_outside_the_space_are_encoded_at_its_nearest_edge() -> None:
    assert (ALPHA.encode(1.0), ALPHA.encode(0.0)) == ([1.0], [0.0])
    assert WINDOW.encode(90) == [1.0]
    assert SG.encode(2) == [0.0, 0.0]


def test_largest_coordinate_chooses_and_the_first_wins_a_tie() -> None:
    scoring = CategoricalParameter(name="scoring", choices=("sum", "input", "output"))
    assert scoring.decode(np.array([0.2, 0.9, 0.3])) == "input"
    assert scoring.decode(np.array([0.5, 0.5, 0.5])) == "sum"
    assert scoring.encode("output") == [0.0, 0.0, 1.0]


def test_snapping_leaves_corners_of_choices_and_nothing_else_changed() -> None:
    searched = space(ALPHA, SG, WINDOW)
    points = np.array([[0.3, 0.4, 0.6, 0.7], [0.1, 0.5, 0.5, 0.9]])
    snapped = searched.snapped(points)
    assert snapped.tolist() == [[0.3, 0.0, 1.0, 0.7], [0.1, 1.0, 0.0, 0.9]]
    assert points[0, 1] == 0.4
    assert [searched.decode(point) for point in points] == [searched.decode(point) for point in snapped]


def test_fixed_values_are_part_of_every_point() -> None:
    searched = space(ALPHA, window=7, scoring="sum", sg=1.0)
    assert searched.decode(np.array([1.0])) == TrainingParameters(alpha=0.1, window=7, sg=1, scoring=Scoring.SUM)


def test_unnamed_hyperparameters_have_their_defaults() -> None:
    assert space(WINDOW).decode(np.array([0.0])) == replace(TrainingParameters(), window=1)


def test_space_does_not_follow_changes_of_the_fixed_values_it_was_made_from() -> None:
    fixed: dict[str, Value] = {"window": 7}
    searched = SearchSpace(parameters=(ALPHA,), fixed=fixed)
    fixed["window"] = 9
    assert searched.fixed == {"window": 7}


@pytest.mark.parametrize("point", [[0.5, 0.5], [], [NAN], [math.inf]])
def test_point_of_another_shape_or_no_number_is_refused(point: list[float]) -> None:
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        space().decode(np.array(point))


def test_points_are_counted_and_listed_where_all_values_are() -> None:
    scoring = CategoricalParameter(name="scoring", choices=("sum", "input"))
    searched = space(WINDOW, scoring)
    assert searched.n_points == 8
    listed = [(found.window, found.scoring.value) for found in map(searched.at, range(8))]
    assert listed == list(product((1, 2, 3, 4), ("sum", "input")))


def test_points_with_a_free_real_number_cannot_be_counted() -> None:
    searched = space(WINDOW, ALPHA)
    assert searched.n_points is None
    with pytest.raises(ValueError, match="alpha"):
        searched.at(0)


def test_articles_preset_searches_four_hyperparameters_of_skip_gram() -> None:
    searched = preset("article", epochs=5, overrides={})
    assert {parameter.name: (parameter.low, parameter.high, parameter.scale) for parameter in searched.parameters} == {  # type: ignore[union-attr]
        "vector_size": (10, 200, "linear"),
        "window": (1, 40, "linear"),
        "negative": (1, 40, "linear"),
        "alpha": (0.001, 0.1, "log"),
    }
    assert searched.fixed == {"epochs": 5, "sg": 1, "ns_exponent": 0.75, "sample": 1e-3, "scoring": "input"}


def test_extended_preset_searches_every_hyperparameter() -> None:
    searched = preset("extended", epochs=5, overrides={})
    assert {parameter.name for parameter in searched.parameters} == set(asdict(TrainingParameters()))
    assert searched.fixed == {}
    assert searched.n_dims == 4 + 1 + 2 + 1 + 1 + 3


def test_override_replaces_fixes_or_frees_a_hyperparameter() -> None:
    searched = preset("article", epochs=3, overrides={"window": WINDOW, "negative": 20, "sg": SG})
    assert [parameter.name for parameter in searched.parameters] == ["vector_size", "window", "alpha", "sg"]
    assert WINDOW in searched.parameters
    assert searched.fixed["negative"] == 20


@pytest.mark.parametrize("searched", presets(), ids=["article", "extended"])
def test_space_survives_json(searched: SearchSpace) -> None:
    stored = TypeAdapter(SearchSpace)
    assert stored.validate_json(stored.dump_json(searched)) == searched


def test_whole_bounds_of_a_real_parameter_stay_real_in_json() -> None:
    searched = space(FloatParameter(name="ns_exponent", low=-1, high=1), sample=0, alpha=1)
    stored = TypeAdapter(SearchSpace)
    again = stored.validate_json(stored.dump_json(searched))
    assert isinstance(again.parameters[0], FloatParameter)
    assert again.decode(np.array([0.3])) == searched.decode(np.array([0.3]))


def wrong(kind: type[Parameter], **fields: object) -> Callable[[], object]:
    return lambda: kind(**fields)  # type: ignore[arg-type]


REFUSALS = {
    "nothing to search": (lambda: SearchSpace(parameters=(), fixed={"window": 5}), ""),
    "unknown name": (wrong(FloatParameter, name="beta", low=0, high=1), "/beta"),
    "odd name": (wrong(IntParameter, name="a/b~", low=0, high=1), "/a~1b~0"),
    "unknown choice of name": (wrong(CategoricalParameter, name="", choices=(0, 1)), "/"),
    "unknown fixed name": (lambda: space(beta=1), "/beta"),
    "unknown override": (lambda: preset("article", epochs=3, overrides={"beta": 1}), "/beta"),
    "override under another name": (lambda: preset("article", epochs=3, overrides={"sg": WINDOW}), "/sg/name"),
    "twice": (lambda: space(WINDOW, ALPHA, WINDOW), "/window"),
    "free and fixed": (lambda: space(WINDOW, window=2), "/window"),
    "real for whole": (wrong(FloatParameter, name="window", low=1, high=5), "/window/kind"),
    "real for scoring": (wrong(FloatParameter, name="scoring", low=1, high=5), "/scoring/kind"),
    "whole for real": (wrong(IntParameter, name="alpha", low=0, high=1), "/alpha/kind"),
    "whole for scoring": (wrong(IntParameter, name="scoring", low=0, high=1), "/scoring/kind"),
    "whole with a fraction": (wrong(IntParameter, name="window", low=1, high=4.5), "/window/high"),
    "whole as real": (wrong(IntParameter, name="window", low=1.0, high=4), "/window/low"),
    "whole as truth": (wrong(IntParameter, name="window", low=True, high=4), "/window/low"),
    "below the limit": (wrong(IntParameter, name="window", low=0, high=4), "/window/low"),
    "above the limit": (wrong(IntParameter, name="window", low=1, high=101), "/window/high"),
    "far above": (wrong(IntParameter, name="window", low=1, high=10**5_000), "/window/high"),
    "low at high": (wrong(IntParameter, name="window", low=4, high=4), "/window/low"),
    "low above high": (wrong(FloatParameter, name="alpha", low=0.1, high=0.01), "/alpha/low"),
    "nan": (wrong(FloatParameter, name="alpha", low=NAN, high=0.01), "/alpha/low"),
    "infinite": (wrong(FloatParameter, name="alpha", low=0.01, high=math.inf), "/alpha/high"),
    "text": (wrong(FloatParameter, name="alpha", low=0.01, high="1"), "/alpha/high"),
    "nothing": (wrong(FloatParameter, name="alpha", low=None, high=1), "/alpha/low"),
    "log from zero": (wrong(FloatParameter, name="sample", low=0, high=1, scale="log"), "/sample/low"),
    "whole log from zero": (wrong(IntParameter, name="sg", low=0, high=1, scale="log"), "/sg/low"),
    "unknown scale": (wrong(FloatParameter, name="alpha", low=0.01, high=1, scale="cubic"), "/alpha/scale"),
    "one choice": (wrong(CategoricalParameter, name="sg", choices=(1,)), "/sg/choices"),
    "no choice": (wrong(CategoricalParameter, name="sg", choices=()), "/sg/choices"),
    "many choices": (wrong(CategoricalParameter, name="epochs", choices=tuple(range(1, 52))), "/epochs/choices"),
    "equal choices": (wrong(CategoricalParameter, name="sg", choices=(0, 1, 1.0)), "/sg/choices/2"),
    "choice out of limits": (wrong(CategoricalParameter, name="sg", choices=(0, 2)), "/sg/choices/1"),
    "choice of no kind": (wrong(CategoricalParameter, name="scoring", choices=("input", 1)), "/scoring/choices/1"),
    "unknown scoring": (lambda: space(scoring="product"), "/scoring"),
    "fraction fixed for whole": (lambda: space(window=2.5), "/window"),
    "infinity fixed for whole": (lambda: space(window=math.inf), "/window"),
    "text fixed": (lambda: space(window="2"), "/window"),
    "truth fixed": (lambda: space(sg=True), "/sg"),
    "fixed out of limits": (lambda: space(window=1_000), "/window"),
    "list fixed": (lambda: space(scoring=["input"]), "/scoring"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("build", "pointer"), REFUSALS.values(), ids=REFUSALS.keys())
def test_malformed_space_is_refused_and_the_field_named(build: Callable[[], object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        build()
    assert refused.value.pointer == f"/search_space{pointer}"
    assert 0 < len(str(refused.value)) < 200


@pytest.mark.parametrize("epochs", [0, 1_001, 2.5, NAN])
def test_epochs_out_of_range_are_refused(epochs: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        preset("article", epochs=epochs, overrides={})
    assert refused.value.pointer == "/epochs"


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        preset("large", epochs=3, overrides={})  # type: ignore[arg-type]
    assert refused.value.pointer == "/preset"
