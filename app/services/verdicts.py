"""Verdicts: a study's winner beside everything that it was compared with, on the test pairs."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from app.domain.errors import DamagedArtifact
from app.domain.measurement import Estimate, Measurement
from app.domain.pairing import PairRanks
from app.domain.ports import ArtifactStore
from app.domain.repositories import UnitsOfWork
from app.domain.tuning.aggregating import segment_shares
from app.domain.tuning.objective_difference import objective_difference
from app.domain.tuning.study import OPEN_STATES, Study
from app.domain.tuning.trial import ENDED_STATES, Method, Trial, TrialRole, TrialState
from app.domain.tuning.verdict import (
    Difference,
    Rival,
    Spread,
    Standing,
    Verdict,
    judged,
    of_intervals,
    over_seeds,
    spread,
)
from app.services.artifacts import RANKS
from app.services.leasing import artifact_name

N_KEPT = 256
"""Reports kept: what they are made from never changes once it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model of the table: its scores under the study's seed, and over the further seeds of its replicates.

    `difference` and `over_seeds` are the winner's less this one's, None for the winner itself or what is not measured.
    """

    name: str
    standing: Standing | None
    trial: Trial
    validation: Estimate | None
    test: Estimate | None
    difference: Difference | None = None
    over_seeds: Difference | None = None
    validation_spread: Spread | None = None
    test_spread: Spread | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReport:
    """The table, the winner first, and the verdict; without one, `missing` says why."""

    study: Study
    rows: tuple[Row, ...]
    verdict: Verdict | None
    missing: str | None


class VerdictService:
    """Verdicts of studies. `read_ranks` reads the test ranks in a verified folder."""

    def __init__(self, units: UnitsOfWork, *, store: ArtifactStore, read_ranks: Callable[[Path], PairRanks]) -> None:
        self._units = units
        self._store = store
        self._read_ranks = read_ranks
        self._kept: OrderedDict[tuple[str, ...], tuple[tuple[Row, ...], Verdict | None]] = OrderedDict()
        self._lock = Lock()

    def of(self, study_id: str) -> VerdictReport:
        """The study's table and verdict as they stand. Raises: NotFound."""
        with self._units.reading() as unit:
            study = unit.studies.get(study_id)
            best = None if study.best_trial_id is None else unit.trials.get(study.best_trial_id)
            trials = [
                trial
                for role in (TrialRole.BASELINE, TrialRole.CONFIRMATION, TrialRole.REPLICATE)
                for trial in unit.trials.of_study(study_id, role=role)
                if trial.state is TrialState.COMPLETED
            ]
            counts = unit.trials.counts(study_id)
        if study.state in OPEN_STATES and not _only_transfers_are_left(study, counts):
            return VerdictReport(study=study, rows=(), verdict=None, missing="The study has not ended.")
        confirmation = next(
            (
                t
                for t in trials
                if t.role is TrialRole.CONFIRMATION and best is not None and t.source_trial_id == best.id
            ),
            None,
        )
        if best is None or confirmation is None:
            return VerdictReport(
                study=study, rows=(), verdict=None, missing="No winner was measured on the test pairs."
            )
        rows, verdict = self._judged(study, best, confirmation, trials)
        missing = None if verdict is not None else _why_missing(rows)
        return VerdictReport(study=study, rows=rows, verdict=verdict, missing=missing)

    def _judged(
        self, study: Study, best: Trial, confirmation: Trial, trials: Sequence[Trial]
    ) -> tuple[tuple[Row, ...], Verdict | None]:
        key = (study.id, best.id, *(trial.id for trial in trials))
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        rows = self._rows(study, best, confirmation, trials)
        rivals = [
            Rival(name=row.name, standing=row.standing, on_pairs=row.difference, over_seeds=row.over_seeds)
            for row in rows
            if row.standing is not None and row.difference is not None
        ]
        found = rows, judged(rivals)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        return found

    def _rows(self, study: Study, best: Trial, confirmation: Trial, trials: Sequence[Trial]) -> tuple[Row, ...]:
        tests = _by_seed(trials, "test")
        validations = _by_seed(trials, "validation")
        own = tests.get(best.id, {})
        ranks = self._ranks_of(confirmation)
        winner = Row(
            name=best.name,
            standing=None,
            trial=best,
            validation=_objective(best, "validation"),
            test=_objective(confirmation, "test"),
            validation_spread=spread(list(validations.get(best.id, {}).values())),
            test_spread=spread(list(own.values())),
        )
        rows = [winner]
        for trial in trials:
            if trial.role is not TrialRole.BASELINE:
                continue
            test = _objective(trial, "test")
            seeds = tests.get(trial.id, {})
            rows.append(
                Row(
                    name=trial.name,
                    standing=standing_of(trial),
                    trial=trial,
                    validation=_objective(trial, "validation"),
                    test=test,
                    difference=self._difference(study, winner.test, ranks, trial, test),
                    over_seeds=over_seeds(own, seeds),
                    validation_spread=spread(list(validations.get(trial.id, {}).values())),
                    test_spread=spread(list(seeds.values())),
                )
            )
        return tuple(rows)

    def _difference(
        self, study: Study, winner: Estimate | None, ranks: PairRanks | None, trial: Trial, test: Estimate | None
    ) -> Difference | None:
        if winner is None or test is None or trial.outcome is None or trial.outcome.test is None:
            return None
        others = None if ranks is None else self._ranks_of(trial)
        if ranks is None or others is None:
            return of_intervals(winner, test)
        objective = study.spec.objective
        scores = trial.outcome.test.segments
        return objective_difference(
            ranks,
            others,
            aggregate=objective.aggregate,
            shares=segment_shares(scores, aggregate=objective.aggregate, weights=objective.weights),
            hr_weight=objective.hr_weight,
        )

    def _ranks_of(self, trial: Trial) -> PairRanks | None:
        """What became of each test pair; None where that was not kept or can be read no more."""
        if trial.outcome is None or not trial.outcome.has_ranks:
            return None
        try:
            return self._read_ranks(self._store.open(RANKS, artifact_name(trial.id, trial.attempt)))
        except DamagedArtifact:
            return None


def _only_transfers_are_left(study: Study, counts: Mapping[tuple[TrialRole, TrialState], int]) -> bool:
    """Whether an open study runs for a transfer alone, which changes nothing of its verdict."""
    n_search = sum(n for (role, _), n in counts.items() if role is TrialRole.SEARCH)
    open_roles = {role for (role, state), n in counts.items() if n and state not in ENDED_STATES}
    return open_roles == {TrialRole.TRANSFER} and (n_search >= study.spec.budget or study.stopped is not None)


def standing_of(baseline: Trial) -> Standing:
    """What part a baseline has in the verdict."""
    match baseline.method:
        case Method.WORD2VEC:
            return "reference"
        case Method.MOST_POPULAR:
            return "control"
        case _:
            return "plain"


def _by_seed(trials: Sequence[Trial], pair_set: str) -> Mapping[str, dict[int, float]]:
    """The objectives of the replicates by what they replicate and by seed."""
    found: dict[str, dict[int, float]] = {}
    for trial in trials:
        estimate = _objective(trial, pair_set)
        if trial.source_trial_id is not None and trial.seed is not None and estimate is not None:
            found.setdefault(trial.source_trial_id, {})[trial.seed] = estimate.value
    return found


def _objective(trial: Trial, pair_set: str) -> Estimate | None:
    outcome = trial.outcome
    measurement: Measurement | None = None
    if outcome is not None:
        measurement = outcome.test if pair_set == "test" else outcome.validation
    return None if measurement is None else measurement.judged.objective


def _why_missing(rows: Sequence[Row]) -> str:
    if rows[0].test is None:
        return "There are no test pairs."
    return "gensim's defaults were not measured: there is nothing to judge the winner by."
