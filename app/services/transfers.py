"""Transfers: a study's best points trained again on samples of the sessions, by the study's own queue of trials."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from app.domain.errors import Conflict, NotFound
from app.domain.ports import Ids, Signals
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.training import Trainer
from app.domain.tuning.constraints import Constraint, is_feasible
from app.domain.tuning.study import Study, StudyState
from app.domain.tuning.transfer import Agreement, Transfer, TransferSpec, agreement
from app.domain.tuning.trial import ENDED_STATES, Trial, TrialRole, TrialState
from app.services.confirming import replicated_baselines
from app.services.idempotency import Idempotency, Replay, once
from app.services.paging import Page, page_of
from app.services.studies import moved

FEWEST_POINTS = 2

WHOLE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point on one sample: the trial that measures it, None once it is gone."""

    fraction: float
    trial: Trial | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReport:
    """One point: the trial of the search, or the baseline, and what it scores on each sample."""

    source: Trial
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """How two samples agree about the order of the points."""

    fractions: tuple[float, float]
    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """A transfer and what was measured of it so far."""

    transfer: Transfer
    state: str
    n_ended: int
    n_trials: int
    points: tuple[PointReport, ...]
    agreements: tuple[PairReport, ...]


class TransferService:
    """Transfers of studies."""

    def __init__(self, units: UnitsOfWork, *, ids: Ids, signals: Signals) -> None:
        self._units = units
        self._ids = ids
        self._signals = signals

    def create(
        self, study_id: str, spec: TransferSpec, *, idempotency: Idempotency[Transfer] | None = None
    ) -> Transfer | Replay:
        """Have a completed study run again for the transfer; what it measured on a sample before is not run again.

        Raises: NotFound, Conflict when it is not completed or has too few measured trials.
        """
        with self._units() as unit:
            transfer = once(unit, idempotency, lambda: self._created(unit, study_id, spec))
            unit.commit()
        self._signals.wake()
        return transfer

    def _created(self, unit: UnitOfWork, study_id: str, spec: TransferSpec) -> Transfer:
        study = unit.studies.lock(study_id)
        if study.state is not StudyState.COMPLETED:
            raise Conflict(f"Study {study_id!r} is {study.state.value}: a transfer needs one that is completed.")
        if study.spec.trainer is Trainer.EXTERNAL:
            raise Conflict(f"Study {study_id!r} was trained outside Segue, which cannot train its points again.")
        trials = unit.trials.of_study(study_id)
        top = _top(trials, spec.n_top, constraints=study.spec.constraints)
        if len(top) < FEWEST_POINTS:
            raise Conflict(f"A transfer needs {FEWEST_POINTS} measured trials; study {study_id!r} has {len(top)}.")
        points = [*top, *replicated_baselines(trials)]
        transfer = Transfer(
            id=self._ids.new("tra"),
            study_id=study_id,
            spec=spec,
            points=tuple(point.id for point in points),
            created_at=unit.now(),
        )
        unit.transfers.add(transfer)
        missing = [
            (point, fraction)
            for fraction in spec.fractions
            for point in points
            if _on(trials, point, fraction, is_usable=True) is None
        ]
        first = sum(trial.role is TrialRole.TRANSFER for trial in trials)
        for number, (point, fraction) in enumerate(missing, start=first):
            unit.trials.add(self._trial(unit, point, fraction=fraction, number=number))
        if missing:
            now = unit.now()
            unit.studies.save(replace(moved(study, StudyState.RUNNING, now=now), finished_at=None))
        return transfer

    def _trial(self, unit: UnitOfWork, point: Trial, *, fraction: float, number: int) -> Trial:
        return Trial(
            id=self._ids.new("trl"),
            study_id=point.study_id,
            role=TrialRole.TRANSFER,
            number=number,
            name=f"{point.name}_of_{fraction:g}",
            method=point.method,
            parameters=point.parameters,
            state=TrialState.WAITING,
            created_at=unit.now(),
            source_trial_id=point.id,
            sample_fraction=fraction,
            revision=point.revision,
        )

    def list(self, study_id: str, *, limit: int, cursor: str | None = None) -> Page[Transfer]:
        """A study's transfers, newest first. Raises: NotFound."""
        with self._units.reading() as unit:
            unit.studies.get(study_id)
            rows = unit.transfers.page_of_study(study_id, limit=limit + 1, cursor=cursor)
        return page_of(rows, limit=limit, cursor=lambda transfer: transfer.id)

    def report(self, study_id: str, transfer_id: str) -> TransferReport:
        """What a transfer has shown so far. Raises: NotFound."""
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            transfer = unit.transfers.get(transfer_id)
            if transfer.study_id != study_id:
                raise NotFound("transfer", transfer_id)
            trials = unit.trials.of_study(study_id)
        by_id = {trial.id: trial for trial in trials}
        points = tuple(_point(transfer, by_id[identity], trials) for identity in transfer.points)
        cells = [cell for point in points for cell in point.cells]
        n_ended = sum(cell.trial is None or cell.trial.state in ENDED_STATES for cell in cells)
        return TransferReport(
            transfer=transfer,
            state=_state(study, is_over=n_ended == len(cells)),
            n_ended=n_ended,
            n_trials=len(cells),
            points=points,
            agreements=tuple(_agreements(transfer.spec.fractions, points)),
        )


def _top(trials: Sequence[Trial], n: int, *, constraints: Sequence[Constraint]) -> list[Trial]:
    """The best n, those that break a constraint after all others, the best first."""
    known = {trial.name: trial for trial in trials if trial.role is TrialRole.BASELINE}
    ranked = [
        (is_feasible(constraints, trial, known) is False, -trial.objective, trial.number, trial)
        for trial in trials
        if trial.role is TrialRole.SEARCH and trial.state is TrialState.COMPLETED and trial.objective is not None
    ]
    return [trial for *_, trial in sorted(ranked, key=lambda row: row[:3])[:n]]


def _on(trials: Sequence[Trial], point: Trial, fraction: float, *, is_usable: bool = False) -> Trial | None:
    """The last trial that measures, or measured, a point on a sample; on the whole it is the point itself."""
    if fraction == WHOLE:
        return point
    found = [
        trial
        for trial in trials
        if trial.role is TrialRole.TRANSFER
        and trial.source_trial_id == point.id
        and trial.sample_fraction == fraction
        and not (is_usable and trial.state not in {TrialState.COMPLETED, TrialState.INFEASIBLE})
    ]
    return found[-1] if found else None


def _point(transfer: Transfer, source: Trial, trials: Sequence[Trial]) -> PointReport:
    cells = [Cell(fraction=fraction, trial=_on(trials, source, fraction)) for fraction in transfer.spec.fractions]
    return PointReport(source=source, cells=tuple(cells))


def _agreements(fractions: Sequence[float], points: Sequence[PointReport]) -> list[PairReport]:
    reports = []
    for left, right in combinations(range(len(fractions)), 2):
        both = [(_value(point.cells[left]), _value(point.cells[right])) for point in points]
        measured = [(x, y) for x, y in both if x is not None and y is not None]
        if len(measured) >= FEWEST_POINTS:
            x, y = zip(*measured, strict=True)
            found = agreement(x, y)
            reports.append(PairReport(fractions=(fractions[left], fractions[right]), agreement=found))
    return reports


def _value(cell: Cell) -> float | None:
    return None if cell.trial is None else cell.trial.objective


def _state(study: Study, *, is_over: bool) -> str:
    if is_over:
        return "completed"
    return study.state.value
