"""What a study still measures once its search is over: its winner on the test pairs, and replicates under more seeds.

Replicate i of every source has seed (study seed + 1 + i) mod 2^31, so that winner and baselines are paired by seed.
"""

from collections.abc import Sequence
from datetime import datetime

from app.domain.ports import Ids
from app.domain.tuning.study import LIMITS, Study
from app.domain.tuning.trial import Method, Trial, TrialRole, TrialState


def further_trials(study: Study, trials: Sequence[Trial], *, ids: Ids, now: datetime) -> list[Trial]:
    """The trials that the ended search of a locked study still lacks; none once all have been made.

    Needs the winner, the baselines, and the confirmations and replicates so far. A study that was extended may have
    those of earlier winners: they stay, and another winner gets its own.
    """
    best = next((trial for trial in trials if trial.id == study.best_trial_id), None)
    if best is None:
        return []
    made = []
    confirmations = _of(trials, TrialRole.CONFIRMATION)
    if not any(trial.source_trial_id == best.id for trial in confirmations):
        made.append(_confirmation_of(best, identity=ids.new("trl"), number=len(confirmations), now=now))
    replicates = _of(trials, TrialRole.REPLICATE)
    has = {(trial.source_trial_id, trial.seed) for trial in replicates}
    number = len(replicates)
    for seed in replicate_seeds(study):
        for source in [best, *replicated_baselines(trials)]:
            if (source.id, seed) not in has:
                made.append(_replicate_of(source, seed=seed, identity=ids.new("trl"), number=number, now=now))
                number += 1
    return made


def n_further(study: Study, trials: Sequence[Trial]) -> int:
    """How many trials will be made for the present winner, or for the first, beside those there are."""
    best = study.best_trial_id
    n_confirmations = not any(trial.source_trial_id == best for trial in _of(trials, TrialRole.CONFIRMATION))
    sources = {best, *(trial.id for trial in _of(trials, TrialRole.BASELINE) if _is_replicated(trial))}
    n_made = sum(trial.source_trial_id in sources for trial in _of(trials, TrialRole.REPLICATE))
    return n_confirmations + max(0, study.spec.replicates * len(sources) - n_made)


def replicate_seeds(study: Study) -> list[int]:
    """The seeds of its replicates."""
    latest = LIMITS["seed"][1]
    return [(study.spec.seed + 1 + step) % (latest + 1) for step in range(study.spec.replicates)]


def replicated_baselines(trials: Sequence[Trial]) -> list[Trial]:
    """The baselines that training noise concerns: those that were trained."""
    return [
        trial
        for trial in _of(trials, TrialRole.BASELINE)
        if _is_replicated(trial) and trial.state is TrialState.COMPLETED
    ]


def _is_replicated(trial: Trial) -> bool:
    return trial.method is Method.WORD2VEC


def _of(trials: Sequence[Trial], role: TrialRole) -> list[Trial]:
    return [trial for trial in trials if trial.role is role]


def _confirmation_of(best: Trial, *, identity: str, number: int, now: datetime) -> Trial:
    return Trial(
        id=identity,
        study_id=best.study_id,
        role=TrialRole.CONFIRMATION,
        number=number,
        name="winner_on_test",
        method=Method.WORD2VEC,
        parameters=best.parameters,
        state=TrialState.WAITING,
        created_at=now,
        source_trial_id=best.id,
        revision=best.revision,
    )


def _replicate_of(source: Trial, *, seed: int, identity: str, number: int, now: datetime) -> Trial:
    return Trial(
        id=identity,
        study_id=source.study_id,
        role=TrialRole.REPLICATE,
        number=number,
        name=f"{source.name}_seed_{seed}",
        method=source.method,
        parameters=source.parameters,
        state=TrialState.WAITING,
        created_at=now,
        source_trial_id=source.id,
        seed=seed,
        revision=source.revision,
    )
