"""Constraints: the best is the best feasible one, also when the baseline is measured after it."""

from dataclasses import replace

import pytest

from app.domain.lease import Failure
from app.domain.tuning.constraints import parse
from app.domain.tuning.study import StudyState
from app.domain.tuning.trial import TrialRole, TrialState
from app.services.trials import KIND, TrialWork
from tests.services.conftest import House
from tests.services.test_trials import CRASH, claim
from tests.values import outcome

TWICE = parse("train_seconds <= 2 * baseline")
FAST = parse("train_seconds <= 1")


def complete(house: House, work: TrialWork, objective: float, *, train_s: float) -> None:
    is_search = work.trial.role is TrialRole.SEARCH
    told = replace(outcome(objective), times_s={"train": train_s})
    house.trials.complete(work.claim, told, staged=house.staged() if is_search else None)


def kept(house: House, study_id: str) -> list[int]:
    """The numbers of the trials whose vectors are kept, as the rows and the files agree."""
    trials = house.studies.trials(study_id, limit=50, role=TrialRole.SEARCH).rows
    there = {path.name for path in (house.root / KIND).iterdir()} if (house.root / KIND).is_dir() else set()
    assert {f"{trial.id}-{trial.attempt}" for trial in trials if trial.has_vectors} == there
    return [trial.number for trial in trials if trial.has_vectors]


def with_baselines(house: House, **changes: int) -> tuple[str, dict[str, TrialWork]]:
    """A study that compares with a baseline, and its baselines, all being measured."""
    study = house.study(parallelism=9, baselines=True, constraints=(TWICE,), **changes)
    works = [claim(house) for _ in range(5)]
    return study.id, {work.trial.name: work for work in works}


def test_the_best_is_the_best_that_keeps_the_constraints(house: House) -> None:
    study = house.study(constraints=(FAST,))
    complete(house, claim(house), 0.9, train_s=2.0)
    assert house.studies.get(study.id).best is None
    assert kept(house, study.id) == []
    complete(house, claim(house), 0.2, train_s=1.0)
    complete(house, claim(house), 0.1, train_s=0.5)
    best = house.studies.get(study.id).best
    assert best is not None
    assert best.number == 1
    assert kept(house, study.id) == [1]
    confirmation = claim(house)
    assert confirmation.trial.source_trial_id == best.id
    complete(house, confirmation, 0.2, train_s=0.0)
    view = house.studies.get(study.id)
    assert view.study.state is StudyState.COMPLETED
    assert [(one.bound, one.n_kept, one.n_known) for one in view.constraints] == [(1.0, 2, 3)]


def test_vectors_wait_for_the_baseline_that_sets_the_bound(house: House) -> None:
    study_id, baselines = with_baselines(house)
    works = [claim(house) for _ in range(3)]
    complete(house, works[0], 0.9, train_s=9.0)
    complete(house, works[1], 0.3, train_s=3.0)
    complete(house, works[2], 0.2, train_s=1.0)
    assert house.studies.get(study_id).best is None
    assert kept(house, study_id) == [0, 1, 2]
    complete(house, baselines["most_popular"], 0.1, train_s=0.0)
    assert kept(house, study_id) == [0, 1, 2]
    complete(house, baselines["gensim_defaults"], 0.1, train_s=2.0)
    view = house.studies.get(study_id)
    assert view.best is not None
    assert view.best.number == 1
    assert kept(house, study_id) == [1]
    assert house.store.open(KIND, f"{works[1].trial.id}-1").is_dir()
    assert [(one.bound, one.n_kept, one.n_known) for one in view.constraints] == [(4.0, 2, 3)]


def test_a_trial_that_cannot_be_better_whatever_the_bound_keeps_no_vectors(house: House) -> None:
    study = house.study(parallelism=9, baselines=True, n_initial=3, constraints=(FAST, TWICE))
    for _ in range(5):
        claim(house)
    works = [claim(house) for _ in range(3)]
    complete(house, works[0], 0.9, train_s=2.0)  # breaks the first constraint, whatever the second says
    complete(house, works[1], 0.3, train_s=1.0)
    assert kept(house, study.id) == [1]


def test_the_search_is_told_of_violations(house: House) -> None:
    study_id, baselines = with_baselines(house)
    complete(house, baselines["gensim_defaults"], 0.1, train_s=2.0)
    work = claim(house)
    complete(house, work, 0.3, train_s=6.0)
    (standing,) = house.studies.trial_facts(work.trial.id).standings
    assert (standing.value, standing.bound, standing.is_kept) == (6.0, 4.0, False)
    assert standing.violation == pytest.approx(0.5)
    assert house.studies.trial_facts(baselines["gensim_defaults"].trial.id).standings == []
    assert house.studies.get(study_id).study.best_trial_id is None


def test_a_study_of_which_no_trial_keeps_the_constraints_fails_and_says_by_how_much(house: House) -> None:
    study = house.study(constraints=(FAST, parse("coverage >= 0.1")))
    for train_s in (3.0, 2.0, 5.0):
        complete(house, claim(house), 0.2, train_s=train_s)
    stored = house.studies.get(study.id).study
    assert stored.state is StudyState.FAILED
    assert stored.failure == Failure(
        code="no_feasible_trial",
        reason="None of 3 completed trials keeps every constraint. Broken were train_seconds <= 1 by 3 "
        "(the closest 2, the bound 1).",
    )
    assert kept(house, study.id) == []


def test_a_study_without_a_completed_trial_fails_for_that(house: House) -> None:
    study = house.study(max_attempts=1, constraints=(FAST,))
    for _ in range(3):
        house.trials.fail(claim(house).claim, CRASH, is_final=False)
    failure = house.studies.get(study.id).study.failure
    assert failure is not None
    assert failure.code == "no_usable_trial"


def test_a_study_whose_bound_can_never_be_known_fails_at_once(house: House) -> None:
    study_id, baselines = with_baselines(house, max_attempts=1)
    running, done = claim(house), claim(house)
    complete(house, done, 0.3, train_s=1.0)
    assert kept(house, study_id) == [1]
    house.trials.fail(baselines["co_occurrence"].claim, CRASH, is_final=False)
    assert house.studies.get(study_id).study.state is StudyState.RUNNING
    house.trials.fail(baselines["gensim_defaults"].claim, CRASH, is_final=False)
    stored = house.studies.get(study_id).study
    assert stored.state is StudyState.FAILED
    assert stored.failure is not None
    assert stored.failure.code == "no_feasible_trial"
    assert "gensim_defaults is failed" in stored.failure.reason
    assert kept(house, study_id) == []
    assert house.trials.claim("worker") is None
    assert house.trials.heartbeat(running.claim).value == "cancel"


def test_a_baseline_that_is_lost_frees_what_waited_for_it(house: House) -> None:
    study_id, _ = with_baselines(house, max_attempts=1)
    complete(house, claim(house), 0.3, train_s=1.0)
    assert kept(house, study_id) == [0]
    house.clock.advance(3600)
    house.trials.reap()
    assert kept(house, study_id) == []
    assert house.studies.get(study_id).study.state is StudyState.FAILED


def test_a_pruned_or_running_trial_stands_nowhere_yet(house: House) -> None:
    house.study(constraints=(FAST,))
    work = claim(house)
    (standing,) = house.studies.trial_facts(work.trial.id).standings
    assert (standing.value, standing.bound, standing.is_kept) == (None, 1.0, None)
    assert work.trial.state is TrialState.RUNNING


def test_a_study_whose_metric_cannot_be_measured_fails_and_says_so(house: House) -> None:
    study = house.study(n_initial=1, n_iterations=0, constraints=(parse("evaluate_seconds <= 1"),))
    complete(house, claim(house), 0.2, train_s=1.0)
    failure = house.studies.get(study.id).study.failure
    assert failure is not None
    assert failure.reason.endswith("Broken were evaluate_seconds <= 1 by 1.")
