from dataclasses import replace

import pytest

from app.domain.training import Trainer, TrainingParameters
from app.domain.tuning.constraints import parse
from app.domain.tuning.suggester import Observation, observations
from app.domain.tuning.trial import (
    ENDED_STATES,
    TRIAL_MOVES,
    Method,
    Trial,
    TrialOutcome,
    TrialRole,
    TrialState,
    baselines,
    is_asked_for,
    trained_by,
)
from tests.values import NOON, epoch_measured, measurement, outcome

PARAMETERS = TrainingParameters(window=7)


def trial(number: int = 0, *, state: TrialState = TrialState.WAITING, told: TrialOutcome | None = None) -> Trial:
    return Trial(
        id=f"trl_{number}",
        study_id="std_1",
        role=TrialRole.SEARCH,
        number=number,
        name=f"trial-{number}",
        method=Method.WORD2VEC,
        parameters=replace(PARAMETERS, window=number + 1),
        state=state,
        created_at=NOON,
        outcome=told,
    )


def test_objective_is_the_value_measured_on_the_validation_pairs() -> None:
    assert trial(told=outcome(0.25)).objective == 0.25


def test_objective_of_a_trial_without_outcome_is_unknown() -> None:
    assert trial().objective is None


def test_objective_measured_on_test_pairs_alone_is_unknown() -> None:
    assert trial(told=TrialOutcome(validation=None, test=measurement(0.3))).objective is None


def test_objective_without_a_pair_is_unknown() -> None:
    measured = measurement(0.3)
    empty = replace(measured, overall=replace(measured.overall, objective=None))
    assert trial(told=TrialOutcome(validation=empty)).objective is None


def test_every_state_has_its_moves_and_ended_ones_have_none() -> None:
    assert set(TRIAL_MOVES) == set(TrialState)
    assert set(TrialState) - {TrialState.WAITING, TrialState.RUNNING} == ENDED_STATES


def test_baselines_are_gensims_defaults_at_equal_epochs_and_the_plain_ones() -> None:
    found = {baseline.name: baseline for baseline in baselines(epochs=7)}
    assert found["gensim_defaults"].parameters == TrainingParameters(epochs=7, sg=0)
    assert found["gensim_defaults_skip_gram"].parameters == TrainingParameters(epochs=7, sg=1)
    plain = {baseline.method for baseline in found.values() if baseline.parameters is None}
    assert plain == {Method.MOST_POPULAR, Method.NEXT_SONG, Method.CO_OCCURRENCE}


@pytest.mark.parametrize("trainer", Trainer)
def test_baselines_are_trained_by_gensim_and_what_a_study_tries_by_its_trainer(trainer: Trainer) -> None:
    assert {role: trained_by(role, trainer) for role in TrialRole} == {
        TrialRole.SEARCH: trainer,
        TrialRole.BASELINE: Trainer.GENSIM,
        TrialRole.CONFIRMATION: trainer,
        TrialRole.ATTACHED: Trainer.EXTERNAL,
        TrialRole.REPLICATE: trainer,
        TrialRole.TRANSFER: trainer,
    }


@pytest.mark.parametrize("trainer", Trainer)
def test_clients_ask_for_the_search_of_an_external_trainers_study_alone(trainer: Trainer) -> None:
    asked_for = {role for role in TrialRole if is_asked_for(role, trainer)}
    assert asked_for == ({TrialRole.SEARCH} if trainer is Trainer.EXTERNAL else set())


def test_observations_are_in_the_order_of_their_numbers() -> None:
    told = observations([trial(2), trial(0, state=TrialState.COMPLETED, told=outcome(0.25)), trial(1)])
    assert [(seen.number, seen.value) for seen in told] == [(0, 0.25), (1, None), (2, None)]
    assert told[0] == Observation(number=0, parameters=replace(PARAMETERS, window=1), value=0.25)


def test_infeasible_trial_is_observed_as_such() -> None:
    assert [seen.is_infeasible for seen in observations([trial(0), trial(1, state=TrialState.INFEASIBLE)])] == [
        False,
        True,
    ]


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.CANCELLED])
def test_trials_that_tell_nothing_are_not_observed(state: TrialState) -> None:
    assert observations([trial(0, state=state)]) == []


def test_trial_without_hyperparameters_is_not_observed() -> None:
    assert observations([replace(trial(0), parameters=None)]) == []


def test_a_pruned_trial_is_observed_as_what_it_may_have_been_worth() -> None:
    finished = replace(outcome(0.4), epochs=(epoch_measured(1, 0.2), epoch_measured(3, 0.4)))
    stopped = TrialOutcome(validation=None, epochs=(epoch_measured(1, 0.1),))
    told = observations(
        [
            trial(0, state=TrialState.COMPLETED, told=finished),
            trial(1, state=TrialState.PRUNED, told=stopped),
            trial(2, state=TrialState.RUNNING, told=stopped),
        ]
    )
    assert [seen.value for seen in told] == [0.4, pytest.approx(0.2), None]


def test_violations_are_observed_once_they_are_known() -> None:
    constraints = (parse("coverage >= 2 * baseline"), parse("popularity <= 0.2"))
    baseline = replace(trial(0, state=TrialState.RUNNING), role=TrialRole.BASELINE, name="gensim_defaults")
    done = trial(1, state=TrialState.COMPLETED, told=outcome(0.4))
    (pending,) = observations([baseline, done], constraints=constraints)
    assert (pending.value, pending.violations) == (None, ())
    measured = replace(baseline, state=TrialState.COMPLETED, outcome=outcome(0.1))
    (known,) = observations([measured, done], constraints=constraints)
    assert known.value == 0.4
    assert list(known.violations) == pytest.approx([0.5, -0.5])


def test_epochs_that_were_told_late_take_nothing_back() -> None:
    told = TrialOutcome(validation=None, epochs=(epoch_measured(1, 0.1), epoch_measured(2, 0.2)))
    assert told.with_epochs(told.epochs[:1]) == told
    assert told.with_epochs((*told.epochs, epoch_measured(3, 0.3))).epochs[-1].epoch == 3
