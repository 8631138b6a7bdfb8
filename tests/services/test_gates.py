"""An alias moves when the gates let it, against them for a reason, and back without asking."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.adapters.ranks import write_ranks
from app.domain.errors import Conflict, GatesRefused, InvalidRequest
from app.domain.gates import GateLimits, GateName, GateState
from app.domain.models import Fit, IndexFacts, Latency, Model, ModelState, Rival
from app.domain.tuning.study import Study
from app.domain.tuning.trial import TrialOutcome
from app.services.artifacts import MODELS
from app.services.leasing import artifact_name
from tests.services.conftest import House
from tests.values import N_OF_SEGMENT, measured_on, outcome, ranks_of, study_spec

INDEX = IndexFacts(kind="flat", n_songs=4, dim=10, n_neighbours=3, recall=1.0)
LATENCY = Latency(p50_ms=0.1, p99_ms=0.2, n_searches=200)
SEGMENTS = {"ar": N_OF_SEGMENT, "en": N_OF_SEGMENT}


def study_with(house: House, dataset_id: str, hits: Sequence[int]) -> str:
    """A completed study whose winner had so many hits in each segment of the test pairs."""
    study = house.studies.create(study_spec(dataset_id, n_initial=1, n_iterations=0))
    assert isinstance(study, Study)
    search = house.trials.claim("worker")
    assert search is not None
    house.trials.complete(search.claim, outcome(0.2), staged=house.staged())
    confirmation = house.trials.claim("worker")
    assert confirmation is not None
    kept, found = house.staged(), ranks_of(hits)
    write_ranks(kept, {"test": found})
    measured = TrialOutcome(validation=None, test=measured_on(found), has_ranks=True)
    house.trials.complete(confirmation.claim, measured, staged=None, ranks=kept)
    return study.id


def built(
    house: House,
    study_id: str,
    *,
    segment: str | None = None,
    gates: GateLimits | None = None,
    override_reason: str | None = None,
    rival_hits: Sequence[int] | None = None,
) -> Model:
    """A model of the study that was to go live."""
    house.models.promote(study_id, segment=segment, gates=gates, override_reason=override_reason, fit=Fit.TRIAL)
    work = house.models.claim("worker")
    assert work is not None
    staged, rival = house.staged(), None
    if rival_hits is not None:
        assert work.rival is not None
        write_ranks(staged, {"test": ranks_of(rival_hits)})
        rival = Rival(model_id=work.rival.id, measurement=measured_on(ranks_of(rival_hits)))
    return house.models.complete(work.claim, staged=staged, index=INDEX, latency=LATENCY, rival=rival)


def states(model: Model) -> dict[str, str]:
    assert model.promotion is not None
    (report,) = model.promotion.reports
    return {gate.name.value: gate.state.value for gate in report.gates}


BESIDE_LIVE = ["paired", "segments", "coverage", "popularity"]


def test_a_first_promotion_passes_for_nothing_is_live(house: House) -> None:
    model = built(house, study_with(house, house.ready_dataset(SEGMENTS).id, (50, 50)))
    assert model.promotion is not None
    assert (model.promotion.state, model.promotion.generation) == ("moved", 1)
    assert states(model) == {**dict.fromkeys(BESIDE_LIVE, "not_applicable"), "recall": "passed", "latency": "passed"}
    assert house.models.get(model.id) == model


def test_a_worse_model_is_ready_the_alias_stays_and_a_reason_moves_it_later(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    live = built(house, study_with(house, dataset, (90, 90)))
    worse = built(house, study_with(house, dataset, (30, 90)))
    assert worse.state is ModelState.READY
    assert worse.promotion is not None
    assert (worse.promotion.state, worse.promotion.generation) == ("refused", None)
    assert (states(worse)["paired"], states(worse)["segments"]) == ("failed", "failed")
    assert house.aliases.get("production").model_id == live.id

    with pytest.raises(GatesRefused, match="override_reason") as refused:
        house.aliases.assign("production", model_id=worse.id)
    assert refused.value.reports == worse.promotion.reports
    assert house.aliases.get("production").generation == 1

    moved = house.aliases.assign("production", model_id=worse.id, override_reason="a licence ends", moved_by="ops")
    assert (moved.model_id, moved.generation) == (worse.id, 2)
    (move, first) = house.aliases.moves("production", limit=9).rows
    assert (move.override_reason, move.moved_by, move.reports) == ("a licence ends", "ops", worse.promotion.reports)
    assert first.override_reason is None


def test_a_rollback_asks_no_gate(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    worse = built(house, study_with(house, dataset, (30, 30)))
    built(house, study_with(house, dataset, (90, 90)))
    assert house.aliases.rollback("production").model_id == worse.id


def test_a_better_model_moves_and_its_reason_is_not_kept_for_no_gate_refused(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    built(house, study_with(house, dataset, (50, 50)))
    better = built(house, study_with(house, dataset, (90, 90)), override_reason="just in case")
    assert states(better)["paired"] == "passed"
    assert house.aliases.get("production").model_id == better.id
    assert house.aliases.moves("production", limit=1).rows[0].override_reason is None


def test_a_promotion_brings_its_own_gates_and_may_override_them(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    live = built(house, study_with(house, dataset, (50, 50)))
    strict = GateLimits(paired_rule="better")
    refused = built(house, study_with(house, dataset, (50, 50)), gates=strict)
    assert states(refused)["paired"] == "failed"
    assert house.aliases.get("production").model_id == live.id
    moved = built(house, study_with(house, dataset, (50, 50)), gates=strict, override_reason="wanted")
    assert house.aliases.get("production").model_id == moved.id
    assert house.aliases.moves("production", limit=1).rows[0].override_reason == "wanted"


def test_models_of_other_plays_are_compared_only_where_the_live_one_was_measured_on_them(house: House) -> None:
    live = built(house, study_with(house, house.ready_dataset(SEGMENTS).id, (90, 90)))
    elsewhere = house.ready_dataset(SEGMENTS, fingerprint="e" * 64).id
    apart = built(house, study_with(house, elsewhere, (30, 30)), gates=GateLimits(required=(GateName.PAIRED,)))
    assert {states(apart)[name] for name in BESIDE_LIVE} == {"not_applicable"}
    assert apart.promotion is not None
    assert "another dataset" in str(apart.promotion.reports[0].gates[0].reason)
    assert house.aliases.get("production").model_id == live.id

    worse = built(house, study_with(house, elsewhere, (30, 30)), rival_hits=(60, 60))
    assert states(worse)["paired"] == "failed"
    better = built(house, study_with(house, elsewhere, (90, 90)), rival_hits=(60, 60))
    assert {states(better)[name] for name in BESIDE_LIVE} == {"passed"}
    assert house.aliases.get("production").model_id == better.id


def test_what_is_damaged_passes_for_no_figure(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    built(house, study_with(house, dataset, (90, 90)))
    model = built(house, study_with(house, dataset, (90, 90)))
    for path in (house.root / "ranks").glob("*/test.npz"):
        path.write_bytes(b"nothing")
    report = house.gates.preview(model.id, alias="production", segment=None, limits=None)
    assert report.live_model_id == model.id
    rolled = house.aliases.rollback("production")
    report = house.gates.preview(model.id, alias="production", segment=None, limits=None)
    assert (report.live_model_id, report.gates[0].state) == (rolled.model_id, GateState.NOT_APPLICABLE)


def test_a_bundle_moves_whole_and_is_rolled_back_whole(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    first = built(house, study_with(house, dataset, (50, 50)))
    second = built(house, study_with(house, dataset, (50, 50)))
    moved = house.aliases.assign("production", model_id=first.id, segments={"ar": second.id})
    assert (moved.generation, moved.model_id, moved.segments) == (3, first.id, {"ar": second.id})
    (target,) = house.aliases.targets()
    assert [target.files_of(each.id) for each in (first, second)] == [f"{first.id}-1", f"{second.id}-1"]
    third = built(house, study_with(house, dataset, (90, 90)), segment="en")
    assert house.aliases.get("production").segments == {"ar": second.id, "en": third.id}
    assert house.aliases.rollback("production").segments == {"ar": second.id}
    assert house.aliases.rollback("production").segments == {}


def test_each_changed_member_of_a_bundle_is_judged_on_its_segment_s_pairs(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    arabic = built(house, study_with(house, dataset, (90, 10)))
    english = built(house, study_with(house, dataset, (10, 90)))
    assert english.promotion is not None
    assert english.promotion.state == "refused"
    house.aliases.assign("production", model_id=arabic.id, segments={"en": english.id})
    (move,) = house.aliases.moves("production", limit=1).rows
    (report,) = move.reports
    assert (report.segment, report.model_id, report.live_model_id) == ("en", english.id, arabic.id)
    assert report.gates[0].figures["n"] == N_OF_SEGMENT
    assert report.gates[0].figures["difference"] == pytest.approx(0.4)
    with pytest.raises(GatesRefused) as refused:
        house.aliases.assign("production", model_id=english.id, segments={"en": arabic.id})
    assert [(each.segment, each.is_passed) for each in refused.value.reports] == [(None, False), ("en", False)]


def test_a_bundle_names_ready_models_and_segments_that_there_are(house: House) -> None:
    dataset = house.ready_dataset(SEGMENTS).id
    study = study_with(house, dataset, (50, 50))
    with pytest.raises(InvalidRequest, match="no model yet"):
        house.models.promote(study, segment="ar")
    model = built(house, study)
    for segments, pointer in (({"fr": model.id}, "/segments"), ({"a/r": "mdl_none"}, "/segments/a~1r")):
        with pytest.raises(InvalidRequest) as refused:
            house.aliases.assign("production", model_id=model.id, segments=segments)
        assert refused.value.pointer == pointer
    with pytest.raises(InvalidRequest, match="segment 'fr'"):
        house.models.promote(study, segment="fr")
    with pytest.raises(InvalidRequest, match="at most"):
        house.aliases.assign("production", model_id=model.id, segments={f"s{n}": model.id for n in range(201)})
    waiting = house.models.promote(study)
    assert isinstance(waiting, Model)
    with pytest.raises(Conflict, match="building"):
        house.aliases.assign("production", model_id=model.id, segments={"ar": waiting.id})


def test_the_files_of_a_rival_s_pairs_are_part_of_the_model(house: House) -> None:
    built(house, study_with(house, house.ready_dataset(SEGMENTS).id, (90, 90)))
    elsewhere = house.ready_dataset(SEGMENTS, fingerprint="e" * 64).id
    model = built(house, study_with(house, elsewhere, (90, 90)), rival_hits=(60, 60))
    assert "test.npz" in {file.name for file in model.files}
    assert (house.root / MODELS / artifact_name(model.id, model.attempt) / "test.npz").exists()
    assert replace(model, lease=None) == house.models.get(model.id)
