"""Points that a client gives a study: tried next, or learnt from."""

from dataclasses import replace

import pytest

from app.domain.errors import BudgetSpent, Conflict, InvalidRequest, NotFound
from app.domain.lease import Failure
from app.domain.tuning.constraints import parse
from app.domain.tuning.reporting import Report, Reported
from app.domain.tuning.search_space import IntParameter, Value
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import Origin, Trial, TrialOutcome, TrialRole, TrialState
from app.domain.tuning.warm_start import WarmStart
from app.services.idempotency import Idempotency, Replay
from app.services.own_trials import AddedTrials, OwnTrial
from app.services.study_life import Changes
from tests.services.conftest import House
from tests.values import measurement, outcome


def point(window: int, **changes: Value) -> dict[str, Value]:
    return {"vector_size": 50, "window": window, "negative": 5, "alpha": 0.05, **changes}


def own(window: int, objective: float | None = None) -> OwnTrial:
    report = None
    if objective is not None:
        report = Report(overall=Reported(n_pairs=100, objective=objective), segments={})
    return OwnTrial(parameters=point(window), report=report)


def added(house: House, study: Study, *given: OwnTrial) -> list[Trial]:
    found = house.own_trials.add(study.id, list(given))
    assert isinstance(found, AddedTrials)
    return found.trials


def windows_tried(house: House, n: int) -> list[int]:
    tried = []
    for _ in range(n):
        work = house.trials.claim("worker")
        assert work is not None
        assert work.trial.parameters is not None
        tried.append(work.trial.parameters.window)
        house.trials.complete(work.claim, outcome(0.1), staged=house.staged())
    return tried


def test_enqueued_points_are_tried_in_order_before_the_next_suggestion(house: House) -> None:
    study = house.study(n_initial=4, n_iterations=0)
    first = house.trials.claim("worker")
    assert first is not None
    enqueued = added(house, study, own(7), own(8))
    assert [(trial.number, trial.origin, trial.state) for trial in enqueued] == [
        (1, Origin.ENQUEUED, TrialState.WAITING),
        (2, Origin.ENQUEUED, TrialState.WAITING),
    ]
    house.trials.complete(first.claim, outcome(0.1), staged=house.staged())
    assert windows_tried(house, 2) == [7, 8]
    suggested = house.trials.claim("worker")
    assert suggested is not None
    assert (suggested.trial.number, suggested.trial.origin) == (3, None)


def test_an_enqueued_point_is_next_in_line_before_what_a_warm_start_gave(house: House) -> None:
    source = house.study(n_initial=2, n_iterations=0)
    windows_tried(house, 2)
    house.studies.cancel(source.id)
    study = house.study(n_initial=3, warm_start=WarmStart(mode="transfer", study_ids=(source.id,)))
    seeded = house.studies.trials(study.id, limit=9).rows
    added(house, study, own(7))
    tried = [trial.parameters.window for trial in seeded if trial.parameters is not None]
    assert windows_tried(house, 3) == [7, *tried]


def test_an_attached_trial_is_held_to_the_constraints(house: House) -> None:
    study = house.study(n_initial=3, constraints=(parse("coverage >= 0.5"),))
    with pytest.raises(InvalidRequest) as refused:
        added(house, study, own(7), own(8, 0.4))
    assert refused.value.pointer == "/trials/1/measurement/coverage"
    assert house.studies.trials(study.id, limit=9).rows == []
    broad = replace(own(8, 0.4), report=Report(overall=Reported(n_pairs=9, objective=0.4), segments={}, coverage=0.25))
    (attached,) = added(house, study, broad)
    (standing,) = house.studies.trial_facts(attached.id).standings
    assert (standing.is_kept, standing.violation) == (False, 0.5)
    house.trials.claim("worker")
    assert [(seen.value, seen.violations) for seen in house.observed[-1]] == [(0.4, (0.5,))]


def test_attached_trials_fire_no_stopping_rule(house: House) -> None:
    study = house.study(n_initial=5, stopping=Stopping(target=0.3, max_trials=2))
    added(house, study, own(7, 0.9), own(8, 0.1), own(9, 0.1))
    windows_tried(house, 1)
    view = house.studies.get(study.id)
    assert (view.study.state, view.study.stopped) == (StudyState.RUNNING, None)


def test_an_enqueued_point_that_was_never_begun_is_cancelled_when_a_rule_stops_the_study(house: House) -> None:
    study = house.study(n_initial=5, stopping=Stopping(max_trials=1))
    first, second = added(house, study, own(7), own(8))
    windows_tried(house, 1)
    states = [house.studies.trial(trial.id).state for trial in (first, second)]
    assert states == [TrialState.COMPLETED, TrialState.CANCELLED]


def test_an_extended_study_takes_further_points(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0)
    (trial,) = added(house, study, own(7))
    windows_tried(house, 1)
    confirmation = house.trials.claim("worker")
    assert confirmation is not None
    house.trials.complete(confirmation.claim, TrialOutcome(validation=None, test=measurement(0.1)), staged=None)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED
    house.life.extend(study.id, n_iterations=2)
    assert len(added(house, study, own(8), own(9), own(7, 0.3))) == 3
    with pytest.raises(BudgetSpent):
        added(house, study, own(10))
    assert windows_tried(house, 2) == [8, 9]
    assert house.studies.get(study.id).study.best_trial_id == trial.id


def test_a_clone_has_none_of_its_original_s_own_points(house: House) -> None:
    study = house.study(n_initial=4)
    added(house, study, own(7), own(8, 0.3))
    clone = house.life.clone(study.id, overrides={})
    assert isinstance(clone, Study)
    assert house.studies.trials(clone.id, limit=9).rows == []


def test_enqueued_points_count_towards_the_budget(house: House) -> None:
    study = house.study(n_initial=3, n_iterations=0)
    added(house, study, own(7), own(8))
    windows_tried(house, 3)
    confirmation = house.trials.claim("worker")
    assert confirmation is not None
    assert confirmation.trial.role is TrialRole.CONFIRMATION


def test_no_more_points_are_enqueued_than_the_budget_has_room_for(house: House) -> None:
    study = house.study(n_initial=3, n_iterations=0)
    house.trials.claim("worker")
    with pytest.raises(BudgetSpent, match="room for 2 further trials of its 3, not for 3"):
        added(house, study, own(7), own(8), own(9))
    assert len(house.studies.trials(study.id, limit=9).rows) == 1
    assert len(added(house, study, own(7), own(8), own(9, 0.2))) == 3


def test_an_enqueued_point_may_be_the_best_and_a_baseline_still_comes_first(house: House) -> None:
    study = house.study(baselines=True, n_initial=1, n_iterations=0)
    (trial,) = added(house, study, own(7))
    for _ in range(5):
        baseline = house.trials.claim("worker")
        assert baseline is not None
        assert baseline.trial.role is TrialRole.BASELINE
        house.trials.complete(baseline.claim, outcome(0.05), staged=None)
    windows_tried(house, 1)
    assert house.studies.get(study.id).study.best_trial_id == trial.id


def test_an_attached_trial_informs_the_suggester_before_trial_0(house: House) -> None:
    study = house.study()
    (attached,) = added(house, study, own(7, 0.4))
    house.trials.claim("worker")
    (seen,) = house.observed[-1]
    assert (seen.number, seen.parameters, seen.value) == (-1, attached.parameters, 0.4)


def test_an_attached_trial_is_shown_as_such_and_costs_no_budget(house: House) -> None:
    study = house.study(n_initial=2, n_iterations=0)
    (attached,) = added(house, study, own(7, 0.4))
    assert (attached.role, attached.state, attached.objective) == (TrialRole.ATTACHED, TrialState.COMPLETED, 0.4)
    windows_tried(house, 2)
    view = house.studies.get(study.id)
    assert (view.n_attached, view.n_ended, view.n_trials) == (1, 2, 3)
    assert view.counts[TrialState.COMPLETED] == 2
    assert house.studies.trials(study.id, limit=9, role=TrialRole.ATTACHED).rows == [attached]


def test_an_attached_trial_is_never_the_best_however_good(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0)
    added(house, study, own(7, 1.0))
    windows_tried(house, 1)
    best = house.studies.get(study.id).best
    assert best is not None
    assert best.objective == 0.1


def test_a_study_with_attached_trials_alone_has_none_that_is_usable(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, max_attempts=1)
    added(house, study, own(7, 0.9))
    work = house.trials.claim("worker")
    assert work is not None
    house.trials.fail(work.claim, Failure(code="error", reason="no"), is_final=False)
    assert house.studies.get(study.id).study.state is StudyState.FAILED


def test_one_point_that_is_wrong_leaves_all_out(house: House) -> None:
    study = house.study(n_initial=4)
    with pytest.raises(InvalidRequest) as refused:
        added(house, study, own(7), own(41), own(8))
    assert refused.value.pointer == "/trials/1/parameters/window"
    assert house.studies.trials(study.id, limit=9).rows == []


def test_points_wait_for_a_paused_study_and_are_refused_by_one_that_has_ended(house: House) -> None:
    study = house.study()
    house.studies.pause(study.id)
    added(house, study, own(7), own(8, 0.2))
    house.studies.cancel(study.id)
    for given in (own(9), own(9, 0.2)):
        with pytest.raises(Conflict, match="cancelled"):
            added(house, study, given)
    with pytest.raises(NotFound):
        house.own_trials.add("std_none", [own(7)])


def test_the_same_key_adds_points_once(house: House) -> None:
    study = house.study(n_initial=4)

    def key() -> Idempotency[AddedTrials]:
        return Idempotency("key", "hash", lambda added: {"ids": [trial.id for trial in added.trials]})

    first = house.own_trials.add(study.id, [own(7)], idempotency=key())
    again = house.own_trials.add(study.id, [own(7)], idempotency=key())
    assert isinstance(first, AddedTrials)
    assert again == Replay({"ids": [first.trials[0].id]})
    assert len(house.studies.trials(study.id, limit=9).rows) == 1


def test_a_study_that_a_rule_has_stopped_takes_no_further_point(house: House) -> None:
    study = house.study(n_initial=5, parallelism=2, stopping=Stopping(target=0.05))
    house.trials.claim("slow")
    windows_tried(house, 1)
    assert house.studies.get(study.id).study.stopped is not None
    for given in (own(7), own(7, 0.2)):
        with pytest.raises(Conflict, match="was stopped"):
            added(house, study, given)


def test_a_point_must_lie_in_the_present_space_and_remembers_its_revision(house: House) -> None:
    study = house.study(n_initial=4)
    house.life.change(study.id, Changes(space={"window": IntParameter(name="window", low=1, high=5)}))
    with pytest.raises(InvalidRequest, match="between 1 and 5"):
        added(house, study, own(7))
    enqueued, attached = added(house, study, own(5), own(4, 0.2))
    assert (enqueued.revision, attached.revision) == (1, 1)
