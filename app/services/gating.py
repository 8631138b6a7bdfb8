"""Gates: what is known of a model that is to go live, beside what it would replace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.domain.errors import DamagedArtifact
from app.domain.gates import GateLimits, GateReport
from app.domain.gating import Evidence, judged
from app.domain.measurement import Measurement
from app.domain.models import Bundle, Model
from app.domain.pairing import PairRanks
from app.domain.ports import ArtifactStore
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.tuning.study import StudySpec
from app.domain.tuning.trial import Trial
from app.services.artifacts import MODELS, RANKS
from app.services.leasing import artifact_name
from app.services.studies import confirmation_in

NOT_TESTED = "{} comes from a trial that was not measured on the test pairs."
NOT_KEPT = "It is not kept what became of each test pair under {}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A member of a bundle that would change: its segment (None: the default), and the models after and before."""

    segment: str | None
    model: Model
    live: Model | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """What is kept of a model on the test pairs of its own dataset."""

    model: Model
    spec: StudySpec
    trial: Trial | None
    """The confirmation of the trial that the model comes from."""

    @property
    def measurement(self) -> Measurement | None:
        return None if self.trial is None or self.trial.outcome is None else self.trial.outcome.test


def changed(after: Bundle, before: Bundle | None) -> list[tuple[str | None, str, str | None]]:
    """Segment (None: the default), model after and model before, of each member that would change."""
    segments: list[str | None] = [None, *sorted({*after.segments, *(before.segments if before else {})})]
    found = [(segment, after.of(segment), before.of(segment) if before else None) for segment in segments]
    return [each for each in found if each[1] != each[2]]


class GateService:
    """Judges models. `read_ranks` reads the test ranks in a verified folder; `defaults` are the operator's."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        read_ranks: Callable[[Path], PairRanks],
        defaults: GateLimits | None = None,
    ) -> None:
        self._units = units
        self._store = store
        self._read_ranks = read_ranks
        self.defaults = GateLimits() if defaults is None else defaults

    def changes(self, after: Bundle, before: Bundle | None, *, built: Model | None = None) -> list[Change]:
        """The members that would change, as stored; `built` stands for itself. Raises: NotFound."""
        with self._units.reading() as unit:
            return [
                Change(
                    segment=segment,
                    model=built if built is not None and built.id == model_id else unit.models.get(model_id),
                    live=None if live_id is None else unit.models.get(live_id),
                )
                for segment, model_id, live_id in changed(after, before)
            ]

    def reports(self, changes: Sequence[Change], limits: GateLimits | None) -> tuple[GateReport, ...]:
        """One table a change. Raises: Unavailable."""
        wanted = self.defaults if limits is None else limits
        return tuple(judged(self._evidence(change), wanted) for change in changes)

    def preview(self, model_id: str, *, alias: str, segment: str | None, limits: GateLimits | None) -> GateReport:
        """The table of a model beside what is live under the alias now; nothing moves. Raises: NotFound."""
        with self._units.reading() as unit:
            model = unit.models.get(model_id)
            found = unit.aliases.find(alias)
            live = None if found is None else unit.models.get(found.bundle.of(segment))
        return self.reports([Change(segment=segment, model=model, live=live)], limits)[0]

    def evidence(self, model_id: str, other_id: str, *, segment: str | None) -> Evidence:
        """What two models measured on the same test pairs, or why there is nothing. Raises: NotFound, Unavailable."""
        with self._units.reading() as unit:
            change = Change(segment=segment, model=unit.models.get(model_id), live=unit.models.get(other_id))
        found = self._evidence(change)
        return found if found.no_pairs is None else replace(found, no_pairs=_of_no_live(found.no_pairs))

    def _evidence(self, change: Change) -> Evidence:
        model, live = change.model, change.live
        with self._units.reading() as unit:
            mine = _tested(unit, model)
            theirs = None if live is None or live.id == model.id else _tested(unit, live)
        known = Evidence(
            model_id=model.id,
            live_model_id=None if live is None else live.id,
            segment=change.segment,
            hr_weight=mine.spec.objective.hr_weight,
            index=model.index,
            latency=model.latency,
        )
        return known if theirs is None else self._beside(known, mine, theirs)

    def _beside(self, known: Evidence, mine: _Tested, theirs: _Tested) -> Evidence:
        """The evidence with what both measured on the same pairs, or why there is nothing."""
        is_rival = mine.model.rival is not None and mine.model.rival.model_id == theirs.model.id
        other = mine.model.rival.measurement if is_rival and mine.model.rival is not None else theirs.measurement
        why = _why_apart(mine, theirs, is_rival=is_rival)
        ranks = live_ranks = None
        no_pairs = why
        if why is None:
            try:
                ranks = self._ranks_of(mine, known.segment)
                read = self._rival_ranks if is_rival else self._ranks_of
                live_ranks = read(mine if is_rival else theirs, known.segment)
            except DamagedArtifact as error:
                no_pairs = str(error)
            else:
                no_pairs = _why_no_pairs(ranks, live_ranks, mine, theirs)
        return Evidence(
            model_id=known.model_id,
            live_model_id=known.live_model_id,
            segment=known.segment,
            hr_weight=known.hr_weight,
            index=known.index,
            latency=known.latency,
            ranks=ranks,
            live_ranks=live_ranks,
            no_pairs=no_pairs,
            measurement=mine.measurement,
            live_measurement=other,
            no_lists=why if why is not None else _why_no_lists(mine, theirs, is_rival=is_rival),
        )

    def _ranks_of(self, tested: _Tested, segment: str | None) -> PairRanks | None:
        trial = tested.trial
        if trial is None or trial.outcome is None or not trial.outcome.has_ranks:
            return None
        return _of(self._read_ranks(self._store.open(RANKS, artifact_name(trial.id, trial.attempt))), segment)

    def _rival_ranks(self, tested: _Tested, segment: str | None) -> PairRanks:
        model = tested.model
        return _of(self._read_ranks(self._store.open(MODELS, artifact_name(model.id, model.attempt))), segment)


def _tested(unit: UnitOfWork, model: Model) -> _Tested:
    return _Tested(
        model=model,
        spec=unit.studies.get(model.study_id).spec,
        trial=confirmation_in(unit.trials.of_study(model.study_id), model.trial_id),
    )


def _of_no_live(reason: str) -> str:
    """A reason that speaks of the model beside, which need not be live."""
    return reason.replace(", which is live,", "").replace(", which is live", "")


def _of(ranks: PairRanks, segment: str | None) -> PairRanks:
    """Those of the segment's pairs alone, where the pairs are of segments that include it."""
    if segment is None or segment not in ranks.segments:
        return ranks
    is_of = ranks.segment == ranks.segments.index(segment)
    return PairRanks(ranks.ranks[is_of], ranks.segment[is_of], ranks.segments)


def _why_apart(mine: _Tested, theirs: _Tested, *, is_rival: bool) -> str | None:
    """Why the two cannot be compared on pairs; None when they can."""
    if mine.measurement is None:
        return NOT_TESTED.format(f"Model {mine.model.id}")
    if is_rival:
        return None
    if mine.model.lineage.fingerprint != theirs.model.lineage.fingerprint:
        return f"Model {theirs.model.id}, which is live, was measured on another dataset's pairs."
    if theirs.measurement is None:
        return NOT_TESTED.format(f"Model {theirs.model.id}, which is live,")
    if mine.measurement.k != theirs.measurement.k:
        return f"They were measured at k = {mine.measurement.k} and k = {theirs.measurement.k}."
    return None


def _why_no_pairs(ranks: PairRanks | None, live: PairRanks | None, mine: _Tested, theirs: _Tested) -> str | None:
    if ranks is None:
        return NOT_KEPT.format(f"model {mine.model.id}")
    if live is None:
        return NOT_KEPT.format(f"model {theirs.model.id}, which is live")
    is_same = ranks.segments == live.segments and ranks.segment.tolist() == live.segment.tolist()
    return None if is_same else "They were measured on other pairs of the dataset: one is of a single segment."


def _why_no_lists(mine: _Tested, theirs: _Tested, *, is_rival: bool) -> str | None:
    if is_rival or mine.spec.objective.scope == theirs.spec.objective.scope:
        return None
    return "One of them was measured on the pairs of a single segment alone."
