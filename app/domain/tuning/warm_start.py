"""Warm start: what a study takes over from earlier ones.

identical_data   same data, objective and trainer: the measurements of the sources are the study's first observations
transfer         anything else: the best points of the sources, translated into the study's space, are tried first

A source gives what it measured itself or was given as attached trials, not what it took over from others: name those.
Source: the two modes of Amazon SageMaker's warm start, which starts from up to five earlier jobs, not theirs in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.constraints import Constraint, is_feasible
from app.domain.tuning.own_points import built
from app.domain.tuning.search_space import CategoricalParameter, Parameter, SearchSpace, Value
from app.domain.tuning.segment_regret import ranked_on
from app.domain.tuning.suggester import observations
from app.domain.tuning.trial import Trial, TrialOutcome, TrialRole, TrialState

Mode = Literal["identical_data", "transfer"]

MAX_SOURCES = 5
"""Studies that one study may be started from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a client asks for: studies that have ended, the first one's points first."""

    mode: Mode
    study_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            message = f"mode must be identical_data or transfer, not {self.mode!r}."
            raise InvalidRequest(message, pointer="/warm_start/mode")
        if not 1 <= len(self.study_ids) <= MAX_SOURCES:
            message = f"A warm start needs between 1 and {MAX_SOURCES} studies, not {len(self.study_ids)}."
            raise InvalidRequest(message, pointer="/warm_start/study_ids")
        for number, study_id in enumerate(self.study_ids):
            if study_id in self.study_ids[:number]:
                message = f"Study {study_id!r} is named twice."
                raise InvalidRequest(message, pointer=f"/warm_start/study_ids/{number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What one trial of a source gave a study, as it was then: sources may be deleted.

    `number` is that of the trial of this study which tries the point, or is below 0: then the value itself was taken
    over, as an observation from before trial 0, with the `outcome` that it was read from. `value` is the objective, or
    what a pruned trial may have been worth (`pruning.worth`); None for a point that can never work. `changed` names the
    hyperparameters that were translated; `parameters` are those of the source.
    """

    study_id: str
    """The study that inherits."""
    number: int
    source_study_id: str
    source_study_name: str
    source_trial_id: str
    source_number: int
    parameters: TrainingParameters
    value: float | None
    changed: tuple[str, ...] = ()
    outcome: TrialOutcome | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether the value is what a pruned trial may have been worth."""
        return self.outcome is not None and self.outcome.pruned is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A study that gave another one something, as it was named then, and of how many of its trials."""

    study_id: str
    name: str
    n_trials: int


@dataclass(frozen=True, slots=True)
class Seed:
    """A point to try first: the trial that it comes from, and what was changed so that it lies in the space."""

    trial: Trial
    parameters: TrainingParameters
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A trial that says what its point is worth; None where the point can never work."""

    trial: Trial
    value: float | None


def told(trials: Sequence[Trial]) -> list[Told]:
    """What the trials of a source say, as its own suggester was told: those of its search by number, then attached."""
    by_number = {trial.number: trial for trial in trials if trial.role is TrialRole.SEARCH and _is_over(trial)}
    search = [Told(by_number[seen.number], seen.value) for seen in observations(list(by_number.values()))]
    attached = [Told(trial, trial.objective) for trial in trials if trial.role is TrialRole.ATTACHED]
    return [
        one
        for one in [*search, *attached]
        if one.trial.parameters is not None and (one.value is not None or one.trial.state is TrialState.INFEASIBLE)
    ]


def best_first(trials: Sequence[Trial], *, constraints: Sequence[Constraint], segment: str | None) -> list[Trial]:
    """The completed trials of a source's search, of equal ones the earlier first.

    Those that keep its constraints alone, if any do; by their score on a segment, if any has one there.
    """
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    search = [
        trial
        for trial in trials
        if trial.role is TrialRole.SEARCH
        and trial.state is TrialState.COMPLETED
        and trial.parameters is not None
        and trial.objective is not None
    ]
    ours = [trial for trial in search if is_feasible(constraints, trial, known)] or search
    there = [] if segment is None else [trial for trial, _ in ranked_on(ours, segment)]
    return there or sorted(ours, key=lambda trial: (-(trial.objective or 0.0), trial.number))


def seeds(space: SearchSpace, ranked: Sequence[Sequence[Trial]], *, limit: int) -> list[Seed]:
    """Up to `limit` different points: the best of each source, then the second best of each, and so on."""
    found: dict[TrainingParameters, Seed] = {}
    for rank in range(max(map(len, ranked), default=0)):
        for trials in ranked:
            if rank >= len(trials) or len(found) == limit:
                continue
            seed = _seed(space, trials[rank])
            found.setdefault(seed.parameters, seed)
    return list(found.values())


def _seed(space: SearchSpace, trial: Trial) -> Seed:
    source = trial.parameters or TrainingParameters()
    parameters = translated(space, source)
    return Seed(trial, parameters, changed(source, parameters))


def changed(before: TrainingParameters, after: TrainingParameters) -> tuple[str, ...]:
    """The names of the hyperparameters that differ."""
    return tuple(field.name for field in fields(before) if getattr(before, field.name) != getattr(after, field.name))


def translated(space: SearchSpace, parameters: TrainingParameters) -> TrainingParameters:
    """The nearest point of the space: values clipped to bounds, those that it fixes or does not name as it has them.

    A value that is no choice becomes gensim's default or, where that is none either, the first choice; one that does
    not matter beside the others is what the space says.
    """
    values = {each.name: _nearest(each, getattr(parameters, each.name)) for each in space.parameters}
    return space.settled(built({**space.fixed, **values}))


def _nearest(parameter: Parameter, value: Value) -> Value:
    if isinstance(parameter, CategoricalParameter):
        default: Value = getattr(TrainingParameters(), parameter.name)
        found = next((choice for choice in (value, default) if choice in parameter.choices), None)
        return parameter.choices[0] if found is None else found
    low, high = parameter.low, parameter.high
    return min(max(float(value), low), high) if parameter.kind == "float" else min(max(int(value), low), high)


def _is_over(trial: Trial) -> bool:
    return trial.state in {TrialState.COMPLETED, TrialState.PRUNED, TrialState.INFEASIBLE}
