"""Warm starts: what a new study takes over from earlier ones."""

from dataclasses import replace

import pytest

from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.lease import Failure
from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.constraints import parse
from app.domain.tuning.objectives import ObjectiveName
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.reporting import Report, Reported
from app.domain.tuning.search_space import IntParameter, Value
from app.domain.tuning.study import Objective, Study
from app.domain.tuning.trial import Origin, TrialRole, TrialState
from app.domain.tuning.warm_start import Mode, WarmStart
from app.services.own_trials import OwnTrial
from app.services.study_life import Changes
from tests.services.conftest import House
from tests.values import epoch_measured, outcome, study_spec

INFEASIBLE = Failure(code="infeasible", reason="No.")


def from_studies(mode: Mode, *sources: Study) -> WarmStart:
    return WarmStart(mode=mode, study_ids=tuple(study.id for study in sources))


def finished(house: House, *objectives: float | None, **changes: int | str | Trainer) -> Study:
    """A cancelled study with a trial for each objective; None is a point that can never work."""
    study = house.study(n_initial=len(objectives) + 1, n_iterations=0, **changes)  # type: ignore[arg-type]
    for objective in objectives:
        work = house.trials.claim("worker")
        assert work is not None
        if objective is None:
            house.trials.fail(work.claim, INFEASIBLE, is_final=True)
        else:
            house.trials.complete(work.claim, outcome(objective), staged=house.staged())
    return house.studies.cancel(study.id)


def points(house: House, study: Study) -> list[TrainingParameters | None]:
    return [trial.parameters for trial in house.studies.trials(study.id, limit=99, role=TrialRole.SEARCH).rows]


def refusal(house: House, mode: Mode, *sources: Study, **changes: Trainer) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        house.study(warm_start=from_studies(mode, *sources), **changes)
    return refused.value


def test_identical_data_is_observed_before_the_first_trial(house: House) -> None:
    one, two = finished(house, 0.1, None), finished(house, 0.3)
    study = house.study(warm_start=from_studies("identical_data", one, two))
    assert points(house, study) == []
    house.trials.claim("worker")
    told = house.observed[-1]
    assert [(seen.number, seen.value, seen.is_infeasible) for seen in told] == [
        (-3, 0.1, False),
        (-2, None, True),
        (-1, 0.3, False),
    ]
    assert [seen.parameters for seen in told] == points(house, one) + points(house, two)


def test_what_was_taken_over_says_where_it_comes_from(house: House) -> None:
    source = finished(house, 0.1, 0.3)
    study = house.study(warm_start=from_studies("identical_data", source))
    rows = house.warm_starts.inherited(study.id, limit=9).rows
    trials = house.studies.trials(source.id, limit=9).rows
    assert [(row.number, row.source_trial_id, row.source_number, row.value) for row in rows] == [
        (-2, trials[0].id, 0, 0.1),
        (-1, trials[1].id, 1, 0.3),
    ]
    assert {(row.source_study_id, row.source_study_name) for row in rows} == {(source.id, source.spec.name)}
    (told,) = house.studies.get(study.id).sources
    assert (told.study_id, told.name, told.n_trials) == (source.id, source.spec.name, 2)


def test_what_was_taken_over_is_paged(house: House) -> None:
    study = house.study(warm_start=from_studies("identical_data", finished(house, 0.1, 0.2, 0.3)))
    first = house.warm_starts.inherited(study.id, limit=2)
    assert first.next_cursor == "-2"
    then = house.warm_starts.inherited(study.id, limit=2, after=int(first.next_cursor))
    assert [row.number for row in first.rows + then.rows] == [-3, -2, -1]
    assert then.next_cursor is None
    with pytest.raises(NotFound):
        house.warm_starts.inherited("std_none", limit=2)


def test_what_was_taken_over_outlives_its_source(house: House) -> None:
    source = finished(house, 0.1)
    study = house.study(warm_start=from_studies("identical_data", source))
    house.life.delete(source.id)
    house.trials.claim("worker")
    assert [seen.value for seen in house.observed[-1]] == [0.1]
    assert len(house.warm_starts.inherited(study.id, limit=9).rows) == 1


def test_what_was_taken_over_goes_with_the_study_that_has_it(house: House) -> None:
    study = house.study(warm_start=from_studies("identical_data", finished(house, 0.1)))
    house.studies.cancel(study.id)
    house.life.delete(study.id)
    with house.units.reading() as unit:
        assert unit.inherited.observations(study.id) == []


def test_a_study_without_a_warm_start_has_taken_over_nothing(house: House) -> None:
    study = house.study()
    assert house.studies.get(study.id).sources == []
    assert house.warm_starts.inherited(study.id, limit=9).rows == []


def test_other_data_another_objective_or_another_trainer_are_not_identical(house: House) -> None:
    source = finished(house, 0.1)
    assert "another trainer" in str(refusal(house, "identical_data", source, trainer=Trainer.GENSIM))
    for changed in (Objective(k=20), Objective(hr_weight=0.4)):
        spec = replace(
            study_spec(source.spec.dataset_id, warm_start=from_studies("identical_data", source)), objective=changed
        )
        with pytest.raises(InvalidRequest, match="another objective") as refused:
            house.studies.create(spec)
        assert refused.value.pointer == "/warm_start/study_ids/0"
    with house.units() as unit:
        dataset = unit.datasets.lock(source.spec.dataset_id)
        unit.datasets.save(replace(dataset, fingerprint="0" * 64))
        unit.commit()
    refused_data = refusal(house, "identical_data", finished(house, 0.2), source)
    assert "another dataset" in str(refused_data)
    assert refused_data.pointer == "/warm_start/study_ids/1"


def test_measurements_outside_the_space_are_left_out_and_alone_are_refused(house: House) -> None:
    source = finished(house, 0.1, 0.2, 0.3)
    first, *_ = points(house, source)
    assert first is not None
    spec = study_spec(
        source.spec.dataset_id,
        warm_start=from_studies("identical_data", source),
        overrides={"window": first.window},
    )
    study = house.studies.create(spec)
    assert isinstance(study, Study)
    assert [row.source_number for row in house.warm_starts.inherited(study.id, limit=9).rows] == [0]
    with pytest.raises(InvalidRequest, match="Use transfer") as refused:
        house.studies.create(replace(spec, space=study_spec("dat", overrides={"epochs": 9}).space))
    assert refused.value.pointer == "/warm_start/mode"


@pytest.mark.parametrize("mode", ["identical_data", "transfer"])
def test_a_source_must_be_there_have_ended_and_have_measured_something(house: House, mode: Mode) -> None:
    with pytest.raises(InvalidRequest) as refused:
        house.study(warm_start=WarmStart(mode=mode, study_ids=("std_none",)))
    assert refused.value.pointer == "/warm_start/study_ids/0"
    with pytest.raises(Conflict, match="queued"):
        house.study(warm_start=from_studies(mode, house.study()))
    nothing = refusal(house, mode, finished(house, None))
    assert "has measured no trial" in str(nothing)
    n_studies = len(house.studies.list(limit=99).rows)
    assert n_studies == 2  # what was refused left nothing


def test_transfer_tries_the_best_points_first_and_then_goes_on(house: House) -> None:
    one, two = finished(house, 0.1, 0.3), finished(house, 0.2, 0.25, 0.05, seed=1)
    study = house.study(n_initial=3, n_iterations=1, warm_start=from_studies("transfer", one, two))
    ours = house.studies.trials(study.id, limit=9, role=TrialRole.SEARCH).rows
    assert [(trial.number, trial.origin, trial.state) for trial in ours] == [
        (number, Origin.WARM_START, TrialState.WAITING) for number in range(3)
    ]
    assert [trial.parameters for trial in ours] == [
        points(house, one)[1],
        points(house, two)[1],
        points(house, one)[0],
    ]
    rows = house.warm_starts.inherited(study.id, limit=9).rows
    assert [(row.number, row.source_study_id, row.source_number, row.changed) for row in rows] == [
        (0, one.id, 1, ()),
        (1, two.id, 1, ()),
        (2, one.id, 0, ()),
    ]
    for _ in range(3):
        work = house.trials.claim("worker")
        assert work is not None
        house.trials.complete(work.claim, outcome(0.1), staged=house.staged())
    suggested = house.trials.claim("worker")
    assert suggested is not None
    assert (suggested.trial.number, suggested.trial.origin) == (3, None)
    assert [seen.number for seen in house.observed[-1]] == [0, 1, 2]


def test_transfer_takes_points_of_another_space_and_says_what_it_changed(house: House) -> None:
    source = finished(house, 0.1)
    spec = study_spec(
        source.spec.dataset_id, warm_start=from_studies("transfer", source), overrides={"epochs": 9, "window": 2}
    )
    study = house.studies.create(replace(spec, objective=Objective(k=20), trainer=Trainer.EXTERNAL))
    assert isinstance(study, Study)
    asked = house.asking.ask(study.id, client_id="a")
    (before,) = points(house, source)
    assert before is not None
    assert asked.trial.parameters == replace(before, epochs=9, window=2)
    (row,) = house.warm_starts.inherited(study.id, limit=9).rows
    assert set(row.changed) >= {"epochs"}
    assert row.parameters == before


def cloned(house: House, study: Study, **overrides: int | str) -> Study:
    clone = house.life.clone(study.id, overrides=overrides)
    assert isinstance(clone, Study)
    return clone


def test_a_clone_takes_over_what_its_original_did_though_the_source_is_gone(house: House) -> None:
    source = finished(house, 0.1, None)
    study = house.study(warm_start=from_studies("identical_data", source))
    house.life.delete(source.id)
    clone = cloned(house, study, seed=1)
    ours, theirs = (house.warm_starts.inherited(each.id, limit=9).rows for each in (study, clone))
    assert [replace(row, study_id=clone.id) for row in ours] == theirs
    assert [row.value for row in theirs] == [0.1, None]


def test_a_clone_on_other_data_takes_no_measurement_over(house: House) -> None:
    study = house.study(warm_start=from_studies("identical_data", finished(house, 0.1)))
    other = house.ready_dataset()
    cloned(house, study, dataset_id=other.id)  # the same plays, prepared once more
    with house.units() as unit:
        unit.datasets.save(replace(unit.datasets.lock(other.id), fingerprint="0" * 64))
        unit.commit()
    with pytest.raises(InvalidRequest) as refused:
        cloned(house, study, dataset_id=other.id)
    assert refused.value.pointer == "/dataset_id"


def test_a_clone_tries_the_points_of_a_transfer_in_its_own_space(house: House) -> None:
    source = finished(house, 0.1, 0.3, 0.2)
    study = house.study(n_initial=3, warm_start=from_studies("transfer", source))
    house.life.delete(source.id)
    house.life.change(study.id, Changes(space={"window": IntParameter(name="window", low=39, high=40)}))
    clone = cloned(house, study, n_initial=2)
    tried = points(house, clone)
    assert [parameters.window if parameters else 0 for parameters in tried] == [39, 39]
    assert [row.source_number for row in house.warm_starts.inherited(clone.id, limit=9).rows] == [1, 2]
    assert all(row.changed == ("window",) for row in house.warm_starts.inherited(clone.id, limit=9).rows)


def test_measurements_that_a_changed_space_does_not_hold_inform_no_more(house: House) -> None:
    source = finished(house, 0.1, 0.3)
    study = house.study(warm_start=from_studies("identical_data", source))
    first, second = points(house, source)
    assert first is not None
    assert second is not None
    assert first.window != second.window
    house.life.change(study.id, Changes(space={"window": first.window}))
    house.trials.claim("worker")
    assert [seen.value for seen in house.observed[-1]] == [0.1]


def test_pruned_and_attached_trials_are_taken_over_too(house: House) -> None:
    source = house.study(n_initial=4, n_iterations=0, pruning=Pruning(rule="median", n_startup_trials=1))
    good = house.trials.claim("worker")
    assert good is not None
    whole = replace(outcome(0.4), epochs=(epoch_measured(1, 0.4),))
    house.trials.complete(good.claim, whole, staged=house.staged())
    bad = house.trials.claim("worker")
    assert bad is not None
    house.trials.measured(bad.claim, (epoch_measured(1, 0.1),))
    house.trials.pruned(bad.claim, None)
    values: dict[str, Value] = {"vector_size": 50, "window": 7, "negative": 5, "alpha": 0.05}
    measured = Report(overall=Reported(n_pairs=9, objective=0.3), segments={})
    house.own_trials.add(source.id, [OwnTrial(parameters=values, report=measured)])
    house.studies.cancel(source.id)
    study = house.study(warm_start=from_studies("identical_data", source))
    rows = house.warm_starts.inherited(study.id, limit=9).rows
    assert [(row.value, row.is_estimate) for row in rows] == [(0.4, False), (pytest.approx(0.1), True), (0.3, False)]
    seeded = house.study(n_initial=5, warm_start=from_studies("transfer", source))
    assert points(house, seeded) == points(house, source)[:1]


def test_measurements_taken_over_are_held_to_the_study_s_constraints(house: House) -> None:
    source = finished(house, 0.1, 0.3)
    study = house.study(warm_start=from_studies("identical_data", source), constraints=(parse("coverage >= 0.9"),))
    house.trials.claim("worker")
    seen = house.observed[-1]
    assert [one.value for one in seen] == [0.1, 0.3]
    assert [one.violations[0] for one in seen] == pytest.approx([0.4 / 0.9] * 2)
    (kept, _) = house.warm_starts.inherited(study.id, limit=9).rows
    assert kept.outcome is not None
    assert kept.outcome.validation == outcome(0.1).validation


def test_measurements_taken_over_tell_both_of_two_objectives(house: House) -> None:
    source = finished(house, 0.1, 0.3)
    spec = study_spec(source.spec.dataset_id, warm_start=from_studies("identical_data", source))
    house.studies.create(replace(spec, objectives=(ObjectiveName.HR_NDCG, ObjectiveName.COVERAGE)))
    house.trials.claim("worker")
    assert [one.measurement and one.measurement.coverage for one in house.observed[-1]] == [0.5, 0.5]


def test_a_source_that_completed_no_trial_has_no_point_to_try(house: House) -> None:
    source = house.study()
    values: dict[str, Value] = {"vector_size": 50, "window": 7, "negative": 5, "alpha": 0.05}
    measured = Report(overall=Reported(n_pairs=9, objective=0.3), segments={})
    house.own_trials.add(source.id, [OwnTrial(parameters=values, report=measured)])
    house.studies.cancel(source.id)
    assert refusal(house, "transfer", source).pointer == "/warm_start/study_ids"
    assert house.study(warm_start=from_studies("identical_data", source)).spec.warm_start is not None


def test_lineage_of_a_deleted_source_is_still_told(house: House) -> None:
    source = finished(house, 0.1)
    study = house.study(warm_start=from_studies("transfer", source))
    house.life.delete(source.id)
    view = house.studies.get(study.id)
    assert [(one.study_id, one.name, one.n_trials) for one in view.sources] == [(source.id, source.spec.name, 1)]
    (row,) = house.warm_starts.inherited(study.id, limit=9).rows
    assert (row.source_study_id, row.source_number, row.value) == (source.id, 0, 0.1)


def test_a_study_started_from_five_takes_something_of_each(house: House) -> None:
    sources = [finished(house, 0.1 * (n + 1), seed=n) for n in range(5)]
    study = house.study(n_initial=5, warm_start=from_studies("transfer", *sources))
    assert [one.study_id for one in house.studies.get(study.id).sources] == [source.id for source in sources]
    again = house.study(warm_start=from_studies("identical_data", *sources))
    house.trials.claim("worker")
    values = [row.value for row in house.warm_starts.inherited(again.id, limit=9).rows]
    assert values == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_an_extended_study_knows_what_it_took_over(house: House) -> None:
    source = finished(house, 0.1)
    study = house.study(n_initial=1, n_iterations=0, warm_start=from_studies("identical_data", source))
    work = house.trials.claim("worker")
    assert work is not None
    house.trials.complete(work.claim, outcome(0.2), staged=house.staged())
    confirmation = house.trials.claim("worker")
    assert confirmation is not None
    house.trials.complete(confirmation.claim, outcome(0.2), staged=None)
    house.life.extend(study.id, n_iterations=1)
    assert house.trials.claim("worker") is not None
    assert [(one.number, one.value) for one in house.observed[-1]] == [(-1, 0.1), (0, 0.2)]
