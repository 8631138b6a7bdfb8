"""An experiment goes through its states in order, and is what it was asked to be from its start on."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.domain.errors import Conflict, InvalidRequest
from app.domain.experiments.assignment import allocated, bucket
from app.domain.experiments.experiment import (
    EXPERIMENT_MOVES,
    LIVE_NAME,
    Decision,
    Experiment,
    ExperimentSpec,
    ExperimentState,
    Serving,
    Variant,
    check_kind,
    check_traffic,
    taken_in_layer,
)
from app.domain.experiments.metrics import MetricRole, from_preset
from app.domain.models import Bundle
from app.domain.plays import EventType
from tests.values import NOON, experiment, experiment_spec

GOAL = from_preset("seconds_per_session", MetricRole.GOAL)


def running(**changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
    draft = experiment(**changes)
    weights, share = draft.spec.weights, draft.spec.traffic
    allocation = allocated([], at=NOON, share=share, weights=weights, taken=())
    return draft.started(at=NOON, allocation=allocation, pinned={"control": Bundle(default="mdl_1")})


def decision(action: Any = "promote") -> Decision:  # noqa: ANN401 - a literal
    return Decision(action=action, variant="treatment", alias="production", generation=3, decided_at=NOON)


@pytest.mark.parametrize(("before", "after"), list(product(ExperimentState, ExperimentState)))
def test_only_the_moves_of_the_drawing_are_made(before: ExperimentState, after: ExperimentState) -> None:
    value = replace(experiment(), state=before)
    if after in EXPERIMENT_MOVES[before]:
        assert (value.moved_to(after).state, value.moved_to(after).version) == (after, 1)
    else:
        with pytest.raises(Conflict, match=before.value):
            value.moved_to(after)


def test_from_start_to_decision() -> None:
    draft = experiment()
    assert (draft.allocation, draft.assignment("u"), draft.decision, draft.is_live) == (None, None, None, False)
    started = running()
    assert (started.started_at, started.is_live, started.pinned) == (NOON, True, {"control": Bundle(default="mdl_1")})
    paused = started.moved_to(ExperimentState.PAUSED)
    assert paused.is_live
    stopped = paused.stopped(at=NOON + timedelta(days=7))
    assert (stopped.is_live, stopped.stopped_at) == (False, NOON + timedelta(days=7))
    decided = stopped.decided(decision())
    assert (decided.state, decided.decided_at, decided.decision) == (ExperimentState.DECIDED, NOON, decision())
    assert decided.version == 4


def test_of_a_decision_only_a_promotion_is_rolled_back() -> None:
    stopped = running().stopped(at=NOON)
    promoted = stopped.decided(decision())
    with pytest.raises(Conflict, match="is decided"):
        promoted.decided(decision())
    back = promoted.decided(decision("rollback"))
    assert [each.action for each in back.decisions] == ["promote", "rollback"]
    for again in (decision(), decision("rollback")):
        with pytest.raises(Conflict, match="is decided"):
            back.decided(again)
    with pytest.raises(Conflict, match="cannot become decided"):
        running().decided(decision())


def test_users_are_assigned_by_the_salts_of_experiment_and_layer() -> None:
    alone, layered = running(traffic=0.3), running(traffic=0.3, layer="home")
    assert (alone.traffic_salt, layered.traffic_salt, alone.salt) == ("exp_1-traffic", "layer-home", "exp_1")
    for number in range(50):
        found = layered.assignment(f"user {number}")
        assert found is not None
        assert found.traffic_bucket == bucket("layer-home", f"user {number}")
        assert found.bucket == bucket("exp_1", f"user {number}")
        assert (found.variant is None) == (found.traffic_bucket >= 3000)


def test_variants_are_live_under_names_that_no_alias_has() -> None:
    assert experiment().live_name("treatment") == "exp_1-2"
    assert LIVE_NAME.fullmatch(experiment().live_name("control"))


def test_a_layer_holds_what_its_experiments_ever_had() -> None:
    first = running(traffic=0.2)
    less = first.spec.shared(traffic=0.1, weights={})
    shrunk = first.changed(less, allocated(first.allocations, at=NOON, share=0.1, weights=less.weights, taken=()))
    assert shrunk.allocation is not None
    assert (shrunk.allocation.revision, shrunk.allocation.share, shrunk.spec.traffic) == (1, 0.1, 0.1)
    assert taken_in_layer([shrunk]) == set(range(2000))
    assert taken_in_layer([]) == set()


def test_a_draft_changes_without_an_allocation() -> None:
    changed = experiment().changed(experiment_spec(name="another"), None)
    assert (changed.spec.name, changed.allocations, changed.version) == ("another", (), 1)


def test_shares_change_by_the_names_of_variants() -> None:
    spec = experiment_spec().shared(traffic=0.5, weights={"treatment": 3})
    assert (spec.traffic, spec.weights) == (0.5, {"control": 1, "treatment": 3})
    with pytest.raises(InvalidRequest, match="no variant 'x'"):
        spec.shared(traffic=0.5, weights={"x": 1})


def test_variants_are_found_by_name_and_the_first_is_the_control() -> None:
    spec = experiment_spec()
    treatment = spec.variant("treatment")
    assert treatment is not None
    assert (spec.control.name, treatment.name, spec.variant("x")) == ("control", "treatment", None)


SECOND = Variant(name="treatment", alias="challenger")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"hypothesis": "h" * 2001}, "/hypothesis"),
        ({"variants": (SECOND,)}, "/variants"),
        ({"variants": (SECOND, SECOND)}, "/variants"),
        ({"variants": (replace(SECOND, weight=10_001), replace(SECOND, name="b"))}, "/variants/1/weight"),
        ({"traffic": 0.0}, "/traffic"),
        ({"segment_by": ""}, "/segment_by"),
        ({"metrics": ()}, "/metrics"),
        ({"metrics": (GOAL, GOAL)}, "/metrics"),
        ({"metrics": (replace(GOAL, role=MetricRole.SECONDARY),)}, "/metrics"),
        ({"alpha": 0.0}, "/alpha"),
        ({"power": 1.0}, "/power"),
        ({"layer": "Home page"}, "/layer"),
        ({"planned_days": 0}, "/planned_days"),
        ({"covariate_days": 366}, "/covariate_days"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        experiment_spec(**changes)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "a.b"}, "/name"),
        ({"weight": 0.0}, "/weight"),
        ({"weight": float("nan")}, "/weight"),
        ({"alias": None}, "/model_id"),
        ({"model_id": "mdl_1"}, "/model_id"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(changes: dict[str, Any], pointer: str) -> None:
    wanted: dict[str, Any] = {"name": "treatment", "alias": "challenger", **changes}
    with pytest.raises(InvalidRequest) as caught:
        Variant(**wanted)
    assert caught.value.pointer == pointer


def test_traffic_of_everybody_is_fine() -> None:
    check_traffic(1.0)


def test_what_a_variant_says_of_serving_wins() -> None:
    serving = Serving(mmr_lambda=0.5, event_weights={EventType.SKIP: -1.0})
    wishes = serving.over({"k": 5, "mmr_lambda": 1.0, "half_life_days": 7.0})
    assert wishes == {"k": 5, "mmr_lambda": 0.5, "half_life_days": 7.0, "event_weights": {EventType.SKIP: -1.0}}
    with pytest.raises(InvalidRequest) as caught:
        Serving(mmr_lambda=2.0)
    assert caught.value.pointer == "/mmr_lambda"


def test_a_specification_is_read_as_it_was_written() -> None:
    spec = experiment_spec(
        variants=(
            Variant(name="control", alias="production"),
            Variant(
                name="bundle",
                bundle=Bundle(default="m", segments={"ar": "n"}),
                serving=Serving(exclude_seen=30, event_weights={EventType.LIKE: 3.0}),
            ),
        ),
        segment_by="language",
        layer="home",
    )
    adapter = TypeAdapter(ExperimentSpec)
    assert adapter.validate_python(adapter.dump_python(spec, mode="json")) == spec


def test_everybody_in_an_interleaving_experiment_gets_one_list() -> None:
    allocation = allocated([], at=NOON, share=0.5, weights={"control": 1, "treatment": 1}, taken=())
    draft = replace(experiment(), kind="interleaving")
    running = draft.started(at=NOON, allocation=allocation, pinned={})
    found = [running.assignment(f"user {number}") for number in range(100)]
    assert {each.variant for each in found if each is not None} == {"interleaved", None}
    assert running.exposed_to == ("interleaved",)
    assert experiment().exposed_to == ("control", "treatment")


def test_a_list_is_drafted_from_two_variants() -> None:
    three = experiment_spec(variants=tuple(Variant(name=name, alias="production") for name in "abc"))
    check_kind("assignment", three)
    check_kind("interleaving", experiment_spec())
    with pytest.raises(InvalidRequest) as refused:
        check_kind("interleaving", three)
    assert refused.value.pointer == "/variants"


def test_the_first_goal_stands_for_an_experiment() -> None:
    metrics = (from_preset("skip_rate", MetricRole.SECONDARY), from_preset("completion", MetricRole.GOAL))
    assert experiment_spec(metrics=metrics).goal.name == "completion"
