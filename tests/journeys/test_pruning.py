"""Pruning over real processes: trials end early as told, by several workers and beside a killed one."""

from app.domain.tuning.constraints import parse
from app.domain.tuning.pruning import Pruning, curve_of
from app.domain.tuning.study import Study
from app.domain.tuning.trial import Trial, TrialState
from tests.journeys.house import ON_POSTGRESQL, ON_SQLITE, SLOW, House, assert_tidy
from tests.processes import kill, until

HALVING = Pruning(rule="successive_halving", n_startup_trials=2, reduction_factor=2)


def curves(house: House, study: Study) -> dict[int, dict[int, float]]:
    """What each trial of the search has measured by now."""
    return {trial.number: curve(trial) for trial in house.trials(study)}


def curve(trial: Trial) -> dict[int, float]:
    return curve_of(() if trial.outcome is None else trial.outcome.epochs)


@ON_POSTGRESQL
def test_trials_that_do_badly_end_early_and_the_study_says_what_that_spared(house: House) -> None:
    house.worker()
    house.worker()
    study = house.study(
        epochs=8,
        n_initial=12,
        parallelism=2,
        pruning=HALVING,
        baselines=True,
        constraints=(parse("train_seconds <= 100 * baseline"), parse("model_bytes <= 1e9")),
    )
    view = house.assert_complete(study)
    trials = house.trials(study)
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert pruned
    assert len(pruned) == view.counts[TrialState.PRUNED] == view.savings.n_pruned
    for trial in pruned:
        assert trial.outcome is not None
        assert trial.outcome.pruned is not None
        assert max(curve(trial)) == trial.outcome.pruned.epoch in {1, 2, 4}
        assert {"load", "train", "evaluate", "wait"} == set(trial.outcome.times_s)
        assert trial.objective is None
    assert view.savings.n_epochs == sum(8 - max(curve(trial)) for trial in pruned)
    assert view.savings.train_s > 0
    assert [(one.n_kept, one.n_known) for one in view.constraints] == [(12 - len(pruned), 12 - len(pruned))] * 2
    assert_tidy(house, study)


@ON_SQLITE
def test_the_epochs_of_a_killed_worker_are_seen_and_its_trial_begins_anew(house: House) -> None:
    worker = house.worker()
    study = house.study(epochs=SLOW, n_initial=1, pruning=HALVING)
    until(lambda: bool(curves(house, study).get(0)), "an epoch of a running trial is seen")
    (running,) = house.trials(study)
    assert running.state is TrialState.RUNNING
    kill(worker)
    until(
        lambda: house.trials(study)[0].state is TrialState.RUNNING and house.container.trials.reap() > 0, "it is lost"
    )
    (waiting,) = house.trials(study)
    assert (waiting.state, waiting.outcome) == (TrialState.WAITING, None)
    house.worker()
    house.assert_complete(study)
    (trial,) = house.trials(study)
    assert trial.attempt == 2
    assert max(curve(trial)) == SLOW
