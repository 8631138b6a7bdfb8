"""What a study's trials say beside each other: segment by segment, and between two objectives."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.domain.errors import Conflict, InvalidRequest
from app.domain.pairing import PairRanks
from app.domain.ports import ArtifactStore, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.tuning.constraints import is_feasible
from app.domain.tuning.objectives import Aggregate, ObjectiveName, demand_segment
from app.domain.tuning.pareto import FrontTrial, front
from app.domain.tuning.segment_regret import SegmentRegret, ranked_on, segment_regrets
from app.domain.tuning.study import SegmentOf, Study, StudySpec, StudyState
from app.domain.tuning.trial import Trial, TrialRole, TrialState
from app.services.artifacts import RANKS
from app.services.idempotency import Idempotency, Replay, once
from app.services.leasing import artifact_name
from app.services.paging import Page
from app.services.studies import StudyService, segments_of

MOST_FIRST_POINTS = 5
"""Of the study's trials, how many a segment's own study begins with at most."""

MAX_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Every segment of a study; `min_effect` is what its verdicts ask for."""

    study: Study
    min_effect: float
    segments: list[SegmentRegret]


@dataclass(frozen=True, slots=True)
class Front:
    """A page of the trials that no other beats in both objectives."""

    objectives: tuple[ObjectiveName, ...]
    page: Page[FrontTrial]


class ComparisonService:
    """Compares trials of one study. `read_ranks` reads the validation ranks in a verified folder."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        signals: Signals,
        studies: StudyService,
        read_ranks: Callable[[Path], PairRanks],
    ) -> None:
        self._units = units
        self._store = store
        self._signals = signals
        self._studies = studies
        self._read_ranks = read_ranks

    def segments(self, study_id: str, *, min_effect: float = 0.0) -> SegmentReport:
        """What each segment gives up by living with the study's best trial so far.

        Raises: NotFound, Conflict when no trial is measured yet or the dataset has no segments, DamagedArtifact.
        """
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            trials = _contenders(unit, study)
            segments = segments_of(unit, study.spec)
        winner = next((trial for trial in trials if trial.id == study.best_trial_id), None)
        if not segments:
            raise Conflict(f"The dataset of study {study_id!r} has no segments: it was made without segment_by.")
        if winner is None:
            raise Conflict(f"Study {study_id!r} has no measured trial yet.")
        found = segment_regrets(
            trials,
            winner,
            ranks_of=self._ranks_of,
            hr_weight=study.spec.objective.hr_weight,
            min_effect=min_effect,
        )
        return SegmentReport(study, min_effect, found)

    def _ranks_of(self, trial: Trial) -> PairRanks | None:
        if trial.outcome is None or not trial.outcome.has_ranks:
            return None
        return self._read_ranks(self._store.open(RANKS, artifact_name(trial.id, trial.attempt)))

    def study_segment(
        self, study_id: str, segment: str, *, idempotency: Idempotency[Study] | None = None
    ) -> Study | Replay:
        """Ask for the same study on one segment's sessions alone; it begins with the trials that were best there.

        Raises: NotFound, InvalidRequest when the dataset has no such segment, Conflict when the study is not completed.
        """
        with self._units() as unit:
            study = once(
                unit, idempotency, lambda: self._studies.added(unit, self._scoped(unit, study_id, segment=segment))
            )
            unit.commit()
        self._signals.wake()
        return study

    def _scoped(self, unit: UnitOfWork, study_id: str, *, segment: str) -> StudySpec:
        study = unit.studies.get(study_id)
        spec = study.spec
        demand_segment(segment, segments_of(unit, spec), pointer="segment")
        if spec.objective.scope not in {None, segment}:
            message = f"Study {study_id!r} is of segment {spec.objective.scope!r} alone."
            raise InvalidRequest(message, pointer="segment")
        if study.state is not StudyState.COMPLETED:
            raise Conflict(f"Study {study_id!r} is {study.state.value}: only a completed one is taken to a segment.")
        ranking = ranked_on(_contenders(unit, study), segment)
        points = dict.fromkeys(trial.parameters for trial, _ in ranking if trial.parameters is not None)
        return replace(
            spec,
            name=_named(spec.name, segment),
            objective=replace(spec.objective, aggregate=Aggregate.MICRO, weights={}, scope=segment),
            # This is where the new study is warm-started from the old one.
            first_points=tuple(points)[: min(MOST_FIRST_POINTS, spec.n_initial)],
            segment_of=SegmentOf(study_id, segment),
        )

    def front(self, study_id: str, *, limit: int, cursor: str | None = None) -> Front:
        """The trials so far that no other beats in both objectives, best in the first objective first.

        `cursor` is the id of the last trial of the page before. Raises: NotFound, InvalidRequest when the cursor is on
        the front no more, Conflict when the study has one objective.
        """
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            trials = _contenders(unit, study)
        names = study.spec.objectives
        if not names:
            raise Conflict(f"Study {study_id!r} has one objective: its best trial is all there is to choose from.")
        found = front(trials, names)
        ids = [one.trial.id for one in found]
        if cursor is not None and cursor not in ids:
            message = f"Trial {cursor!r} is not on the front, or no longer: begin again without a cursor."
            raise InvalidRequest(message, pointer="cursor")
        begin = 0 if cursor is None else ids.index(cursor) + 1
        rows = found[begin : begin + limit]
        return Front(names, Page(rows, rows[-1].trial.id if begin + limit < len(found) else None))


def _contenders(unit: UnitOfWork, study: Study) -> list[Trial]:
    """The completed trials of the search that may be the best: those that keep the study's constraints."""
    constraints = study.spec.constraints
    trials = unit.trials.of_study(study.id, role=None if constraints else TrialRole.SEARCH)
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    return [
        trial
        for trial in trials
        if trial.role is TrialRole.SEARCH
        and trial.state is TrialState.COMPLETED
        and is_feasible(constraints, trial, known)
    ]


def _named(name: str, segment: str) -> str:
    printable = "".join(letter for letter in f"{name}: {segment}" if letter.isprintable())
    return printable[:MAX_NAME_LENGTH]
