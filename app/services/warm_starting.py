"""Warm starts: a new study takes over what earlier ones found, once, when it is made."""

from dataclasses import dataclass, replace

from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.ports import Ids
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.training import TrainingParameters
from app.domain.tuning.outside import outside_observations
from app.domain.tuning.revisions import holds
from app.domain.tuning.study import OPEN_STATES, Study
from app.domain.tuning.suggester import Observation
from app.domain.tuning.trial import Method, Origin, Trial, TrialOutcome, TrialRole, TrialState
from app.domain.tuning.warm_start import Inherited, Told, best_first, changed, seeds, told, translated
from app.services.paging import Page, page_of

EVERY = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A source and its trials."""

    study: Study
    trials: list[Trial]


def inherit(unit: UnitOfWork, study: Study, *, ids: Ids) -> None:
    """Give the study, just added, what its warm start asks for. The caller commits.

    Raises: InvalidRequest for a source that is not there or does not fit, Conflict for one that has not ended.
    """
    asked = study.spec.warm_start
    if asked is None:
        return
    sources = [_source(unit, study_id, number=number) for number, study_id in enumerate(asked.study_ids)]
    if asked.mode == "transfer":
        _seed(unit, study, sources, ids=ids)
        return
    for number, source in enumerate(sources):
        _check_is_alike(unit, study, source.study, number=number)
    _take_over(unit, study, sources)


def inherit_as(unit: UnitOfWork, study: Study, original: Study, *, ids: Ids) -> None:
    """Give the study, just added as a clone, what the original took over, though its sources may be gone.

    Points are translated into the clone's space anew. The caller commits. Raises: InvalidRequest when the clone is on
    other data and measurements were taken over.
    """
    taken_over = unit.inherited.page(original.id, limit=EVERY, after=None)
    values = [replace(found, study_id=study.id) for found in taken_over if found.number < 0]
    if values and _fingerprint(unit, study) != _fingerprint(unit, original):
        message = f"Study {original.id!r} took measurements over, which mean something on its own data alone."
        raise InvalidRequest(message, pointer="/dataset_id")
    unit.inherited.add(values)
    points: dict[TrainingParameters, Inherited] = {}
    for found in taken_over:
        if found.number >= 0:
            points.setdefault(translated(study.spec.space, found.parameters), found)
    for number, (parameters, found) in enumerate(list(points.items())[: study.spec.n_initial]):
        again = replace(found, study_id=study.id, number=number, changed=changed(found.parameters, parameters))
        _add_point(unit, study, again, parameters, ids=ids)


def outside_of(unit: UnitOfWork, study: Study) -> list[Observation]:
    """What the study's suggester is told beside its own trials."""
    constraints = study.spec.constraints
    baselines = unit.trials.of_study(study.id, role=TrialRole.BASELINE) if constraints else []
    return outside_observations(
        unit.inherited.observations(study.id),
        unit.trials.of_study(study.id, role=TrialRole.ATTACHED),
        constraints=constraints,
        baselines={trial.name: trial for trial in baselines},
    )


class WarmStartService:
    """What studies took over, for those who ask where a study's knowledge comes from."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units

    def inherited(self, study_id: str, *, limit: int, after: int | None = None) -> Page[Inherited]:
        """What each trial of the sources gave, values first, then points by the trial that tries them.

        Raises: NotFound.
        """
        with self._units.reading() as unit:
            unit.studies.get(study_id)
            rows = unit.inherited.page(study_id, limit=limit + 1, after=after)
        return page_of(rows, limit=limit, cursor=lambda inherited: str(inherited.number))


def _source(unit: UnitOfWork, study_id: str, *, number: int) -> _Source:
    pointer = f"/warm_start/study_ids/{number}"
    try:
        source = unit.studies.get(study_id)
    except NotFound as error:
        raise InvalidRequest(str(error), pointer=pointer) from error
    if source.state in OPEN_STATES:
        raise Conflict(f"Study {study_id!r} is {source.state.value}: a warm start needs studies that have ended.")
    trials = unit.trials.of_study(study_id)
    if all(one.value is None for one in told(trials)):
        raise InvalidRequest(f"Study {study_id!r} has measured no trial: it has nothing to give.", pointer=pointer)
    return _Source(study=source, trials=trials)


def _check_is_alike(unit: UnitOfWork, study: Study, source: Study, *, number: int) -> None:
    differs = [
        name
        for name, is_same in (
            ("dataset", _fingerprint(unit, study) == _fingerprint(unit, source)),
            ("objective", study.spec.objective == source.spec.objective),
            ("trainer", study.spec.trainer is source.spec.trainer),
        )
        if not is_same
    ]
    if differs:
        message = (
            f"Study {source.id!r} has another {' and another '.join(differs)}: its measurements mean something else."
        )
        raise InvalidRequest(f"{message} Use transfer.", pointer=f"/warm_start/study_ids/{number}")


def _fingerprint(unit: UnitOfWork, study: Study) -> str | None:
    return unit.datasets.get(study.spec.dataset_id).fingerprint


def _take_over(unit: UnitOfWork, study: Study, sources: list[_Source]) -> None:
    """Every value of the sources at a point that the study's space holds."""
    given = [
        (source.study, one)
        for source in sources
        for one in told(source.trials)
        if one.trial.parameters is not None and holds(study.spec.space, one.trial.parameters)
    ]
    if all(one.value is None for _, one in given):
        message = "No point that the studies measured lies in this search space. Use transfer."
        raise InvalidRequest(message, pointer="/warm_start/mode")
    unit.inherited.add(
        [
            replace(_inherited(study, source, one, number=place - len(given)), outcome=_without_epochs(one.trial))
            for place, (source, one) in enumerate(given)
        ]
    )


def _without_epochs(trial: Trial) -> TrialOutcome | None:
    """What stays true of the trial's outcome where neither its epochs nor its files are."""
    outcome = trial.outcome
    return outcome and replace(outcome, test=None, epochs=(), vectors_sha256=None, has_ranks=False)


def _seed(unit: UnitOfWork, study: Study, sources: list[_Source], *, ids: Ids) -> None:
    """The first trials of the study try the sources' best points: on its segment, if it is of one alone."""
    by_id = {source.study.id: source.study for source in sources}
    ranked = [
        best_first(source.trials, constraints=source.study.spec.constraints, segment=study.spec.objective.scope)
        for source in sources
    ]
    if not any(ranked):
        message = "The studies have completed no trial whose point could be tried."
        raise InvalidRequest(message, pointer="/warm_start/study_ids")
    for number, seed in enumerate(seeds(study.spec.space, ranked, limit=study.spec.n_initial)):
        source, said = by_id[seed.trial.study_id], Told(seed.trial, seed.trial.objective)
        inherited = _inherited(study, source, said, number=number)
        _add_point(unit, study, replace(inherited, changed=seed.changed), seed.parameters, ids=ids)


def _add_point(
    unit: UnitOfWork, study: Study, inherited: Inherited, parameters: TrainingParameters, *, ids: Ids
) -> None:
    unit.inherited.add([inherited])
    unit.trials.add(
        Trial(
            id=ids.new("trl"),
            study_id=study.id,
            role=TrialRole.SEARCH,
            number=inherited.number,
            name=f"trial-{inherited.number}",
            method=Method.WORD2VEC,
            parameters=parameters,
            state=TrialState.WAITING,
            created_at=study.created_at,
            origin=Origin.WARM_START,
        )
    )


def _inherited(study: Study, source: Study, said: Told, *, number: int) -> Inherited:
    trial = said.trial
    if trial.parameters is None:
        msg = f"Trial {trial.id} has no hyperparameters to give."
        raise ValueError(msg)
    return Inherited(
        study_id=study.id,
        number=number,
        source_study_id=source.id,
        source_study_name=source.spec.name,
        source_trial_id=trial.id,
        source_number=trial.number,
        parameters=trial.parameters,
        value=said.value,
    )
