"""Epochs of a trial that runs: kept as they are measured, and looked at to decide whether it goes on."""

from dataclasses import replace
from datetime import datetime

from app.domain.lease import HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.repositories import UnitOfWork
from app.domain.tuning.constraints import is_feasible
from app.domain.tuning.pruning import Pruned, curve_of, decision
from app.domain.tuning.study import Study
from app.domain.tuning.trial import Trial, TrialOutcome, TrialRole, TrialState
from app.services.studies import ended

NOTHING_YET = TrialOutcome(validation=None)


def with_epochs(held: Trial, epochs: tuple[EpochMeasurement, ...]) -> Trial:
    """The running trial with what it has measured."""
    return replace(held, outcome=(held.outcome or NOTHING_YET).with_epochs(epochs))


def decided(unit: UnitOfWork, study: Study, trial: Trial) -> tuple[Trial, HeartbeatAnswer]:
    """Whether the trial goes on, and the trial with the reason if it does not. The study is locked."""
    outcome = trial.outcome or NOTHING_YET
    pruned = outcome.pruned or _decision(unit, study, trial, outcome)
    if pruned is None:
        return trial, HeartbeatAnswer.CONTINUE
    return replace(trial, outcome=replace(outcome, pruned=pruned)), HeartbeatAnswer.PRUNE


def _decision(unit: UnitOfWork, study: Study, trial: Trial, outcome: TrialOutcome) -> Pruned | None:
    """As the rule says; but with constraints, no trial is pruned before one is known to keep them."""
    spec = study.spec
    if spec.pruning is None or trial.role is not TrialRole.SEARCH or trial.parameters is None:
        return None
    if spec.constraints and study.best_trial_id is None:
        return None
    trials = unit.trials.of_study(study.id)
    baselines = {other.name: other for other in trials if other.role is TrialRole.BASELINE}
    peers = [
        curve_of(other.outcome.epochs)
        for other in trials
        if other.role is TrialRole.SEARCH and other.id != trial.id and other.outcome is not None
        # One that may not be the best must not set the bar for those that may.
        if is_feasible(spec.constraints, other, baselines) is not False
    ]
    return decision(spec.pruning, curve_of(outcome.epochs), peers=peers, n_epochs=trial.parameters.epochs)


def ended_early(held: Trial, outcome: TrialOutcome | None, *, now: datetime) -> Trial:
    """The trial, pruned, with all that it measured; it has no vectors and no measurement that others are held to."""
    stored = held.outcome or NOTHING_YET
    told = stored if outcome is None else replace(outcome, pruned=stored.pruned).with_epochs(stored.epochs)
    n_epochs = held.parameters.epochs if held.parameters is not None else 0
    n_run = told.epochs[-1].epoch if told.epochs else 0
    return ended(
        held,
        TrialState.PRUNED,
        now=now,
        outcome=replace(told, validation=None, test=None, vectors_sha256=None),
        failure=None,
        progress=Progress(phase="pruned", fraction=n_run / max(1, n_epochs), epoch=n_run),
    )
