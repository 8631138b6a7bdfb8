import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from app.domain.errors import InvalidRequest
from app.domain.measurement import Estimate
from app.domain.tuning.stopping import NoImprovement, SearchSoFar, Stopping, StoppingRule, due, noise_floor

RULES = Stopping(
    max_trials=10,
    max_run_s=60.0,
    no_improvement=NoImprovement(n_trials=3, min_delta=0.01),
    target=0.5,
    min_expected_improvement=0.5,
)
YOUNG = SearchSoFar(n_begun=2, run_s=5.0, values=[0.1, 0.2], best=0.2, noise_floor=0.02, expected_improvement=0.05)


def test_without_rules_nothing_stops_a_study() -> None:
    late = SearchSoFar(
        n_begun=9_999, run_s=1e9, values=[0.9] + [0.1] * 99, best=0.9, noise_floor=0.1, expected_improvement=0.0
    )
    assert due(Stopping(), late) is None
    assert not Stopping().has_rules


def test_young_study_goes_on() -> None:
    assert RULES.has_rules
    assert due(RULES, YOUNG) is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"n_begun": 9}, None),
        ({"n_begun": 10}, StoppingRule.MAX_TRIALS),
        ({"run_s": 59.9}, None),
        ({"run_s": 60.0}, StoppingRule.MAX_RUN_S),
        ({"best": 0.499}, None),
        ({"best": 0.5}, StoppingRule.TARGET),
        ({"best": None}, None),
        ({"values": [0.2, 0.1, 0.1]}, None),
        ({"values": [0.2, 0.1, 0.1, 0.1]}, StoppingRule.NO_IMPROVEMENT),
        ({"values": [0.2, 0.1, 0.1, 0.21]}, StoppingRule.NO_IMPROVEMENT),
        ({"values": [0.2, 0.1, 0.1, 0.22]}, None),
        ({"values": [0.1, 0.2, 0.1, 0.1]}, None),
        ({"values": [0.2, None, 0.1, None]}, StoppingRule.NO_IMPROVEMENT),
        ({"values": [0.2, None, None, None]}, StoppingRule.NO_IMPROVEMENT),
        ({"values": [None, None, None, None]}, None),
        ({"expected_improvement": 0.01}, None),
        ({"expected_improvement": 0.0099}, StoppingRule.MIN_EXPECTED_IMPROVEMENT),
        ({"expected_improvement": None}, None),
        ({"expected_improvement": 0.0, "noise_floor": None}, None),
    ],
)
def test_each_rule_says_stop_from_its_limit_on(changes: dict[str, object], rule: StoppingRule | None) -> None:
    found = due(RULES, replace(YOUNG, **changes))  # type: ignore[arg-type]
    assert (None if found is None else found[0]) is rule
    if found is not None:
        assert found[1].endswith(".")
        assert due(RULES.without(found[0]), replace(YOUNG, **changes)) is None  # type: ignore[arg-type]


def test_reason_names_limit_and_value() -> None:
    found = due(RULES, replace(YOUNG, expected_improvement=0.004))
    assert found is not None
    assert "0.004" in found[1]
    assert "0.5 of the noise floor, 0.02" in found[1]


def test_noise_floor_is_the_standard_error_of_a_95_percent_interval() -> None:
    assert noise_floor(Estimate(value=0.3, low=0.3 - 1.96 * 0.02, high=0.3 + 1.96 * 0.02, n=9)) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("pointer", "rules"),
    [
        ("max_trials", {"max_trials": 0}),
        ("max_trials", {"max_trials": 10_001}),
        ("max_run_s", {"max_run_s": 0.5}),
        ("max_run_s", {"max_run_s": math.inf}),
        ("max_run_s", {"max_run_s": math.nan}),
        ("target", {"target": -0.1}),
        ("target", {"target": 1.1}),
        ("min_expected_improvement", {"min_expected_improvement": -1}),
        ("min_expected_improvement", {"min_expected_improvement": 101}),
    ],
)
def test_limit_out_of_range_is_refused_and_named(pointer: str, rules: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Stopping(**rules)  # type: ignore[arg-type]
    assert refused.value.pointer == f"/stopping/{pointer}"
    assert f"stopping.{pointer}" in str(refused.value)


@pytest.mark.parametrize(("n_trials", "min_delta", "field"), [(0, 0.0, "n_trials"), (1, -0.1, "min_delta")])
def test_no_improvement_out_of_range_is_refused_and_named(n_trials: int, min_delta: float, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        NoImprovement(n_trials=n_trials, min_delta=min_delta)
    assert refused.value.pointer == f"/stopping/no_improvement/{field}"


def test_rules_survive_json() -> None:
    stored = TypeAdapter(Stopping)
    assert stored.validate_json(stored.dump_json(RULES)) == RULES
    assert stored.validate_json("{}") == Stopping()
