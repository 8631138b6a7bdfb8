"""The front between two objectives, and the suggester that looks for it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.domain.ports import Suggester
from app.domain.training import TrainingParameters
from app.domain.tuning.first_points import FirstPointsSuggester
from app.domain.tuning.objectives import ObjectiveName
from app.domain.tuning.pareto import front
from app.domain.tuning.random_search import RandomSearch
from app.domain.tuning.scalarising import RHO, ScalarisingSuggester, scalarised, weights_for
from app.domain.tuning.search_space import preset
from app.domain.tuning.suggester import Observation, observations
from app.domain.tuning.trial import Method, Trial, TrialOutcome, TrialRole, TrialState
from tests.values import NOON, measurement

NAMES = (ObjectiveName.HR_NDCG, ObjectiveName.COVERAGE)
SPACE = preset("article", epochs=3, overrides={})


def trial(number: int, accuracy: float, coverage: float | None, *, popularity: float = 0.1) -> Trial:
    measured = replace(measurement(accuracy), coverage=coverage, popularity=popularity)
    return Trial(
        id=f"trl_{number}",
        study_id="std_1",
        role=TrialRole.SEARCH,
        number=number,
        name=f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=TrainingParameters(vector_size=10 + number),
        state=TrialState.COMPLETED,
        created_at=NOON,
        outcome=TrialOutcome(validation=measured),
    )


def numbers(trials: Sequence[Trial], names: Sequence[ObjectiveName] = NAMES) -> list[int]:
    return [one.trial.number for one in front(trials, names)]


# The front


def test_the_front_is_what_none_beats_the_best_first_objective_first() -> None:
    trials = [trial(0, 0.1, 0.9), trial(1, 0.3, 0.2), trial(2, 0.2, 0.5), trial(3, 0.1, 0.5), trial(4, 0.3, 0.1)]
    assert numbers(trials) == [1, 2, 0]


def test_trials_that_are_equal_in_both_all_stay() -> None:
    assert numbers([trial(0, 0.2, 0.5), trial(1, 0.2, 0.5), trial(2, 0.1, 0.5)]) == [0, 1]


def test_less_popular_is_better() -> None:
    names = (ObjectiveName.HR_NDCG, ObjectiveName.POPULARITY)
    assert numbers([trial(0, 0.2, 0.5, popularity=0.1), trial(1, 0.2, 0.5, popularity=0.2)], names) == [0]


def test_the_front_is_what_comparing_all_with_all_gives() -> None:
    rng = np.random.default_rng(0)
    trials = [trial(n, round(float(a), 1), round(float(b), 1)) for n, (a, b) in enumerate(rng.random((60, 2)))]
    found = set(numbers(trials))
    values = np.array([(one.objective, one.outcome.validation.coverage) for one in trials])  # type: ignore[union-attr]
    for number, value in enumerate(values):
        is_beaten = bool(((values >= value).all(axis=1) & (values > value).any(axis=1)).any())
        assert (number in found) != is_beaten


def test_trials_without_both_numbers_are_not_compared() -> None:
    pending = replace(trial(1, 0.9, 0.9), state=TrialState.RUNNING)
    baseline = replace(trial(2, 0.9, 0.9), role=TrialRole.BASELINE)
    assert numbers([trial(0, 0.1, None), pending, baseline, replace(trial(3, 0.9, 0.9), outcome=None)]) == []


def test_a_trial_of_the_front_tells_its_objectives_with_their_intervals() -> None:
    (found,) = front([trial(0, 0.2, 0.5)], NAMES)
    assert [(one.name, one.value, one.estimate is None) for one in found.objectives] == [
        (ObjectiveName.HR_NDCG, 0.2, False),
        (ObjectiveName.COVERAGE, 0.5, True),
    ]


# Scalarising


def test_one_value_is_made_by_the_augmented_chebyshev_norm() -> None:
    seen = observations([trial(0, 0.1, 0.9), trial(1, 0.3, 0.1), trial(2, 0.2, 0.8)])
    found = [one.value for one in scalarised(seen, NAMES, np.array([0.75, 0.25]))]
    losses = ([0.75, 0.0], [0.0, 0.25], [0.375, 0.25 * 0.125])
    assert found == pytest.approx([-(max(loss) + RHO * sum(loss)) for loss in losses])


def test_a_trial_that_is_best_in_both_is_worth_most() -> None:
    seen = observations([trial(0, 0.3, 0.9), trial(1, 0.1, 0.2)])
    assert [one.value for one in scalarised(seen, NAMES, np.array([0.5, 0.5]))] == pytest.approx([0.0, -0.5 - RHO])


def test_objectives_in_which_all_are_equal_tell_nothing() -> None:
    seen = observations([trial(0, 0.3, 0.5), trial(1, 0.1, 0.5)])
    first, second = (one.value for one in scalarised(seen, NAMES, np.array([0.0, 1.0])))
    assert first == second == 0.0


def test_what_is_pending_or_infeasible_stays_as_it_is_and_half_known_points_are_left_out() -> None:
    pending = Observation(0, TrainingParameters(vector_size=20), None)
    bad = Observation(1, TrainingParameters(vector_size=30), None, is_infeasible=True)
    given = Observation(2, TrainingParameters(vector_size=40), 0.3)
    half = observations([trial(3, 0.1, None)])
    assert scalarised([pending, bad, given, *half], NAMES, np.array([0.5, 0.5])) == [pending, bad]
    assert scalarised([], NAMES, np.array([0.5, 0.5])) == []


def test_weights_are_drawn_anew_for_each_number_and_the_same_again() -> None:
    drawn = np.array([weights_for(7, number, n=2) for number in range(400)])
    assert np.allclose(drawn.sum(axis=1), 1.0)
    assert len(np.unique(drawn[:, 0])) == 400
    assert np.quantile(drawn[:, 0], [0.25, 0.75]) == pytest.approx([0.25, 0.75], abs=0.06)
    assert weights_for(7, 3, n=2).tolist() == drawn[3].tolist()


class Remembering:
    """A suggester that keeps what it was told."""

    def __init__(self) -> None:
        self.told: Sequence[Observation] = ()

    def suggest(self, observations: Sequence[Observation], *, number: int) -> TrainingParameters:
        self.told = observations
        return TrainingParameters(vector_size=100 + number)

    def expected_improvement(
        self, observations: Sequence[Observation], suggested: TrainingParameters, *, number: int
    ) -> float:
        return 0.5


def test_the_suggester_beneath_sees_one_value_a_point() -> None:
    single = Remembering()
    suggester = ScalarisingSuggester(single, names=NAMES, seed=7)
    seen = observations([trial(0, 0.1, 0.9), trial(1, 0.3, 0.1)])
    assert suggester.suggest(seen, number=2).vector_size == 102
    port: Suggester = suggester
    assert port.expected_improvement(seen, TrainingParameters(), number=2) is None
    assert single.told == scalarised(seen, NAMES, weights_for(7, 2, n=2))


# First points


def test_first_points_come_first_unless_they_were_tried() -> None:
    points = [TrainingParameters(vector_size=size) for size in (11, 12)]
    random = RandomSearch(SPACE, 7)
    suggester = FirstPointsSuggester(random, points)
    assert suggester.suggest([], number=0) == points[0]
    assert suggester.suggest([Observation(0, points[0], 0.1)], number=1) == points[1]
    tried = [Observation(0, points[0], 0.1), Observation(1, points[1], 0.1)]
    for number in (1, 2):
        assert suggester.suggest(tried, number=number) == random.suggest(tried, number=number)


def test_while_first_points_are_tried_nothing_is_expected() -> None:
    suggester = FirstPointsSuggester(Remembering(), [TrainingParameters()])
    assert suggester.expected_improvement([], TrainingParameters(), number=0) is None
    assert suggester.expected_improvement([], TrainingParameters(), number=1) == 0.5
