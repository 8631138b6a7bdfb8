import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import TypeAdapter

from app.domain.errors import InvalidRequest
from app.domain.training import DEFAULT_TRAINER, Trainer
from app.domain.tuning.constraints import parse
from app.domain.tuning.pruning import Pruning
from app.domain.tuning.revisions import Revision
from app.domain.tuning.search_space import CategoricalParameter, SearchSpace, preset
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import OPEN_STATES, STUDY_MOVES, Objective, Study, StudySpec, StudyState
from tests.values import NOON, study_spec

SPEC = study_spec("dst_1")


def test_defaults_are_the_articles() -> None:
    spec = StudySpec(name="a study", dataset_id="dst_1", space=SPEC.space)
    assert (spec.n_initial, spec.n_iterations, spec.budget) == (5, 19, 24)
    assert (spec.algorithm, spec.acquisition) == ("bayesian", "ei")
    assert spec.trainer is DEFAULT_TRAINER
    assert spec.objective == Objective(k=10, hr_weight=0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "   "),
        ("name", "n" * 201),
        ("name", "a\nb"),
        ("n_initial", 0),
        ("n_initial", 10_001),
        ("n_iterations", -1),
        ("seed", -1),
        ("seed", 2**31),
        ("parallelism", 0),
        ("parallelism", 257),
        ("threads", 0),
        ("threads", 257),
        ("max_attempts", 0),
        ("max_attempts", 21),
        ("trial_timeout_s", 0),
        ("trial_timeout_s", -1.0),
        ("trial_timeout_s", math.inf),
        ("trial_timeout_s", math.nan),
    ],
)
def test_number_out_of_range_is_refused_and_the_field_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(SPEC, **{field: value})  # type: ignore[arg-type]
    assert refused.value.pointer == f"/{field}"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n" * 200, "seed": 2**31 - 1, "parallelism": 256, "threads": 256, "max_attempts": 20},
        {"name": "é", "seed": 0, "n_initial": 1, "n_iterations": 0, "trial_timeout_s": 0.1},
        {"n_initial": 1, "n_iterations": 9_999},
    ],
)
def test_numbers_at_the_ends_of_their_ranges_are_taken(changes: dict[str, object]) -> None:
    spec = replace(SPEC, **changes)  # type: ignore[arg-type]
    assert all(getattr(spec, field) == value for field, value in changes.items())


def test_more_trials_than_the_largest_budget_are_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(SPEC, n_initial=2, n_iterations=9_999)
    assert refused.value.pointer == "/n_iterations"


@pytest.mark.parametrize(
    ("objective", "pointer"),
    [
        ({"k": 0}, "/objective/k"),
        ({"k": 101}, "/objective/k"),
        ({"hr_weight": -0.1}, "/objective/hr_weight"),
        ({"hr_weight": 1.1}, "/objective/hr_weight"),
        ({"hr_weight": math.nan}, "/objective/hr_weight"),
    ],
)
def test_objective_out_of_range_is_refused(objective: dict[str, float], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Objective(**objective)  # type: ignore[arg-type]
    assert refused.value.pointer == pointer


def test_what_segue_cannot_train_again_has_no_replicates() -> None:
    with pytest.raises(InvalidRequest, match="cannot train") as refused:
        replace(SPEC, trainer=Trainer.EXTERNAL, replicates=1)
    assert refused.value.pointer == "/replicates"


def test_random_search_cannot_stop_by_what_it_expects() -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(SPEC, algorithm="random", stopping=Stopping(min_expected_improvement=0.5))
    assert refused.value.pointer == "/stopping/min_expected_improvement"


def test_time_counts_while_a_study_runs_and_stands_still_while_it_does_not() -> None:
    def after(minutes: int) -> datetime:
        return NOON + timedelta(minutes=minutes)

    study = Study(id="std_1", spec=SPEC, state=StudyState.QUEUED, created_at=NOON)
    assert study.run_s(after(5)) == 0
    running = study.in_state(StudyState.RUNNING, now=after(5))
    assert running.run_s(after(7)) == 120
    paused = running.in_state(StudyState.PAUSED, now=after(8))
    assert paused.run_s(after(60)) == 180
    again = paused.in_state(StudyState.RUNNING, now=after(60))
    assert again.run_s(after(61)) == 240
    assert again.in_state(StudyState.COMPLETED, now=after(62)).run_s(after(99)) == 300


def test_clock_that_is_set_back_takes_no_time_away() -> None:
    running = replace(
        Study(id="std_1", spec=SPEC, state=StudyState.RUNNING, created_at=NOON), ran_s=9.0, running_since=NOON
    )
    assert running.run_s(NOON - timedelta(hours=1)) == 9.0


def test_study_whose_space_was_never_changed_has_one_revision() -> None:
    study = Study(id="std_1", spec=SPEC, state=StudyState.QUEUED, created_at=NOON)
    assert study.revision == 0
    assert study.all_revisions == (Revision(number=0, space=SPEC.space, at=NOON),)
    narrower = preset("article", epochs=1, overrides={"window": 4})
    later = replace(study, revisions=(*study.all_revisions, Revision(number=1, space=narrower, at=NOON)))
    assert later.revision == 1
    assert len(later.all_revisions) == 2
    assert [later.space_at(number) for number in (0, 1)] == [SPEC.space, narrower]


def test_spec_survives_json() -> None:
    stored = TypeAdapter(StudySpec)
    pruned = replace(
        SPEC,
        baselines=True,
        pruning=Pruning(rule="successive_halving", min_epochs=2),
        constraints=(parse("coverage >= 0.9 * baseline"),),
    )
    for spec in (SPEC, pruned):
        assert stored.validate_json(stored.dump_json(spec)) == spec


def test_a_spec_from_before_pruning_prunes_nothing() -> None:
    stored = TypeAdapter(StudySpec)
    told = stored.dump_python(SPEC, mode="json")
    del told["pruning"], told["constraints"]
    assert stored.validate_python(told) == SPEC


@pytest.mark.parametrize(
    ("space", "longest"),
    [
        (preset("article", epochs=7, overrides={}), 7),
        (preset("extended", epochs=3, overrides={}), 100),
        (preset("article", epochs=3, overrides={"epochs": CategoricalParameter(name="epochs", choices=(2, 9, 4))}), 9),
        (SearchSpace(parameters=SPEC.space.parameters, fixed={}), None),
    ],
)
def test_the_longest_trial_is_as_the_space_says(space: SearchSpace, longest: int | None) -> None:
    assert replace(SPEC, space=space).longest_trial == longest


def test_a_rule_that_could_prune_no_trial_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="below the 3 epochs of a trial") as refused:
        replace(SPEC, pruning=Pruning(rule="median", min_epochs=3))
    assert refused.value.pointer == "/pruning/min_epochs"


def test_a_bound_set_by_a_baseline_needs_the_baselines() -> None:
    with pytest.raises(InvalidRequest, match="'coverage >= 2 \\* baseline' needs the baselines") as refused:
        replace(SPEC, baselines=False, constraints=(parse("coverage >= 0.1"), parse("coverage >= 2 * baseline")))
    assert refused.value.pointer == "/baselines"
    assert replace(SPEC, baselines=False, constraints=(parse("coverage >= 0.1"),)).constraints


def test_more_constraints_than_the_most_are_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(SPEC, constraints=(parse("coverage >= 0.1"),) * 11)
    assert refused.value.pointer == "/constraints"


def test_every_state_has_its_moves_and_the_open_ones_can_be_cancelled() -> None:
    assert set(STUDY_MOVES) == set(StudyState)
    assert {state for state, moves in STUDY_MOVES.items() if StudyState.CANCELLED in moves} == OPEN_STATES
    assert {state for state, moves in STUDY_MOVES.items() if not moves} == {StudyState.CANCELLED}


def test_a_study_that_has_ended_can_only_run_again() -> None:
    for state in (StudyState.COMPLETED, StudyState.FAILED):
        assert STUDY_MOVES[state] == {StudyState.RUNNING}
