"""What an owner does to a study beside watching it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.adapters.clock import UuidIds
from app.adapters.polling import PollingSignals
from app.domain.errors import Conflict, InvalidRequest, LostLease, NotFound, StaleVersion
from app.domain.lease import Failure, HeartbeatAnswer
from app.domain.models import Fit, Model
from app.domain.training import TrainingParameters
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.retry import RetryPolicy
from app.domain.tuning.search_space import IntParameter
from app.domain.tuning.stopping import NoImprovement, Stopping, StoppingRule
from app.domain.tuning.study import MAX_BUDGET, Study, StudySpec, StudyState
from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Trial, TrialOutcome, TrialRole, TrialState
from app.services.idempotency import Idempotency, Replay
from app.services.study_life import MAX_REVISIONS, ORPHANED_AFTER_S, Changes
from app.services.trials import KIND, TrialService, TrialWork
from tests.services.conftest import LEASE, House
from tests.values import measurement, outcome

NARROW = IntParameter(name="window", low=1, high=2)


def claim(house: House) -> TrialWork:
    work = house.trials.claim("worker")
    assert work is not None
    return work


def complete(house: House, work: TrialWork, objective: float = 0.2) -> None:
    is_trained = work.trial.role is TrialRole.SEARCH
    house.trials.complete(work.claim, outcome(objective), staged=house.staged() if is_trained else None)


def run(house: House, *objectives: float) -> None:
    for objective in objectives:
        complete(house, claim(house), objective)


def completed(house: House, **changes: Stopping) -> Study:
    """A study of one trial, confirmed."""
    study = house.study(n_initial=1, n_iterations=0, **changes)
    run(house, 0.2, 0.2)
    return study


def extended(house: House, study: Study, n_iterations: int) -> Study:
    found = house.life.extend(study.id, n_iterations=n_iterations)
    assert isinstance(found, Study)
    return found


def confirmations(house: House, study: Study) -> list[Trial]:
    return house.studies.trials(study.id, role=TrialRole.CONFIRMATION, limit=9).rows


# Extending


def test_an_extended_study_runs_again_and_confirms_its_new_winner(house: House) -> None:
    study = completed(house)
    again = extended(house, study, 2)
    assert (again.state, again.finished_at, again.version) == (StudyState.RUNNING, None, 1)
    run(house, 0.1, 0.3)
    confirmation = claim(house)
    assert confirmation.trial.role is TrialRole.CONFIRMATION
    complete(house, confirmation, 0.28)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.study.finished_at is not None
    assert view.best is not None
    assert view.best.number == 2
    assert view.confirmation is not None
    assert view.confirmation.source_trial_id == view.best.id
    assert [trial.number for trial in confirmations(house, study)] == [0, 1]
    assert (view.n_ended, view.n_trials, view.fraction) == (5, 5, 1.0)


def test_an_unchanged_winner_is_not_measured_twice(house: House) -> None:
    study = completed(house)
    extended(house, study, 2)
    run(house, 0.1, 0.1)
    assert house.trials.claim("worker") is None
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED
    assert len(confirmations(house, study)) == 1


def test_a_model_of_an_extended_study_shows_its_own_confirmation(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0)
    for objective, on_test in ((0.2, 0.19), (0.3, 0.28)):
        run(house, objective)
        house.trials.complete(claim(house).claim, TrialOutcome(validation=None, test=measurement(on_test)), staged=None)
        if objective == 0.2:
            extended(house, study, 1)
    model = house.models.promote(study.id)
    assert isinstance(model, Model)
    assert model.trial_id == house.studies.get(study.id).study.best_trial_id
    assert model.metrics.test == measurement(0.28)


def test_a_study_may_be_extended_again_and_again(house: House) -> None:
    study = completed(house)
    for n in range(1, 4):
        again = extended(house, study, 1)
        assert again.spec.budget == 1 + n
        run(house, 0.1)
    assert house.studies.get(study.id).counts[TrialState.COMPLETED] == 4


def test_a_study_that_a_rule_stopped_goes_on_without_the_rules_that_hold(house: House) -> None:
    rules = Stopping(target=0.2, no_improvement=NoImprovement(n_trials=3), max_trials=1)
    study = house.study(n_initial=3, n_iterations=9, stopping=rules)
    run(house, 0.25, 0.25)
    stopped = house.studies.get(study.id).study
    assert stopped.state is StudyState.COMPLETED
    assert stopped.stopped is not None
    again = extended(house, study, 4)
    assert again.stopped is None
    assert again.spec.stopping == Stopping(no_improvement=NoImprovement(n_trials=3))
    assert (again.spec.n_initial, again.spec.n_iterations) == (3, 2)
    run(house, 0.1, 0.1, 0.1)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.study.stopped is not None
    assert view.study.stopped.rule is StoppingRule.NO_IMPROVEMENT


def test_a_study_without_a_usable_trial_may_be_extended(house: House) -> None:
    study = house.study(n_initial=2, n_iterations=0, retry=RetryPolicy(backoff_s=0, abort_after=1))
    house.trials.fail(claim(house).claim, Failure(code="infeasible", reason="No song is left."), is_final=True)
    assert house.studies.get(study.id).study.state is StudyState.FAILED
    again = extended(house, study, 1)
    assert (again.state, again.failure, again.spec.retry.abort_after) == (StudyState.RUNNING, None, None)
    run(house, 0.2, 0.2)
    assert house.studies.get(study.id).study.state is StudyState.COMPLETED


def test_time_between_the_end_and_the_extension_does_not_count(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0)
    work = claim(house)
    house.clock.advance(10)
    complete(house, work)
    run(house, 0.2)
    house.clock.advance(1_000)
    extended(house, study, 1)
    house.clock.advance(5)
    assert house.studies.get(study.id).run_s == pytest.approx(15)


def test_a_study_that_has_not_ended_or_was_cancelled_is_not_extended(house: House) -> None:
    study = house.study()
    with pytest.raises(Conflict, match="PATCH its n_iterations"):
        house.life.extend(study.id, n_iterations=1)
    house.studies.cancel(study.id)
    with pytest.raises(Conflict, match="cancelled"):
        house.life.extend(study.id, n_iterations=1)
    with pytest.raises(NotFound):
        house.life.extend("std_none", n_iterations=1)


def test_no_more_trials_than_a_study_may_have(house: House) -> None:
    study = completed(house)
    with pytest.raises(InvalidRequest, match=f"n_iterations may be {MAX_BUDGET - 1}") as refused:
        house.life.extend(study.id, n_iterations=MAX_BUDGET)
    assert refused.value.pointer == "/n_iterations"


def test_a_study_is_not_extended_while_its_winner_is_made_a_model(house: House) -> None:
    study = completed(house)
    model = house.models.promote(study.id, fit=Fit.TRIAL)
    assert isinstance(model, Model)
    with pytest.raises(Conflict, match=model.id):
        house.life.extend(study.id, n_iterations=1)


def test_an_extension_that_is_asked_for_twice_under_one_key_counts_once(house: House) -> None:
    study = completed(house)
    key: Idempotency[Study] = Idempotency("key", "0" * 64, lambda found: {"id": found.id})
    house.life.extend(study.id, n_iterations=1, idempotency=key)
    assert house.life.extend(study.id, n_iterations=1, idempotency=key) == Replay({"id": study.id})
    assert house.studies.get(study.id).study.spec.budget == 2


# Changing


def changed(house: House, study: Study, **spec: object) -> Study:
    return house.life.change(study.id, Changes(spec=spec))


def test_parallelism_and_budgets_are_changed_while_a_study_runs(house: House) -> None:
    study = house.study()
    first = claim(house)
    assert house.trials.claim("worker") is None
    patched = changed(house, study, parallelism=3, trial_timeout_s=9.0, max_attempts=1, n_iterations=7, name="longer")
    assert (patched.spec.budget, patched.spec.name, patched.version) == (9, "longer", 1)
    second = claim(house)
    assert second.spec.trial_timeout_s == 9.0
    ended = house.trials.fail(first.claim, Failure(code="crashed", reason="It crashed."), is_final=False)
    assert ended.state is TrialState.FAILED


def test_a_change_of_nothing_changes_nothing(house: House) -> None:
    study = house.study()
    assert changed(house, study, name="a study") == study
    assert house.life.change(study.id, Changes()) == study


def test_a_budget_that_is_used_up_by_the_change_ends_the_search(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=8)
    run(house, 0.2, 0.2)
    changed(house, study, n_iterations=1)
    assert claim(house).trial.role is TrialRole.CONFIRMATION


def test_a_budget_below_the_trials_that_were_begun_is_refused(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=8)
    run(house, 0.2, 0.2, 0.2)
    with pytest.raises(InvalidRequest, match="at least 2") as refused:
        changed(house, study, n_iterations=1)
    assert refused.value.pointer == "/n_iterations"


def test_a_rule_that_is_given_to_a_running_study_may_stop_it_at_once(house: House) -> None:
    study = house.study(n_iterations=8)
    run(house, 0.2)
    patched = changed(house, study, stopping=Stopping(target=0.1))
    assert patched.stopped is not None
    assert claim(house).trial.role is TrialRole.CONFIRMATION


def test_a_change_is_validated_like_a_new_study(house: House) -> None:
    study = house.study()
    with pytest.raises(InvalidRequest) as refused:
        changed(house, study, stopping=Stopping(min_expected_improvement=0.5))
    assert refused.value.pointer == "/stopping/min_expected_improvement"


def test_a_change_of_another_version_is_refused(house: House) -> None:
    study = house.study()
    house.life.change(study.id, Changes(spec={"name": "first"}), if_match=0)
    with pytest.raises(StaleVersion) as refused:
        house.life.change(study.id, Changes(spec={"name": "second"}), if_match=0)
    assert (refused.value.expected, refused.value.actual) == (0, 1)
    assert house.studies.get(study.id).study.spec.name == "first"


def test_an_ended_study_keeps_its_number_of_trials_and_a_cancelled_one_all_but_its_name(house: House) -> None:
    study = completed(house)
    assert changed(house, study, parallelism=2, name="over").spec.name == "over"
    with pytest.raises(Conflict, match="extend it"):
        changed(house, study, n_iterations=3)
    other = house.study()
    house.studies.cancel(other.id)
    assert changed(house, other, name="given up").spec.name == "given up"
    with pytest.raises(Conflict, match="cancelled"):
        changed(house, other, parallelism=2)


# Revisions


class Remembering(RandomSearch):
    """Remembers what it was told."""

    def __init__(self, spec: StudySpec, told: dict[int, list[Observation]]) -> None:
        super().__init__(spec.space, spec.seed)
        self._told = told

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        self._told[number] = list(observations)
        return super().suggest(observations, number=number)


@pytest.fixture
def told(house: House) -> dict[int, list[Observation]]:
    """What the suggester of the house was told, by the number of the trial it was asked for."""
    told: dict[int, list[Observation]] = {}
    house.trials = TrialService(
        house.units,
        store=house.store,
        ids=UuidIds(),
        signals=PollingSignals(),
        suggester_for=lambda spec: Remembering(spec, told),
        lease=LEASE,
        watch=house.watch,
    )
    return told


def test_another_search_space_is_a_new_revision_that_later_trials_name(
    house: House, told: dict[int, list[Observation]]
) -> None:
    study = house.study(n_initial=9)
    run(house, 0.2, 0.1, 0.3)
    house.clock.advance(60)
    patched = house.life.change(study.id, Changes(space={"window": NARROW}))
    assert patched.revision == 1
    assert [revision.number for revision in patched.revisions] == [0, 1]
    assert [revision.space for revision in patched.revisions] == [study.spec.space, patched.spec.space]
    assert patched.revisions[0].at == study.created_at
    assert patched.revisions[1].at == house.clock.now()
    work = claim(house)
    assert work.trial.revision == 1
    assert work.trial.parameters is not None
    assert work.trial.parameters.window <= 2
    trials = house.studies.trials(study.id, role=TrialRole.SEARCH, limit=9).rows
    assert [trial.revision for trial in trials] == [0, 0, 0, 1]
    held = [trial.number for trial in trials[:3] if trial.parameters is not None and trial.parameters.window <= 2]
    assert [seen.number for seen in told[3]] == held
    assert len(told[2]) == 2


def test_points_count_again_once_a_later_revision_holds_them(house: House, told: dict[int, list[Observation]]) -> None:
    study = house.study(n_initial=9)
    run(house, 0.2, 0.1)
    house.life.change(study.id, Changes(space={"window": NARROW}))
    run(house, 0.3)
    back = house.life.change(study.id, Changes(space={"window": IntParameter(name="window", low=1, high=40)}))
    assert (back.revision, back.spec.space) == (2, study.spec.space)
    run(house, 0.3)
    assert [seen.number for seen in told[3]] == [0, 1, 2]


def test_the_best_is_the_best_of_all_revisions_and_its_confirmation_names_its_own(house: House) -> None:
    study = house.study(n_initial=2, n_iterations=0)
    run(house, 0.4)
    house.life.change(study.id, Changes(space={"window": NARROW}))
    run(house, 0.2)
    assert claim(house).trial.revision == 0


def test_a_completed_study_is_extended_into_another_space(house: House) -> None:
    study = completed(house)
    house.life.change(study.id, Changes(space={"epochs": 5}))
    extended(house, study, 1)
    work = claim(house)
    assert work.trial.parameters is not None
    assert (work.trial.parameters.epochs, work.trial.revision) == (5, 1)


def test_a_point_that_was_suggested_while_the_space_changed_is_not_used(house: House) -> None:
    study = house.study(n_initial=9)
    changes = iter([Changes(space={"window": NARROW})])

    def suggester_for(spec: StudySpec) -> RandomSearch:
        for change in changes:
            house.life.change(study.id, change)
        return RandomSearch(spec.space, spec.seed)

    house.trials = TrialService(
        house.units,
        store=house.store,
        ids=UuidIds(),
        signals=PollingSignals(),
        suggester_for=suggester_for,
        lease=LEASE,
        watch=house.watch,
    )
    work = claim(house)
    assert (work.trial.number, work.trial.revision) == (0, 1)
    assert work.trial.parameters is not None
    assert work.trial.parameters.window <= 2


def test_a_space_that_is_wrong_is_refused_and_there_are_only_so_many(house: House) -> None:
    study = house.study()
    with pytest.raises(InvalidRequest):
        house.life.change(study.id, Changes(space={"window": 10_000}))
    for n in range(MAX_REVISIONS - 1):
        house.life.change(study.id, Changes(space={"epochs": n + 4}))
    with pytest.raises(Conflict, match="clone it"):
        house.life.change(study.id, Changes(space={"epochs": 3}))


# Cloning


def test_a_clone_is_a_new_study_that_knows_where_it_comes_from(house: House) -> None:
    study = completed(house)
    house.life.change(study.id, Changes(space={"epochs": 5}))
    clone = house.life.clone(study.id, overrides={"seed": 7, "name": "another"})
    assert isinstance(clone, Study)
    assert (clone.state, clone.cloned_from, clone.revision) == (StudyState.QUEUED, study.id, 0)
    assert (clone.spec.seed, clone.spec.name) == (7, "another")
    assert clone.spec.space.fixed["epochs"] == 5
    assert house.studies.get(clone.id).n_ended == 0
    assert claim(house).trial.study_id == clone.id


def test_a_clone_has_baselines_of_its_own(house: House) -> None:
    study = house.study(baselines=True)
    house.studies.cancel(study.id)
    clone = house.life.clone(study.id, overrides={})
    assert isinstance(clone, Study)
    assert [trial.state for trial in house.studies.get(clone.id).baselines] == [TrialState.WAITING] * 5


def test_a_clone_is_validated_like_a_new_study(house: House) -> None:
    study = house.study()
    with pytest.raises(InvalidRequest) as refused:
        house.life.clone(study.id, overrides={"dataset_id": "dat_none"})
    assert refused.value.pointer == "/dataset_id"
    with pytest.raises(NotFound):
        house.life.clone("std_none", overrides={})


def test_a_clone_under_the_same_key_is_the_same_even_when_the_original_is_gone(house: House) -> None:
    study = house.study()
    key: Idempotency[Study] = Idempotency("key", "0" * 64, lambda found: {"id": found.id})
    clone = house.life.clone(study.id, overrides={}, idempotency=key)
    assert isinstance(clone, Study)
    house.studies.cancel(study.id)
    house.life.delete(study.id)
    assert house.life.clone(study.id, overrides={}, idempotency=key) == Replay({"id": clone.id})
    assert house.studies.get(clone.id).study.cloned_from == study.id


# Deleting


def vectors(house: House) -> list[str]:
    folder = house.root / KIND
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_deleted_study_is_gone_with_its_trials_and_their_vectors(house: House) -> None:
    study = completed(house)
    other = completed(house)
    best = house.studies.get(study.id).best
    assert best is not None
    assert len(vectors(house)) == 2
    house.life.delete(study.id)
    for look in (house.studies.get, house.life.delete):
        with pytest.raises(NotFound):
            look(study.id)
    with pytest.raises(NotFound):
        house.studies.trial(best.id)
    kept = house.studies.get(other.id).best
    assert kept is not None
    assert vectors(house) == [f"{kept.id}-1"]


def test_an_open_study_is_not_deleted(house: House) -> None:
    study = house.study()
    with pytest.raises(Conflict, match="cancel it"):
        house.life.delete(study.id)
    claim(house)
    house.studies.pause(study.id)
    with pytest.raises(Conflict, match="cancel it"):
        house.life.delete(study.id)


def test_a_study_that_a_model_comes_from_is_not_deleted_and_the_model_is_named(house: House) -> None:
    study = completed(house)
    models = [house.models.promote(study.id) for _ in range(7)]
    ids = [model.id for model in models if isinstance(model, Model)]
    with pytest.raises(Conflict, match=f"{ids[0]}, .*{ids[4]} and 2 more"):
        house.life.delete(study.id)
    assert house.studies.get(study.id).best is not None
    assert len(vectors(house)) == 1


def test_whoever_still_runs_a_trial_of_a_deleted_study_has_lost_it(house: House) -> None:
    study = house.study(parallelism=5)
    works = [claim(house) for _ in range(3)]
    house.studies.cancel(study.id)
    house.life.delete(study.id)
    assert house.trials.heartbeat(works[0].claim) is HeartbeatAnswer.LOST
    with pytest.raises(LostLease):
        complete(house, works[0])
    with pytest.raises(LostLease):
        house.trials.fail(works[1].claim, Failure(code="crashed", reason="It crashed."), is_final=False)
    with pytest.raises(LostLease):
        house.trials.release(works[1].claim)
    with pytest.raises(LostLease):
        house.trials.cancelled(works[2].claim)
    assert house.trials.reap() == 0
    assert vectors(house) == []


# Sweeping


def publish(house: House, name: str) -> Path:
    house.store.publish(house.staged(), KIND, name)
    return house.root / KIND / name


def test_vectors_that_no_trial_keeps_are_swept(house: House) -> None:
    study = house.study(n_initial=3, n_iterations=0, parallelism=2)
    first, running = claim(house), claim(house)
    complete(house, first)
    publish(house, f"{running.trial.id}-1")
    for orphan in ("trl_gone-1", f"{first.trial.id}-2", f"{running.trial.id}-9"):
        publish(house, orphan)
    assert house.life.sweep(older_than_s=0) == 3
    assert vectors(house) == sorted([f"{first.trial.id}-1", f"{running.trial.id}-1"])
    house.studies.cancel(study.id)
    house.trials.cancelled(running.claim)
    assert house.life.sweep(older_than_s=0) == 1
    assert vectors(house) == [f"{first.trial.id}-1"]


def test_vectors_that_were_just_written_are_left_alone(house: House) -> None:
    publish(house, "trl_gone-1")
    assert house.life.sweep() == 0
    assert house.life.sweep(older_than_s=ORPHANED_AFTER_S) == 0
    assert vectors(house) == ["trl_gone-1"]


def test_what_is_no_trials_vectors_is_left_alone(house: House) -> None:
    publish(house, "trl_gone-1")
    (house.root / KIND / "by hand").mkdir()
    assert house.life.sweep(older_than_s=0) == 1
    assert vectors(house) == ["by hand"]
