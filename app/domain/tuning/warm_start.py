"""Warm start: what a study takes over from earlier ones.

identical_data   same data, objective and trainer: the measurements of the sources are the study's first observations
transfer         anything else: the best points of the sources, translated into the study's space, are tried first

Source: the two modes of Amazon SageMaker's warm start, which starts from up to five earlier jobs too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from app.domain.errors import InvalidRequest
from app.domain.training import TrainingParameters
from app.domain.tuning.own_points import built
from app.domain.tuning.search_space import CategoricalParameter, Parameter, SearchSpace, Value
from app.domain.tuning.trial import Trial, TrialState

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
    over, as an observation from before trial 0. `value` is the objective, None for a point that can never work.
    `changed` names the hyperparameters that were translated; `parameters` are those of the source.
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


def measured(trials: Sequence[Trial]) -> list[Trial]:
    """Those that say what a point is worth, by number: completed with an objective, or infeasible."""
    told = [
        trial
        for trial in trials
        if trial.parameters is not None
        and (
            trial.state is TrialState.INFEASIBLE
            or (trial.state is TrialState.COMPLETED and trial.objective is not None)
        )
    ]
    return sorted(told, key=lambda trial: trial.number)


def seeds(space: SearchSpace, sources: Sequence[Sequence[Trial]], *, limit: int) -> list[Seed]:
    """Up to `limit` different points: the best of each source, then the second best of each, and so on."""
    ranked = [
        sorted(
            (trial for trial in measured(trials) if trial.objective is not None),
            key=lambda trial: (-(trial.objective or 0.0), trial.number),
        )
        for trials in sources
    ]
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

    A value that is no choice becomes gensim's default or, where that is none either, the first choice.
    """
    values = {each.name: _nearest(each, getattr(parameters, each.name)) for each in space.parameters}
    return built({**space.fixed, **values})


def _nearest(parameter: Parameter, value: Value) -> Value:
    if isinstance(parameter, CategoricalParameter):
        default: Value = getattr(TrainingParameters(), parameter.name)
        found = next((choice for choice in (value, default) if choice in parameter.choices), None)
        return parameter.choices[0] if found is None else found
    low, high = parameter.low, parameter.high
    return min(max(float(value), low), high) if parameter.kind == "float" else min(max(int(value), low), high)
