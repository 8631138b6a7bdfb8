"""What a study measures once its search is over: through extensions, further replicates, pauses and cancellations."""

import pytest

from app.domain.errors import Conflict, InvalidRequest
from app.domain.lease import Failure, HeartbeatAnswer
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.trial import Method, Trial, TrialRole, TrialState
from app.services.study_life import Changes
from app.services.trials import TrialWork
from tests.services.conftest import House
from tests.values import outcome

TRAINED = ("gensim_defaults", "gensim_defaults_skip_gram")


def claim(house: House) -> TrialWork:
    work = house.trials.claim("worker")
    assert work is not None
    return work


def complete(house: House, work: TrialWork, objective: float = 0.2) -> None:
    is_kept = work.trial.role is TrialRole.SEARCH
    house.trials.complete(work.claim, outcome(objective), staged=house.staged() if is_kept else None)


def run(house: House, *objectives: float) -> list[TrialWork]:
    """Play the worker until nothing is left: trials of the search measure these in turn, all others 0.2."""
    left, done = list(objectives), []
    while (work := house.trials.claim("worker")) is not None:
        complete(house, work, left.pop(0) if work.trial.role is TrialRole.SEARCH else 0.2)
        done.append(work)
    assert not left
    return done


def study_of(house: House, *objectives: float, **changes: int | Stopping) -> Study:
    """A study with baselines and two replicates that has run."""
    study = house.study(n_initial=len(objectives), n_iterations=0, baselines=True, **{"replicates": 2, **changes})
    run(house, *objectives)
    return study


def replicates(house: House, study: Study) -> list[Trial]:
    return house.studies.trials(study.id, role=TrialRole.REPLICATE, limit=200).rows


def replicated(house: House, study: Study) -> dict[str, list[int | None]]:
    """The seeds of the replicates by the name of what they replicate."""
    found: dict[str, list[int | None]] = {}
    for trial in replicates(house, study):
        assert trial.source_trial_id is not None
        found.setdefault(house.studies.trial(trial.source_trial_id).name, []).append(trial.seed)
    return found


def assert_complete(house: House, study: Study) -> None:
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert view.n_ended == view.n_trials
    assert view.fraction == 1.0
    assert house.trials.claim("worker") is None


def test_winner_and_trained_baselines_are_replicated_once_the_winner_is_known(house: House) -> None:
    study = study_of(house, 0.1, 0.3)
    assert replicated(house, study) == {name: [1, 2] for name in ("trial-1", *TRAINED)}
    assert [trial.number for trial in replicates(house, study)] == list(range(6))
    assert {trial.method for trial in replicates(house, study)} == {Method.WORD2VEC}
    assert_complete(house, study)


def test_all_that_is_to_come_is_counted_from_the_first_moment(house: House) -> None:
    study = house.study(n_initial=2, n_iterations=0, baselines=True, replicates=2)
    assert house.studies.get(study.id).n_trials == 5 + 2 + 1 + 6
    run(house, 0.1, 0.2)
    assert house.studies.get(study.id).n_ended == 5 + 2 + 1 + 6


def test_an_extension_that_finds_another_winner_replicates_it_and_no_baseline_again(house: House) -> None:
    study = study_of(house, 0.1, 0.3)
    house.life.extend(study.id, n_iterations=1)
    done = run(house, 0.4)
    assert [work.trial.role for work in done] == [TrialRole.SEARCH, TrialRole.CONFIRMATION, *[TrialRole.REPLICATE] * 2]
    assert replicated(house, study) == {name: [1, 2] for name in ("trial-1", "trial-2", *TRAINED)}
    assert_complete(house, study)


def test_an_extension_that_finds_no_other_winner_measures_nothing_further(house: House) -> None:
    study = study_of(house, 0.1, 0.3)
    house.life.extend(study.id, n_iterations=1)
    assert [work.trial.role for work in run(house, 0.2)] == [TrialRole.SEARCH]
    assert_complete(house, study)


def test_a_study_that_is_completed_runs_again_for_further_replicates_alone(house: House) -> None:
    study = study_of(house, 0.1, 0.3, replicates=0)
    assert replicates(house, study) == []
    changed = house.life.change(study.id, Changes(spec={"replicates": 2}))
    assert (changed.state, changed.finished_at) == (StudyState.RUNNING, None)
    assert {work.trial.role for work in run(house)} == {TrialRole.REPLICATE}
    assert replicated(house, study) == {name: [1, 2] for name in ("trial-1", *TRAINED)}
    assert_complete(house, study)
    house.life.change(study.id, Changes(spec={"replicates": 3}))
    assert {work.trial.seed for work in run(house)} == {3}
    assert house.life.change(study.id, Changes(spec={"replicates": 1})).state is StudyState.COMPLETED
    assert_complete(house, study)
    with pytest.raises(InvalidRequest):
        house.life.change(study.id, Changes(spec={"replicates": 51}))


def test_a_clone_has_as_many_replicates(house: House) -> None:
    study = study_of(house, 0.1)
    clone = house.life.clone(study.id, overrides={"seed": 7})
    assert isinstance(clone, Study)
    assert clone.spec.replicates == 2
    run(house, 0.3)
    assert {trial.seed for trial in replicates(house, clone)} == {8, 9}


def test_no_rule_stops_a_search_that_is_over(house: House) -> None:
    """The winner and its replicates may take as long as they take: the search has not been stopped by that."""
    study = house.study(n_initial=1, n_iterations=1, replicates=2, stopping=Stopping(max_run_s=100.0))
    complete(house, claim(house), 0.3)
    complete(house, claim(house), 0.2)
    house.clock.advance(1_000)
    assert [work.trial.role for work in run(house)] == [TrialRole.CONFIRMATION, *[TrialRole.REPLICATE] * 2]
    view = house.studies.get(study.id)
    assert (view.study.state, view.study.stopped) == (StudyState.COMPLETED, None)


def test_a_rule_stops_a_search_that_was_extended_and_its_new_winner_is_replicated(house: House) -> None:
    study = study_of(house, 0.1)
    house.life.extend(study.id, n_iterations=5)
    house.life.change(study.id, Changes(spec={"stopping": Stopping(target=0.35)}))
    done = run(house, 0.4)
    assert [work.trial.role for work in done] == [TrialRole.SEARCH, TrialRole.CONFIRMATION, *[TrialRole.REPLICATE] * 2]
    stopped = house.studies.get(study.id).study.stopped
    assert stopped is not None
    assert stopped.rule == "target"
    assert_complete(house, study)


def test_a_budget_that_grows_while_the_winner_is_replicated_goes_on_with_the_search(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=2)
    complete(house, claim(house), 0.1)
    complete(house, claim(house))  # the confirmation
    house.life.change(study.id, Changes(spec={"n_iterations": 1}))
    run(house, 0.5)
    assert replicated(house, study) == {"trial-0": [1, 2], "trial-1": [1, 2]}
    assert_complete(house, study)


def test_a_baseline_that_could_not_be_trained_is_not_replicated(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, baselines=True, replicates=1)
    house.trials.fail(claim(house).claim, Failure(code="infeasible", reason="Too few songs."), is_final=True)
    run(house, 0.3)
    assert set(replicated(house, study)) == {"trial-0", TRAINED[1]}
    assert_complete(house, study)


def test_a_replicate_that_failed_for_good_does_not_hold_the_study_up(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=2)
    complete(house, claim(house), 0.3)
    complete(house, claim(house))
    house.trials.fail(claim(house).claim, Failure(code="infeasible", reason="No."), is_final=True)
    run(house)
    assert [trial.state for trial in replicates(house, study)] == [TrialState.INFEASIBLE, TrialState.COMPLETED]
    assert_complete(house, study)


def test_a_paused_study_confirms_its_winner_when_it_is_resumed(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=1)
    work = claim(house)
    house.studies.pause(study.id)
    complete(house, work, 0.3)
    assert replicates(house, study) == []
    house.studies.resume(study.id)
    assert [work.trial.role for work in run(house)] == [TrialRole.CONFIRMATION, TrialRole.REPLICATE]
    assert_complete(house, study)


def test_a_replicate_that_runs_is_stopped_when_its_study_is_cancelled_and_the_study_stays_completed(
    house: House,
) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=1)
    complete(house, claim(house), 0.3)
    complete(house, claim(house))
    work = claim(house)
    house.studies.pause(study.id)
    house.studies.cancel(study.id)
    assert house.trials.heartbeat(work.claim) is HeartbeatAnswer.CANCEL
    house.trials.cancelled(work.claim)
    assert_complete(house, study)


def test_a_study_that_is_cancelled_before_its_winner_is_confirmed_is_cancelled(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=1)
    complete(house, claim(house), 0.3)
    assert house.studies.cancel(study.id).state is StudyState.CANCELLED


def test_replicates_are_cancelled_and_deleted_with_their_study(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, replicates=2)
    complete(house, claim(house), 0.3)
    complete(house, claim(house))
    assert house.studies.cancel(study.id).state is StudyState.COMPLETED
    assert {trial.state for trial in replicates(house, study)} == {TrialState.CANCELLED}
    with pytest.raises(Conflict):
        house.studies.cancel(study.id)
    house.life.delete(study.id)
    with house.units.reading() as unit:
        assert unit.events.latest(study.id) == 0
