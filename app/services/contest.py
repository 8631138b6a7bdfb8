"""Which trial of a study is its best, and whose vectors are kept for it.

Without constraints a new trial has one rival, the best so far. With constraints every completed trial is looked at
again, for it may only become known later, by a baseline, which of them keep the bounds: until then the vectors are kept
of each that may still be the best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.lease import Failure
from app.domain.repositories import UnitOfWork
from app.domain.tuning.constraints import Standing, bound_of, choose, standing
from app.domain.tuning.study import Study
from app.domain.tuning.trial import ENDED_STATES, Trial, TrialRole, TrialState

NO_FEASIBLE_TRIAL = "no_feasible_trial"
"""The code of a study that measured trials, of which none keeps its constraints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The rivals, the best of them that is feasible, and those that may still turn out to be better."""

    rivals: Sequence[Trial]
    best: Trial | None
    open_ones: Sequence[Trial]

    def is_kept(self, trial: Trial) -> bool:
        """Whether the trial is the best or may still be."""
        kept = [*self.open_ones, *([] if self.best is None else [self.best])]
        return any(other.id == trial.id for other in kept)


def contest(unit: UnitOfWork, study: Study, trial: Trial) -> Contest:
    """How the study's trials stand to each other when this one has ended as given, whatever is stored of it."""
    known: dict[str, Trial] = {}
    if study.spec.constraints:
        stored = [trial if other.id == trial.id else other for other in unit.trials.of_study(study.id)]
        known = {other.name: other for other in stored if other.role is TrialRole.BASELINE}
    elif study.best_trial_id is None or study.best_trial_id == trial.id:
        stored = [trial]
    else:
        stored = [unit.trials.get(study.best_trial_id), trial]
    rivals = [other for other in stored if other.role is TrialRole.SEARCH and other.state is TrialState.COMPLETED]
    best, open_ones = choose(study.spec.constraints, rivals, known)
    return Contest(rivals=rivals, best=best, open_ones=open_ones)


def contested(unit: UnitOfWork, study: Study, trial: Trial) -> tuple[Study, Sequence[Trial]]:
    """The locked study with its best now that this trial has ended; and the trials whose vectors are to be removed.

    They are stored as being without vectors; the files go once that is committed.
    """
    found = contest(unit, study, trial)
    beaten = [rival for rival in found.rivals if rival.has_vectors and not found.is_kept(rival)]
    for loser in beaten:
        unit.trials.save(replace(loser, has_vectors=False))
    return replace(study, best_trial_id=None if found.best is None else found.best.id), beaten


def without_feasible(unit: UnitOfWork, study: Study) -> Failure | None:
    """Why no trial so far keeps the constraints of a study without a best; None when that is not what is missing."""
    constraints = study.spec.constraints
    trials = unit.trials.of_study(study.id) if constraints else []
    completed = [trial for trial in trials if trial.role is TrialRole.SEARCH and trial.state is TrialState.COMPLETED]
    if not completed:
        return None
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    told = []
    for constraint in constraints:
        found = [standing(constraint, trial, known) for trial in completed]
        n_broken = sum(one.is_kept is False for one in found)
        if n_broken:
            told.append(f"{constraint} by {n_broken}{_closest(found)}")
    reason = f"None of {len(completed)} completed trials keeps every constraint. Broken were {', '.join(told)}."
    return Failure(code=NO_FEASIBLE_TRIAL, reason=reason)


def _closest(found: Sequence[Standing]) -> str:
    """The value that keeps the constraint most, or breaks it least; nothing where none could be measured."""
    measured = [one for one in found if one.value is not None and one.bound is not None]
    if not measured:
        return ""
    closest = min(measured, key=lambda one: one.violation or 0.0)
    return f" (the closest {closest.value:.6g}, the bound {closest.bound:.6g})"


def beyond_reach(unit: UnitOfWork, study: Study) -> Failure | None:
    """Why no trial can ever keep the constraints: a baseline that sets a bound was not measured and never will be."""
    compared = {one.baseline: one for one in study.spec.constraints if one.baseline is not None}
    if not compared or study.best_trial_id is not None:
        return None
    known = {trial.name: trial for trial in unit.trials.of_study(study.id, role=TrialRole.BASELINE)}
    for name, constraint in compared.items():
        baseline = known.get(name)
        if baseline is not None and baseline.state in ENDED_STATES and bound_of(constraint, known) is None:
            why = "" if baseline.failure is None else f": {baseline.failure.reason}"
            reason = f"{constraint} can never be checked, as {name} is {baseline.state.value} without that metric{why}"
            return Failure(code=NO_FEASIBLE_TRIAL, reason=reason)
    return None
