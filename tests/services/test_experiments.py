"""Experiments from the draft to the decision: frozen once started, exclusive in a layer, deciding moves the alias."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import pytest

from app.adapters.clock import UuidIds
from app.domain.errors import (
    Conflict,
    GatesRefused,
    InvalidRequest,
    LayerFull,
    NotFound,
    StaleVersion,
)
from app.domain.experiments.assignment import n_buckets
from app.domain.experiments.experiment import Experiment, ExperimentState, Variant
from app.domain.gates import GateLimits
from app.domain.models import AliasMove, Bundle, Model
from app.services.experiments import MAX_ALLOCATIONS, ExperimentService, Wanted
from app.services.exposing import ExposingService
from app.services.idempotency import Idempotency, Replay
from tests.fakes.live_models import FixedModels
from tests.services.conftest import House
from tests.services.player import angle_model
from tests.services.test_models import built, completed_study, promoted
from tests.services.trial_ground import Server
from tests.values import NOON, experiment_spec

STRICT = GateLimits(paired_rule="better")
"""What no model passes beside its like."""


@dataclass
class Ground:
    """A house with three models: `old` is live as production, `tuned` as challenger."""

    house: House
    service: ExperimentService
    old: Model
    tuned: Model
    live: FixedModels

    def drafted(self, **changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
        found = self.service.create(experiment_spec(**changes))
        assert isinstance(found, Experiment)
        return found

    def started(self, **changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
        return self.service.start(self.drafted(**changes).id)

    def stopped(self, **changes: Any) -> Experiment:  # noqa: ANN401 - any field of the specification
        return self.service.stop(self.started(**changes).id)

    def decide(self, value: Experiment, action: Literal["promote", "rollback"], **how: Any) -> Experiment:  # noqa: ANN401
        return self.service.decide(value.id, Wanted(action=action, **how))

    def moves(self) -> list[AliasMove]:
        return self.house.aliases.moves("production", limit=20).rows


@pytest.fixture
def ground(house: House) -> Ground:
    live = FixedModels(production=angle_model())
    service = ExperimentService(house.units, ids=UuidIds(), aliases=house.aliases, live=live)
    old = built(house, completed_study(house))
    tuned = built(house, completed_study(house), alias="challenger")
    return Ground(house, service, old, tuned, live)


def test_a_draft_is_found_changed_and_deleted(ground: Ground) -> None:
    draft = ground.drafted()
    assert (draft.state, draft.id[:4], draft.version) == (ExperimentState.DRAFT, "exp_", 0)
    facts = ground.service.get(draft.id)
    assert (facts.experiment, facts.counts) == (draft, {})
    changed = ground.service.change(draft.id, {"name": "another", "layer": "home", "weights": {"treatment": 3}})
    assert (changed.spec.name, changed.spec.layer, changed.spec.weights) == (
        "another",
        "home",
        {"control": 1, "treatment": 3},
    )
    assert (changed.version, changed.allocations) == (1, ())
    assert ground.service.change(draft.id, {"name": "another"}).version == 1
    ground.service.delete(draft.id)
    for ask in (ground.service.get, ground.service.delete, ground.service.start):
        with pytest.raises(NotFound):
            ask(draft.id)


def test_lists_are_paged_the_newest_first(ground: Ground) -> None:
    ids = [ground.drafted(name=str(number)).id for number in range(3)]
    first = ground.service.list(limit=2, cursor=None)
    then = ground.service.list(limit=2, cursor=first.next_cursor)
    assert [each.id for each in first.rows + then.rows] == ids[::-1]
    assert then.next_cursor is None


def test_the_same_key_drafts_once(ground: Ground) -> None:
    key: Idempotency[Experiment] = Idempotency("key", "hash", lambda value: {"id": value.id})
    first = ground.service.create(experiment_spec(), idempotency=key, created_by="key_1")
    assert isinstance(first, Experiment)
    assert first.created_by == "key_1"
    assert ground.service.create(experiment_spec(), idempotency=key) == Replay({"id": first.id})


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"alias": "Production!"}, "/alias"),
        ({"alias": "exp_1-2"}, "/alias"),
        ({"variants": (Variant(name="a", alias="production"), Variant(name="b", alias="none"))}, "/variants/1/alias"),
        (
            {"variants": (Variant(name="a", model_id="mdl_none"), Variant(name="b", alias="production"))},
            "/variants/0/model_id",
        ),
        (
            {
                "variants": (
                    Variant(name="a", bundle=Bundle(default="mdl_none")),
                    Variant(name="b", alias="production"),
                )
            },
            "/variants/0/bundle/default",
        ),
        ({"segment_by": "mood"}, "/segment_by"),
    ],
)
def test_what_is_not_there_cannot_be_tried(ground: Ground, changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ground.drafted(**changes)
    assert refused.value.pointer == pointer


def test_a_column_is_looked_for_where_a_model_serves(ground: Ground) -> None:
    assert ground.drafted(segment_by="language").spec.segment_by == "language"
    ground.live.live.clear()
    assert ground.drafted(segment_by="mood").spec.segment_by == "mood"  # nothing can tell yet


def test_a_model_that_is_not_ready_is_not_tried(ground: Ground) -> None:
    building = promoted(ground.house, completed_study(ground.house), "third")
    with pytest.raises(Conflict, match="building"):
        ground.drafted(variants=(Variant(name="a", model_id=building.id), Variant(name="b", alias="production")))


def test_its_models_are_those_of_the_start(ground: Ground) -> None:
    bundle = Bundle(default=ground.old.id)
    variants = (
        Variant(name="alias", alias="production"),
        Variant(name="model", model_id=ground.tuned.id),
        Variant(name="bundle", bundle=bundle),
    )
    draft = ground.drafted(variants=variants, traffic=0.3)
    ground.house.clock.advance(60)
    value = ground.service.start(draft.id)
    assert value.pinned == {"alias": bundle, "model": Bundle(default=ground.tuned.id), "bundle": bundle}
    assert (value.state, value.started_at, value.version) == (ExperimentState.RUNNING, NOON + timedelta(seconds=60), 1)
    assert value.allocation is not None
    assert (value.allocation.traffic, value.allocation.at) == (((0, 3000),), value.started_at)
    ground.house.aliases.assign("production", model_id=ground.tuned.id)
    assert ground.service.get(value.id).experiment.pinned == value.pinned


def test_servers_load_the_variants_of_what_runs(ground: Ground) -> None:
    value = ground.started()
    ground.drafted()
    exposing: ExposingService = Server(ground.house.units).exposing
    targets = exposing.targets()
    assert [(target.alias.name, target.alias.model_id) for target in targets] == [
        (f"{value.id}-1", ground.old.id),
        (f"{value.id}-2", ground.tuned.id),
    ]
    assert all(target.files.startswith(target.alias.model_id) for target in targets)
    ground.service.pause(value.id)
    assert len(exposing.targets()) == 2
    ground.service.stop(value.id)
    assert exposing.targets() == []


def test_it_goes_through_its_states_and_no_others(ground: Ground) -> None:
    service = ground.service
    draft = ground.drafted()
    for move in (service.pause, service.resume, service.stop):
        with pytest.raises(Conflict, match="draft"):
            move(draft.id)
    assert service.start(draft.id).state is ExperimentState.RUNNING
    for refused in (service.start, service.resume, service.delete):
        with pytest.raises(Conflict, match="running"):
            refused(draft.id)
    assert service.pause(draft.id).state is ExperimentState.PAUSED
    with pytest.raises(Conflict, match="paused"):
        service.start(draft.id)
    assert service.resume(draft.id).state is ExperimentState.RUNNING
    stopped = service.stop(draft.id)
    assert (stopped.state, stopped.stopped_at) == (ExperimentState.STOPPED, NOON)
    for refused in (service.start, service.pause, service.resume, service.stop, service.delete):
        with pytest.raises(Conflict, match="stopped"):
            refused(draft.id)


def test_every_change_may_name_the_version_that_it_is_of(ground: Ground) -> None:
    service = ground.service
    value = ground.drafted()
    with pytest.raises(StaleVersion) as stale:
        service.start(value.id, if_match=3)
    assert (stale.value.expected, stale.value.actual) == (3, 0)
    assert "Experiment" in str(stale.value)
    service.change(value.id, {"traffic": 0.5}, if_match=0)
    service.start(value.id, if_match=1)
    for move in (service.pause, service.stop):
        with pytest.raises(StaleVersion):
            move(value.id, if_match=1)
    with pytest.raises(StaleVersion):
        service.change(value.id, {"traffic": 0.4}, if_match=1)
    with pytest.raises(StaleVersion):
        ground.decide(value, "rollback", if_match=1)


def test_once_started_only_shares_change(ground: Ground) -> None:
    value = ground.started()
    for changes in ({"name": "another"}, {"traffic": 0.5, "alpha": 0.1}):
        with pytest.raises(Conflict, match="frozen"):
            ground.service.change(value.id, changes)
    ground.house.clock.advance(60)
    changed = ground.service.change(value.id, {"traffic": 0.5, "weights": {"treatment": 3}})
    assert [(each.revision, each.share, each.weights) for each in changed.allocations] == [
        (0, 1.0, {"control": 1, "treatment": 1}),
        (1, 0.5, {"control": 1, "treatment": 3}),
    ]
    ground.service.pause(value.id)
    assert len(ground.service.change(value.id, {"traffic": 0.6}).allocations) == 3
    ground.service.stop(value.id)
    with pytest.raises(Conflict, match="stopped"):
        ground.service.change(value.id, {"traffic": 0.7})


def test_shares_do_not_change_for_ever(ground: Ground) -> None:
    value = ground.started()
    with ground.house.units() as unit:
        unit.experiments.lock(value.id)
        unit.experiments.save(replace(value, allocations=value.allocations * MAX_ALLOCATIONS))
        unit.commit()
    with pytest.raises(Conflict, match="99 times"):
        ground.service.change(value.id, {"traffic": 0.7})


def test_experiments_of_a_layer_share_no_user(ground: Ground) -> None:
    first = ground.started(layer="home", traffic=0.6)
    with pytest.raises(LayerFull):
        ground.started(layer="home", traffic=0.5)
    second = ground.started(layer="home", traffic=0.4)
    other = ground.started(layer="search", traffic=1.0)
    alone = ground.started()
    buckets = [each.allocation.traffic for each in (first, second) if each.allocation is not None]
    assert buckets == [((0, 6000),), ((6000, 10_000),)]
    assert (other.traffic_salt, alone.traffic_salt) == ("layer-search", f"{alone.id}-traffic")
    for number in range(300):
        found = [each.assignment(f"user {number}") for each in (first, second)]
        assert [each is not None and each.variant is not None for each in found].count(True) == 1
    with pytest.raises(LayerFull):
        ground.service.change(second.id, {"traffic": 0.5})
    ground.service.change(first.id, {"traffic": 0.1})
    with pytest.raises(LayerFull):  # its users of before may have seen it
        ground.service.change(second.id, {"traffic": 0.5})
    ground.service.stop(first.id)
    assert ground.service.change(second.id, {"traffic": 1.0}).spec.traffic == 1.0


def test_two_that_start_at_once_in_a_layer_share_no_user(ground: Ground) -> None:
    drafts = [ground.drafted(layer="home", traffic=0.25) for _ in range(6)]

    def start(draft: Experiment) -> Experiment | None:
        try:
            return ground.service.start(draft.id)
        except LayerFull:
            return None

    with ThreadPoolExecutor(6) as threads:
        started = [value for value in threads.map(start, drafts) if value is not None]
    held = [each.allocation.traffic for each in started if each.allocation is not None]
    assert len(started) == 4
    assert sum(map(n_buckets, held)) == 10_000
    assert len({ranges for ranges in held}) == 4


def test_promoting_moves_the_alias_and_the_move_names_the_experiment(ground: Ground) -> None:
    value = ground.stopped()
    ground.house.clock.advance(5)
    decided = ground.decide(value, "promote", variant="treatment", reason="longer", decided_by="key_1")
    decision = decided.decision
    assert decision is not None
    assert (decided.state, decided.decided_at) == (ExperimentState.DECIDED, NOON + timedelta(seconds=5))
    assert (decision.action, decision.variant, decision.generation) == ("promote", "treatment", 2)
    assert (decision.reason, decision.decided_by, decision.alias) == ("longer", "key_1", "production")
    alias = ground.house.aliases.get("production")
    assert (alias.model_id, alias.generation) == (ground.tuned.id, 2)
    move = ground.moves()[0]
    assert (move.reason, move.experiment_id, move.moved_by) == ("experiment", value.id, "key_1")
    assert move.reports
    assert ground.service.get(value.id).experiment == decided
    with pytest.raises(Conflict, match="decided"):
        ground.decide(value, "promote", variant="treatment")


def test_a_promotion_is_rolled_back_by_the_experiment_too(ground: Ground) -> None:
    value = ground.stopped()
    ground.decide(value, "promote", variant="treatment")
    back = ground.decide(value, "rollback", reason="complaints")
    assert [(each.action, each.generation) for each in back.decisions] == [("promote", 2), ("rollback", 3)]
    assert ground.house.aliases.get("production").model_id == ground.old.id
    assert [(move.reason, move.experiment_id) for move in ground.moves()] == [
        ("rollback", value.id),
        ("experiment", value.id),
        ("promotion", None),
    ]
    with pytest.raises(Conflict, match="is decided"):
        ground.decide(value, "rollback")


def test_what_moved_since_is_not_rolled_back(ground: Ground) -> None:
    value = ground.stopped()
    ground.decide(value, "promote", variant="treatment")
    ground.house.aliases.assign("production", model_id=ground.old.id)
    with pytest.raises(Conflict, match="has moved since"):
        ground.decide(value, "rollback")
    assert ground.house.aliases.get("production").generation == 3


def test_a_gate_may_refuse_a_promotion_and_a_reason_overrides_it(ground: Ground) -> None:
    value = ground.stopped()
    with pytest.raises(GatesRefused):
        ground.decide(value, "promote", variant="treatment", gates=GateLimits(required=("paired",)))  # type: ignore[arg-type]
    assert ground.service.get(value.id).experiment.state is ExperimentState.STOPPED
    ground.decide(
        value,
        "promote",
        variant="treatment",
        gates=GateLimits(required=("paired",)),  # type: ignore[arg-type]
        override_reason="live listeners say so",
    )
    assert ground.moves()[0].override_reason == "live listeners say so"


def test_promoting_what_is_live_moves_nothing(ground: Ground) -> None:
    value = ground.stopped()
    decided = ground.decide(value, "promote", variant="control")
    assert decided.decision is not None
    assert decided.decision.generation is None
    assert len(ground.moves()) == 1
    with pytest.raises(Conflict, match="moved nothing"):
        ground.decide(value, "rollback")


def test_rolling_back_moves_the_alias_only_where_it_serves_another_variant(ground: Ground) -> None:
    untouched = ground.stopped()
    assert [each.generation for each in ground.decide(untouched, "rollback").decisions] == [None]
    canary = ground.started()
    ground.house.aliases.assign("production", model_id=ground.tuned.id)
    ground.service.stop(canary.id)
    decided = ground.decide(canary, "rollback")
    assert decided.decision is not None
    assert (decided.decision.variant, decided.decision.generation) == ("control", 3)
    assert ground.house.aliases.get("production").model_id == ground.old.id
    assert (ground.moves()[0].reason, ground.moves()[0].experiment_id) == ("experiment", canary.id)


def test_a_decision_that_makes_no_sense_is_refused(ground: Ground) -> None:
    value = ground.started()
    for variant in (None, "none"):
        with pytest.raises(InvalidRequest) as refused:
            ground.decide(value, "promote", variant=variant)
        assert refused.value.pointer == "/variant"
    with pytest.raises(InvalidRequest):
        ground.decide(value, "rollback", variant="control")
    for action, variant in (("promote", "treatment"), ("rollback", None)):
        with pytest.raises(Conflict, match="running"):
            ground.decide(value, action, variant=variant)  # type: ignore[arg-type]
    assert len(ground.moves()) == 1


def test_without_an_alias_for_everybody_else_nothing_starts(ground: Ground) -> None:
    draft = ground.drafted(alias="nowhere")
    with pytest.raises(Conflict, match="nowhere"):
        ground.service.start(draft.id)
