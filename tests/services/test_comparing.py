"""Trials beside each other: by segment, on the front, and what is kept of each pair."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from app.adapters.ranks import write_ranks
from app.domain.errors import Conflict, DamagedArtifact, InvalidRequest, LostLease, NotFound
from app.domain.models import Fit, Model
from app.domain.tuning.constraints import parse
from app.domain.tuning.objectives import Aggregate, ObjectiveName
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.segment_regret import Verdict
from app.domain.tuning.study import Objective, SegmentOf, Study, StudySpec
from app.domain.tuning.trial import TrialOutcome, TrialState
from app.services.artifacts import RANKS, artifacts_of
from app.services.idempotency import Idempotency
from app.services.trials import TrialWork
from tests.services.conftest import House
from tests.values import N_OF_SEGMENT as N
from tests.values import measured_on, measurement, outcome, ranks_of, study_spec

SEGMENTS = {"ar": N, "en": N, "none": 0}


def study(house: House, **changes: object) -> Study:
    spec = study_spec(house.ready_dataset(SEGMENTS).id, n_initial=3, n_iterations=0)
    created = house.studies.create(replace(spec, **changes))  # type: ignore[arg-type]
    assert isinstance(created, Study)
    return created


def claim(house: House) -> TrialWork:
    work = house.trials.claim("worker")
    assert work is not None
    return work


def complete(house: House, hits: Sequence[int], *, coverage: float = 0.5) -> TrialWork:
    """One more trial, with its ranks."""
    work = claim(house)
    found = ranks_of(hits)
    kept = house.staged()
    write_ranks(kept, {"validation": found})
    house.trials.complete(
        work.claim,
        TrialOutcome(validation=measured_on(found, coverage=coverage), has_ranks=True),
        staged=house.staged(),
        ranks=kept,
    )
    return work


def completed(house: House, *hits: Sequence[int], **changes: object) -> tuple[Study, list[TrialWork]]:
    """A study whose trials had so many hits in each segment, confirmed."""
    made = study(house, n_initial=len(hits), **changes)
    works = [complete(house, each) for each in hits]
    house.trials.complete(claim(house).claim, TrialOutcome(validation=None, test=measurement(0.2)), staged=None)
    return made, works


# By segment


def test_each_segment_is_told_its_best_trial_and_what_it_gives_up(house: House) -> None:
    made, works = completed(house, [60, 100], [90, 20], [20, 20])
    report = house.comparisons.segments(made.id)
    ar, en = report.segments
    assert (ar.segment, ar.best.id, ar.winner.id) == ("ar", works[1].trial.id, works[0].trial.id)
    assert ar.regret is not None
    assert (ar.regret.value, ar.regret.level) == pytest.approx((0.15, 0.975))
    assert ar.regret.n == N
    assert ar.verdict is Verdict.WORTH_IT
    assert (en.segment, en.best.id, en.verdict) == ("en", works[0].trial.id, Verdict.NOT_WORTH_IT)
    assert house.comparisons.segments(made.id, min_effect=0.5).segments[0].verdict is Verdict.NOT_WORTH_IT


def test_without_a_measured_trial_or_segments_there_is_no_report(house: House) -> None:
    with pytest.raises(Conflict, match="no measured trial"):
        house.comparisons.segments(study(house).id)
    with pytest.raises(Conflict, match="no segments"):
        house.comparisons.segments(house.study().id)
    with pytest.raises(NotFound):
        house.comparisons.segments("std_none")


def test_trials_whose_ranks_are_not_kept_are_told_as_such(house: House) -> None:
    made = study(house, n_initial=2)
    for hits in ([60, 100], [90, 20]):
        house.trials.complete(
            claim(house).claim, TrialOutcome(validation=measured_on(ranks_of(hits))), staged=house.staged()
        )
    assert house.comparisons.segments(made.id).segments[0].verdict is Verdict.UNKNOWN


def test_damaged_ranks_are_refused(house: House) -> None:
    made, works = completed(house, [60, 100], [90, 20])
    path = house.root / RANKS / f"{works[1].trial.id}-1" / "validation.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedArtifact):
        house.comparisons.segments(made.id)


# Ranks


def test_ranks_are_kept_of_every_completed_trial_and_removed_by_name(house: House) -> None:
    _, works = completed(house, [60, 100], [90, 20])
    for work in works:
        trial = house.studies.trial(work.trial.id)
        assert house.store.open(RANKS, f"{trial.id}-1").is_dir()
        for kind, name in artifacts_of(trial):
            house.store.remove(kind, name)
    assert list((house.root / RANKS).iterdir()) == []
    assert list((house.root / "trials").iterdir()) == []


def test_a_deleted_study_leaves_no_ranks(house: House) -> None:
    made, _ = completed(house, [60, 100], [90, 20])
    house.life.delete(made.id)
    assert list((house.root / RANKS).iterdir()) == []


def test_ranks_that_no_trial_keeps_are_swept_and_others_stay(house: House) -> None:
    """As after a crash between the files and their row; a trial that runs may be about to write its row."""
    _, works = completed(house, [60, 100])
    study(house)
    running = claim(house).trial
    for name in (f"{running.id}-1", f"{works[0].trial.id}-9"):
        house.store.publish(house.staged(), RANKS, name)
    assert house.life.sweep(older_than_s=-1.0) == 1
    assert sorted(path.name for path in (house.root / RANKS).iterdir()) == sorted(
        [f"{running.id}-1", f"{works[0].trial.id}-1"]
    )


def test_artifacts_of_a_trial_are_those_of_all_its_attempts(house: House) -> None:
    study(house)
    trial = replace(claim(house).trial, attempt=2)
    assert artifacts_of(trial) == [(kind, f"{trial.id}-{n}") for kind in ("trials", "ranks") for n in (1, 2)]


def test_a_lost_lease_leaves_no_ranks(house: House) -> None:
    study(house)
    work = claim(house)
    house.clock.advance(31)
    assert house.trials.reap() == 1
    with pytest.raises(LostLease):
        house.trials.complete(
            work.claim, replace(outcome(0.2), has_ranks=True), staged=house.staged(), ranks=house.staged()
        )
    assert list((house.root / RANKS).iterdir()) == []


def test_a_report_that_is_repeated_keeps_the_ranks(house: House) -> None:
    study(house)
    work = claim(house)
    folders = house.staged(), house.staged()
    told = replace(outcome(0.2), has_ranks=True)
    first = house.trials.complete(work.claim, told, staged=folders[0], ranks=folders[1])
    assert house.trials.complete(work.claim, told, staged=folders[0], ranks=folders[1]) == first
    assert house.store.open(RANKS, f"{work.trial.id}-1").is_dir()


# A segment's own study


def test_a_segment_s_study_is_scoped_and_begins_with_the_points_that_were_best_there(house: House) -> None:
    objective = Objective(aggregate=Aggregate.MACRO)
    made, works = completed(house, [60, 100], [90, 20], [70, 20], objective=objective)
    scoped = house.comparisons.study_segment(made.id, "ar")
    assert isinstance(scoped, Study)
    spec = house.studies.get(scoped.id).study.spec
    assert (spec.objective.scope, spec.objective.aggregate) == ("ar", Aggregate.MICRO)
    assert spec.segment_of == SegmentOf(made.id, "ar")
    assert spec.first_points == tuple(works[n].trial.parameters for n in (1, 2, 0))
    assert spec.name == "a study: ar"
    assert spec.dataset_id == made.spec.dataset_id


def test_a_segment_s_study_is_made_once_for_a_key(house: House) -> None:
    made, _ = completed(house, [60, 100])
    once: Idempotency[Study] = Idempotency("key", "f" * 64, lambda value: {"id": value.id})
    first = house.comparisons.study_segment(made.id, "ar", idempotency=once)
    again = house.comparisons.study_segment(made.id, "ar", idempotency=once)
    assert isinstance(first, Study)
    assert getattr(again, "answer") == {"id": first.id}  # noqa: B009 - a study has none
    assert len(house.studies.list(limit=9).rows) == 2


@pytest.mark.parametrize(("segment", "told"), [("de", "'ar', 'en', 'none'"), ("none", "no validation pair")])
def test_a_segment_that_cannot_be_studied_is_refused(house: House, segment: str, told: str) -> None:
    made, _ = completed(house, [60, 100])
    with pytest.raises(InvalidRequest, match=told) as refused:
        house.comparisons.study_segment(made.id, segment)
    assert refused.value.pointer == "segment"


def test_a_study_of_one_segment_is_not_taken_to_another(house: House) -> None:
    made, _ = completed(house, [60, 100], objective=Objective(scope="en"))
    with pytest.raises(InvalidRequest, match="'en' alone"):
        house.comparisons.study_segment(made.id, "ar")


def test_only_a_completed_study_is_taken_to_a_segment(house: House) -> None:
    with pytest.raises(Conflict, match="queued"):
        house.comparisons.study_segment(study(house).id, "ar")


def test_a_study_by_unknown_segments_is_refused_with_the_known_ones(house: House) -> None:
    for objective in (Objective(scope="de"), Objective(aggregate=Aggregate.WEIGHTS, weights={"de": 1.0})):
        with pytest.raises(InvalidRequest, match="'ar', 'en', 'none'"):
            study(house, objective=objective)
    with pytest.raises(InvalidRequest, match="without segment_by"):
        house.studies.create(replace(study_spec(house.ready_dataset().id), objective=Objective(scope="ar")))


# Two objectives


NAMES = (ObjectiveName.HR_NDCG, ObjectiveName.COVERAGE)


def two_objectives(house: House) -> tuple[Study, list[TrialWork]]:
    made = study(house, n_initial=4, objectives=NAMES)
    told = ([80, 80], 0.2), ([40, 40], 0.9), ([60, 60], 0.5), ([30, 30], 0.4)
    works = [complete(house, hits, coverage=coverage) for hits, coverage in told]
    house.trials.complete(claim(house).claim, TrialOutcome(validation=None, test=measurement(0.2)), staged=None)
    return made, works


def test_the_front_is_paged_the_best_first_objective_first(house: House) -> None:
    made, works = two_objectives(house)
    ids = [work.trial.id for work in works]
    whole = house.comparisons.front(made.id, limit=9)
    assert whole.objectives == NAMES
    assert [one.trial.id for one in whole.page.rows] == [ids[0], ids[2], ids[1]]
    assert whole.page.next_cursor is None
    first = house.comparisons.front(made.id, limit=2).page
    assert first.next_cursor == ids[2]
    rest = house.comparisons.front(made.id, limit=2, cursor=first.next_cursor).page
    assert ([one.trial.id for one in rest.rows], rest.next_cursor) == ([ids[1]], None)
    best = house.studies.get(made.id).best
    assert best is not None
    assert best.id == ids[0]


def test_trials_that_break_a_constraint_are_neither_on_the_front_nor_a_segment_s_best(house: House) -> None:
    made = study(house, n_initial=4, objectives=NAMES, constraints=(parse("coverage <= 0.5"),))
    told = ([80, 80], 0.2), ([40, 100], 0.9), ([60, 60], 0.5), ([30, 30], 0.4)
    ids = [complete(house, hits, coverage=coverage).trial.id for hits, coverage in told]
    house.trials.complete(claim(house).claim, TrialOutcome(validation=None, test=measurement(0.2)), staged=None)
    assert [one.trial.id for one in house.comparisons.front(made.id, limit=9).page.rows] == [ids[0], ids[2]]
    assert [one.best.id for one in house.comparisons.segments(made.id).segments] == [ids[0], ids[0]]
    scoped = house.comparisons.study_segment(made.id, "en")
    assert isinstance(scoped, Study)
    assert len(house.studies.get(scoped.id).study.spec.first_points) == 3


def test_a_study_with_two_objectives_prunes_no_trial() -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(study_spec("dat_1"), objectives=NAMES, pruning=Pruning(rule="median"))
    assert refused.value.pointer == "/pruning"


def test_a_cursor_that_is_not_on_the_front_is_refused(house: House) -> None:
    made, works = two_objectives(house)
    with pytest.raises(InvalidRequest) as refused:
        house.comparisons.front(made.id, limit=2, cursor=works[3].trial.id)
    assert refused.value.pointer == "cursor"


def test_a_study_with_one_objective_has_no_front(house: House) -> None:
    with pytest.raises(Conflict, match="one objective"):
        house.comparisons.front(house.study().id, limit=9)


def test_a_trial_of_the_front_is_promoted_with_a_full_fit(house: House) -> None:
    made, works = two_objectives(house)
    chosen = works[1].trial
    with pytest.raises(Conflict, match="fit 'full'"):
        house.models.promote(made.id, fit=Fit.TRIAL, trial_id=chosen.id)
    model = house.models.promote(made.id, fit=Fit.FULL, trial_id=chosen.id)
    assert isinstance(model, Model)
    assert (model.trial_id, model.parameters) == (chosen.id, chosen.parameters)
    assert model.metrics.test is None  # the confirmation measured another


def test_the_best_is_promoted_by_name_with_its_own_vectors(house: House) -> None:
    made, works = two_objectives(house)
    model = house.models.promote(made.id, fit=Fit.TRIAL, trial_id=works[0].trial.id)
    assert isinstance(model, Model)
    assert model.metrics.test is not None


def test_a_trial_of_another_study_or_role_is_not_promoted(house: House) -> None:
    made, _ = two_objectives(house)
    _, others = completed(house, [60, 100])
    confirmation = house.studies.get(made.id).confirmation
    assert confirmation is not None
    assert confirmation.state is TrialState.COMPLETED
    for trial_id in (others[0].trial.id, confirmation.id, "trl_none"):
        with pytest.raises(InvalidRequest) as refused:
            house.models.promote(made.id, fit=Fit.FULL, trial_id=trial_id)
        assert refused.value.pointer == "/trial_id"


# Old rows


def test_documents_written_before_there_were_objectives_are_read() -> None:
    spec = study_spec("dat_1")
    told = TypeAdapter(StudySpec).dump_python(spec, mode="json")
    for name in ("objectives", "first_points", "segment_of"):
        del told[name]
    for name in ("aggregate", "weights", "scope"):
        del told["objective"][name]
    assert TypeAdapter(StudySpec).validate_python(told) == spec
    done = TypeAdapter(TrialOutcome).dump_python(outcome(0.2), mode="json")
    del done["has_ranks"]
    for name in ("artist_share", "aggregated"):
        del done["validation"][name]
    assert TypeAdapter(TrialOutcome).validate_python(done) == outcome(0.2)
