from dataclasses import replace
from typing import Any

import pytest

from app.domain.embedding import Scoring
from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.constraints import parse
from app.domain.tuning.outside import outside_observations
from app.domain.tuning.pruning import Pruned
from app.domain.tuning.revisions import holds
from app.domain.tuning.search_space import CategoricalParameter, Condition, FloatParameter, IntParameter, SearchSpace
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState
from app.domain.tuning.warm_start import Inherited, WarmStart, best_first, seeds, told, translated
from tests.values import NOON, epoch_measured, measurement, outcome

SPACE = SearchSpace(
    parameters=(
        IntParameter(name="window", low=2, high=9),
        FloatParameter(name="alpha", low=0.01, high=0.1, scale="log"),
        CategoricalParameter(name="scoring", choices=("output", "sum")),
    ),
    fixed={"epochs": 7},
)
INSIDE = TrainingParameters(window=4, alpha=0.05, scoring=Scoring.SUM, epochs=7)


def trial(study_id: str, number: int, objective: float | None, **changes: Any) -> Trial:  # noqa: ANN401 - fields
    values: dict[str, Any] = {
        "id": f"{study_id}-{number}",
        "study_id": study_id,
        "role": TrialRole.SEARCH,
        "number": number,
        "name": f"trial-{number}",
        "method": Method.WORD2VEC,
        "parameters": replace(INSIDE, window=2 + number),
        "state": TrialState.INFEASIBLE if objective is None else TrialState.COMPLETED,
        "created_at": NOON,
        "outcome": None if objective is None else outcome(objective),
    }
    return Trial(**(values | changes))


@pytest.mark.parametrize(
    ("mode", "study_ids", "pointer"),
    [
        ("copy", ("a",), "/warm_start/mode"),
        ("transfer", (), "/warm_start/study_ids"),
        ("transfer", ("a", "b", "c", "d", "e", "f"), "/warm_start/study_ids"),
        ("identical_data", ("a", "b", "a"), "/warm_start/study_ids/2"),
    ],
)
def test_what_is_no_warm_start_is_refused_where_it_is_wrong(mode: Any, study_ids: Any, pointer: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest) as refused:
        WarmStart(mode=mode, study_ids=study_ids)
    assert refused.value.pointer == pointer


def test_a_warm_start_takes_up_to_five_studies() -> None:
    assert len(WarmStart(mode="transfer", study_ids=("a", "b", "c", "d", "e")).study_ids) == 5


def test_trials_that_say_what_a_point_is_worth_are_used_by_number_and_attached_ones_last() -> None:
    trials = [
        trial("a", 0, 0.5, role=TrialRole.ATTACHED),
        trial("a", 4, 0.1),
        trial("a", 1, None),
        trial("a", 2, 0.2, state=TrialState.RUNNING),
        trial("a", 3, 0.2, outcome=None),
        trial("a", 0, 0.2, parameters=None),
        trial("a", 9, 0.2, role=TrialRole.BASELINE),
    ]
    assert [(one.trial.number, one.value) for one in told(trials)] == [(1, None), (4, 0.1), (0, 0.5)]


def test_a_pruned_trial_says_what_it_may_have_been_worth() -> None:
    epochs = (epoch_measured(1, 0.2), epoch_measured(3, 0.4))
    whole = trial("a", 0, 0.4, outcome=replace(outcome(0.4), epochs=epochs))
    stopped = Pruned(rule="median", epoch=1, value=0.1, bound=0.2, n_peers=5)
    cut = TrialOutcome(validation=None, epochs=(epoch_measured(1, 0.1),), pruned=stopped)
    silent = trial("a", 2, None, state=TrialState.PRUNED, outcome=TrialOutcome(validation=None, pruned=stopped))
    trials = [whole, trial("a", 1, None, state=TrialState.PRUNED, outcome=cut), silent]
    assert [(one.trial.number, one.value) for one in told(trials)] == [(0, 0.4), (1, pytest.approx(0.2))]
    assert [one.number for one in best_first(trials, constraints=(), segment=None)] == [0]


def test_a_point_of_the_space_is_taken_as_it_is() -> None:
    assert translated(SPACE, INSIDE) == INSIDE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"window": 1}, {"window": 2}),
        ({"window": 40}, {"window": 9}),
        ({"alpha": 0.5}, {"alpha": 0.1}),
        ({"alpha": 0.001}, {"alpha": 0.01}),
        ({"epochs": 3}, {"epochs": 7}),
        ({"scoring": Scoring.INPUT}, {"scoring": Scoring.OUTPUT}),
        ({"vector_size": 17}, {"vector_size": 100}),
    ],
)
def test_a_point_outside_is_moved_to_the_nearest_inside(before: dict[str, Any], after: dict[str, Any]) -> None:
    moved = translated(SPACE, replace(INSIDE, **before))
    assert moved == replace(INSIDE, **after)
    assert holds(SPACE, moved)


def test_a_value_that_is_no_choice_becomes_the_default_where_that_is_one() -> None:
    space = SearchSpace(parameters=(CategoricalParameter(name="window", choices=(9, 5)),), fixed={})
    assert translated(space, TrainingParameters(window=7)).window == 5


def test_a_value_that_does_not_matter_in_the_new_space_is_what_the_space_says() -> None:
    only_if = Condition("sg", (1,))
    sg = CategoricalParameter(name="sg", choices=(0, 1))
    space = SearchSpace(parameters=(sg, IntParameter(name="negative", low=1, high=20, only_if=only_if)), fixed={})
    assert translated(space, TrainingParameters(sg=0, negative=12)).negative == 5
    assert translated(space, TrainingParameters(sg=1, negative=12)).negative == 12


def ranked(*sources: list[Trial]) -> list[list[Trial]]:
    return [best_first(trials, constraints=(), segment=None) for trials in sources]


def test_the_best_of_a_source_keep_its_constraints_if_any_do() -> None:
    trials = [trial("a", 0, 0.1), trial("a", 1, 0.3, outcome=replace(outcome(0.3), model_bytes=90))]
    held = (parse("model_bytes >= 50"),)
    assert [one.number for one in best_first([*trials, trial("a", 2, 0.9)], constraints=held, segment=None)] == [1]
    assert [one.number for one in best_first(trials, constraints=(parse("model_bytes <= 50"),), segment=None)] == [1, 0]


def test_the_best_for_a_segment_are_the_best_on_it_where_it_was_measured() -> None:
    def split(number: int, ar: float, overall: float) -> Trial:
        there = replace(measurement(overall), segments={"ar": measurement(ar).overall})
        return trial("a", number, overall, outcome=TrialOutcome(validation=there))

    trials = [split(0, 0.1, 0.9), split(1, 0.8, 0.2)]
    assert [one.number for one in best_first(trials, constraints=(), segment="ar")] == [1, 0]
    for segment in (None, "en"):
        assert [one.number for one in best_first(trials, constraints=(), segment=segment)] == [0, 1]


def test_seeds_are_the_best_of_each_source_in_turn() -> None:
    sources = ranked(
        [trial("a", 0, 0.1), trial("a", 1, 0.3), trial("a", 2, 0.3)],
        [trial("b", 3, 0.9), trial("b", 4, None), trial("b", 0, 1.0, role=TrialRole.ATTACHED)],
        [trial("c", 5, 0.2), trial("c", 6, 0.5)],
    )
    found = seeds(SPACE, sources, limit=5)
    assert [seed.trial.id for seed in found] == ["a-1", "b-3", "c-6", "a-2", "c-5"]
    assert [seed.trial.id for seed in seeds(SPACE, sources, limit=2)] == ["a-1", "b-3"]
    assert seeds(SPACE, [], limit=2) == []


def test_seeds_that_become_one_point_are_tried_once_and_say_what_was_changed() -> None:
    sources = ranked(
        [trial("a", 0, 0.3, parameters=replace(INSIDE, window=20, epochs=3))],
        [trial("b", 0, 0.9, parameters=replace(INSIDE, window=30)), trial("b", 1, 0.2)],
    )
    found = seeds(SPACE, sources, limit=5)
    assert [(seed.trial.id, seed.changed) for seed in found] == [("a-0", ("window", "epochs")), ("b-1", ())]
    assert found[0].parameters == replace(INSIDE, window=9)


def inherited(number: int, value: float | None, outcome: TrialOutcome | None = None) -> Inherited:
    return Inherited(
        study_id="new",
        number=number,
        source_study_id="a",
        source_study_name="A",
        source_trial_id=f"a-{number}",
        source_number=number,
        parameters=replace(INSIDE, window=9 + number),
        value=value,
        outcome=outcome,
    )


def test_what_was_measured_elsewhere_comes_before_trial_0() -> None:
    taken_over = [inherited(-2, 0.4), inherited(-1, None)]
    attached = [
        trial("new", 0, 0.3, role=TrialRole.ATTACHED),
        trial("new", 1, 0.3, role=TrialRole.ATTACHED, parameters=None),
    ]
    seen_first = outside_observations(taken_over, attached)
    assert [(seen.number, seen.parameters.window, seen.value, seen.is_infeasible) for seen in seen_first] == [
        (-3, 7, 0.4, False),
        (-2, 8, None, True),
        (-1, 2, 0.3, False),
    ]


def test_an_attached_trial_is_pending_until_it_is_known_whether_it_keeps_the_constraints() -> None:
    attached = [trial("new", 0, 0.3, role=TrialRole.ATTACHED)]
    constraints = (parse("coverage >= 0.9 * baseline"),)
    baseline = trial("new", 1, 0.1, role=TrialRole.BASELINE, name="gensim_defaults")
    (pending,) = outside_observations([], attached, constraints=constraints)
    (known,) = outside_observations([], attached, constraints=constraints, baselines={baseline.name: baseline})
    assert (pending.value, pending.violations) == (None, ())
    assert known.value == 0.3
    assert len(known.violations) == 1
    assert known.violations[0] < 0


def test_what_was_taken_over_is_held_to_the_constraints_unless_it_was_pruned() -> None:
    constraints = (parse("coverage >= 0.9 * baseline"), parse("model_bytes <= 2"))
    pruned = Pruned(rule="median", epoch=1, value=0.1, bound=0.2, n_peers=5)
    taken_over = [
        inherited(-3, 0.4, replace(outcome(0.4), model_bytes=4)),
        inherited(-2, 0.2, TrialOutcome(validation=None, pruned=pruned)),
        inherited(-1, None),
    ]
    baseline = trial("new", 1, 0.1, role=TrialRole.BASELINE, name="gensim_defaults")
    before = outside_observations(taken_over, [], constraints=constraints)
    assert [(seen.value, seen.violations) for seen in before] == [(None, ()), (0.2, ()), (None, ())]
    whole, cut, bad = outside_observations(taken_over, [], constraints=constraints, baselines={baseline.name: baseline})
    assert whole.value == 0.4
    assert whole.violations == pytest.approx((-1 / 9, 1.0))
    assert (cut.value, cut.violations, bad.is_infeasible) == (0.2, (), True)


def test_what_was_measured_elsewhere_tells_both_of_two_objectives() -> None:
    attached = trial("new", 0, 0.3, role=TrialRole.ATTACHED)
    told_of = outside_observations([inherited(-1, 0.4, outcome(0.4))], [attached])
    assert [seen.measurement for seen in told_of] == [measurement(0.4), measurement(0.3)]
