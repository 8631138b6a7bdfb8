"""What a study still measures once its search is over: its winner on the test pairs, and replicates under more seeds.

Replicate i of every source has seed (study seed + 1 + i) mod 2^31, so that winner and baselines are paired by seed.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import product

from app.domain.ports import Ids
from app.domain.training import Trainer
from app.domain.tuning.study import LIMITS, Study
from app.domain.tuning.trial import ENDED_STATES, Method, Trial, TrialRole, TrialState


def further_trials(study: Study, trials: Sequence[Trial], *, ids: Ids, now: datetime) -> list[Trial]:
    """The trials that the ended search of a locked study still lacks; none once all have been made.

    Needs the winner, the baselines, and the confirmations and replicates so far. A study that was extended may have
    those of earlier winners: they stay, and another winner gets its own.
    """
    best = next((trial for trial in trials if trial.id == study.best_trial_id), None)
    if best is None or unconfirmed(study) is not None:
        return []
    made = []
    if not _is_confirmed(best.id, trials):
        n_confirmations = len(_of(trials, TrialRole.CONFIRMATION))
        made.append(_confirmation_of(best, identity=ids.new("trl"), number=n_confirmations, now=now))
    sources = {source.id: source for source in [best, *replicated_baselines(trials)]}
    missing = _unreplicated(study, trials, sources=sources)
    for number, (source_id, seed) in enumerate(missing, start=len(_of(trials, TrialRole.REPLICATE))):
        source = sources[source_id]
        made.append(_replicate_of(source, seed=seed, identity=ids.new("trl"), number=number, now=now))
    return made


def n_further(study: Study, trials: Sequence[Trial]) -> int:
    """How many trials will be made for the present winner, or for the first, beside those there are."""
    if unconfirmed(study) is not None:
        return 0
    best = study.best_trial_id or "the first winner"
    baselines = [
        trial.id
        for trial in _of(trials, TrialRole.BASELINE)
        if _is_trained(trial) and (trial.state is TrialState.COMPLETED or trial.state not in ENDED_STATES)
    ]
    n_confirmations = 0 if _is_confirmed(best, trials) else 1
    return n_confirmations + len(_unreplicated(study, trials, sources=[best, *baselines]))


def unconfirmed(study: Study) -> str | None:
    """Why the winner is neither measured on the test pairs nor replicated; None where it is."""
    if study.spec.trainer is not Trainer.EXTERNAL:
        return None
    return "Trials are trained outside Segue: the winner's vectors are not here to be measured on the test pairs."


def replicate_seeds(study: Study) -> list[int]:
    """The seeds of its replicates."""
    latest = LIMITS["seed"][1]
    return [(study.spec.seed + 1 + step) % (latest + 1) for step in range(study.spec.replicates)]


def replicated_baselines(trials: Sequence[Trial]) -> list[Trial]:
    """The baselines that training noise concerns: those that were trained."""
    return [
        trial for trial in _of(trials, TrialRole.BASELINE) if _is_trained(trial) and trial.state is TrialState.COMPLETED
    ]


def _unreplicated(study: Study, trials: Sequence[Trial], *, sources: Iterable[str]) -> list[tuple[str, int]]:
    """Which of these sources (ids) have no replicate yet under which seed, seed by seed."""
    made = {(trial.source_trial_id, trial.seed) for trial in _of(trials, TrialRole.REPLICATE)}
    wanted = product(replicate_seeds(study), list(sources))
    return [(source, seed) for seed, source in wanted if (source, seed) not in made]


def _is_confirmed(best_id: str, trials: Sequence[Trial]) -> bool:
    return any(trial.source_trial_id == best_id for trial in _of(trials, TrialRole.CONFIRMATION))


def _is_trained(trial: Trial) -> bool:
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
