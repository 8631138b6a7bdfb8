"""Calibrating: the ledger of finished experiments, what was measured offline beside what came of it online.

    experiment stopped ──► a day later ──► both differences, written once ──► the ledger ──► how far they go together

Plays may come late, so what a day has not passed for is worked out at each request. What is written stays, whatever
becomes of plays and files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from app.domain.experiments.calibration import (
    Calibration,
    Comparison,
    Finding,
    Measure,
    Measured,
    OnlineLift,
    calibrations,
)
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.gating import Evidence
from app.domain.models import Bundle
from app.domain.pairing import paired_difference
from app.domain.repositories import UnitsOfWork
from app.services.gating import GateService
from app.services.paging import Page, page_of
from app.services.snapshots import SETTLED_AFTER

FINISHED = (ExperimentState.STOPPED, ExperimentState.DECIDED)

HR_WEIGHTS: Mapping[Measure, float] = {"hit_ratio": 1.0, "ndcg": 0.0}
"""What makes each measure of the objective."""

SEED = 0
"""Of the resamples: the same ledger is answered alike."""

SAME_MODEL = "Both variants have the same model: they differ in how it serves."
SEVERAL_MODELS = "A variant has models of its own for segments: each is compared in its segment."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A page of the finished experiments, and what all of them say."""

    page: Page[Finding]
    calibrations: list[Calibration]


class CalibrationService:
    """The ledger. `online` tells the lifts of an experiment's goal, overall first, then by segment."""

    def __init__(
        self, units: UnitsOfWork, *, gates: GateService, online: Callable[[Experiment], Sequence[OnlineLift]]
    ) -> None:
        self._units = units
        self._gates = gates
        self._online = online

    def ledger(self, *, limit: int, cursor: str | None = None) -> Ledger:
        """The ledger, the newest experiments first. Raises: Unavailable."""
        findings = self._findings()
        rows = [finding for finding in findings if cursor is None or finding.experiment_id < cursor]
        comparisons = [each for finding in findings for each in finding.comparisons]
        return Ledger(
            page=page_of(rows[: limit + 1], limit=limit, cursor=lambda finding: finding.experiment_id),
            calibrations=calibrations(comparisons, draws=np.random.default_rng(SEED)),
        )

    def _findings(self) -> list[Finding]:
        """Of every finished experiment, the newest first; those that are settled are written."""
        with self._units.reading() as unit:
            now = unit.now()
            known = {finding.experiment_id: finding for finding in unit.findings.all()}
            experiments = [
                each
                for each in unit.experiments.in_states(*FINISHED)
                if each.kind == "assignment" and each.id not in known
            ]
        fresh = [self._finding(experiment, at=now) for experiment in experiments]
        settled = [
            finding
            for experiment, finding in zip(experiments, fresh, strict=True)
            if experiment.stopped_at is not None and now - experiment.stopped_at >= SETTLED_AFTER
        ]
        if settled:
            with self._units() as unit:
                unit.findings.add(settled)
                unit.commit()
        every = known | {finding.experiment_id: finding for finding in fresh}
        return [every[identity] for identity in sorted(every, reverse=True)]

    def _finding(self, experiment: Experiment, *, at: datetime) -> Finding:
        pinned = experiment.pinned
        control = pinned[experiment.spec.control.name]
        return Finding(
            experiment_id=experiment.id,
            name=experiment.spec.name,
            goal=experiment.spec.goal.name,
            comparisons=tuple(
                self._comparison(experiment.id, pinned[lift.variant], control, lift)
                for lift in self._online(experiment)
            ),
            found_at=at,
        )

    def _comparison(self, experiment_id: str, treatment: Bundle, control: Bundle, lift: OnlineLift) -> Comparison:
        offline, n_pairs, reason = self._offline(treatment, control, lift.segment)
        return Comparison(
            experiment_id=experiment_id,
            variant=lift.variant,
            segment=lift.segment,
            offline=offline,
            n_pairs=n_pairs,
            lift=lift.lift,
            n_users=lift.n_users,
            reasons=tuple(each for each in (reason, lift.reason) if each is not None),
        )

    def _offline(
        self, treatment: Bundle, control: Bundle, segment: str | None
    ) -> tuple[dict[Measure, Measured], int | None, str | None]:
        """The differences by measure, of how many pairs, and why there are none."""
        if segment is None and (treatment.segments or control.segments):
            return {}, None, SEVERAL_MODELS
        model_id, other_id = treatment.of(segment), control.of(segment)
        if model_id == other_id:
            return {}, None, SAME_MODEL
        return _differences(self._gates.evidence(model_id, other_id, segment=segment))


def _differences(evidence: Evidence) -> tuple[dict[Measure, Measured], int | None, str | None]:
    ranks, others = evidence.ranks, evidence.live_ranks
    if ranks is None or others is None or evidence.no_pairs is not None:
        return {}, None, evidence.no_pairs
    found: dict[Measure, Measured] = {}
    n_pairs = None
    for measure, weight in HR_WEIGHTS.items():
        difference = paired_difference(ranks.ranks, others.ranks, hr_weight=weight)
        if difference is None:
            return {}, None, "No pair of this segment was measured."
        found[measure] = Measured(value=difference.value, low=difference.low, high=difference.high)
        n_pairs = difference.n
    return found, n_pairs, None
