"""Exposing: who asks within an experiment gets a variant, and that is on record before the answer is out.

    exposed before? ──yes──► the variant of then, whatever became of shares and buckets
         │ no
    running, in the traffic, all variants loaded? ──no──► what everybody gets, and why
         │ yes
    the variant answers ──► segment of this moment, one durable row ──► answer

The row is written once: of two servers that expose a user at the same moment the first decides, and both answer by its
variant. Whom a server knows to be exposed it remembers, up to a bound, so that only a first request writes. While the
database is away nobody new is exposed; who is known to be keeps the variant.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from app.domain.errors import Conflict, NothingLive, Unavailable
from app.domain.experiments.experiment import LIVE_STATES, Experiment, ExperimentState, Serving
from app.domain.experiments.exposure import Exposure
from app.domain.models import Alias
from app.domain.plays import check_id
from app.domain.ports import Clock, FollowedListeners
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import AliasTarget, ExperimentAnswer, LiveModels, UnassignedReason
from app.services.leasing import artifact_name
from app.services.segments import UserSegments

A = TypeVar("A")

CAPACITY = 100_000
"""Exposures that a server remembers: some 300 bytes each."""

READ_AGAIN_AFTER_S = 1.0
"""How long an experiment that is not served is not looked for again, nor a database that was found away."""

MOST_READ = 1_000
"""Experiments that are not served and are remembered so."""

MOST_TRIES = 3
"""How often a user is assigned anew because the experiment was changed in between."""


class _Changed(Exception):
    """The experiment is no longer as this server knew it."""


@dataclass(frozen=True, slots=True)
class Question(Generic[A]):
    """What a user asks within an experiment.

    `ask` takes what answers, as an alias, and how the variant recommends. `is_cut_off` tells of an answer that it was
    made without the database. `draft` makes one answer of two variants', of an experiment whose id it takes; None for
    what is not interleaved.
    """

    ask: Callable[[str, Serving], A]
    is_cut_off: Callable[[A], bool]
    draft: Callable[[str, A, A], A] | None


@dataclass(frozen=True, slots=True)
class Within(Generic[A]):
    """An answer and what it has to do with the experiment."""

    answer: A
    experiment: ExperimentAnswer


class KnownExposures:
    """Exposures that this server has seen in the database, the oldest forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: dict[tuple[str, str], Exposure] = {}
        self._lock = threading.Lock()

    def find(self, experiment_id: str, user_id: str) -> Exposure | None:
        """The user's exposure, if it is remembered."""
        return self._known.get((experiment_id, user_id))

    def keep(self, exposure: Exposure) -> None:
        """Remember it."""
        with self._lock:
            while len(self._known) >= self._capacity:
                del self._known[next(iter(self._known))]
            self._known[exposure.experiment_id, exposure.user_id] = exposure

    def forget(self, experiment_id: str, user_id: str) -> None:
        """Remember it no longer."""
        with self._lock:
            self._known.pop((experiment_id, user_id), None)

    def __len__(self) -> int:
        return len(self._known)


class ExposingService:
    """Answers within experiments; see the module header."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        segments: UserSegments,
        listeners: FollowedListeners,
        live: LiveModels,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        capacity: int = CAPACITY,
    ) -> None:
        self._units = units
        self._segments = segments
        self._listeners = listeners
        self._live = live
        self._clock = clock
        self._monotonic = monotonic
        self._known = KnownExposures(capacity)
        self._served: dict[str, Experiment] = {}
        self._read: dict[str, tuple[Experiment, float]] = {}
        self._database_away_until = 0.0

    def targets(self) -> Sequence[AliasTarget]:
        """The variants of live experiments, for the server that follows aliases; from now on it serves those."""
        with self._units.reading() as unit:
            experiments = unit.experiments.in_states(*LIVE_STATES)
            targets = [target for experiment in experiments for target in _targets(unit, experiment)]
        self._served = {experiment.id: experiment for experiment in experiments}
        return targets

    def answered(
        self,
        experiment_id: str,
        user_id: str,
        ask: Callable[[str, Serving], A],
        *,
        is_cut_off: Callable[[A], bool] = lambda _answer: False,
        draft: Callable[[str, A, A], A] | None = None,
    ) -> Within[A]:
        """What `ask` answers by the user's variant, who is exposed to it, or by the experiment's alias.

        Of an interleaving experiment what `draft` makes of both variants' answers. The arguments are a `Question`'s.

        Raises: InvalidRequest, NotFound, Conflict, NothingLive, Unavailable, and what `ask` raises.
        """
        check_id(user_id, pointer="user_id")
        question = Question(ask, is_cut_off, draft)
        for _ in range(MOST_TRIES):
            experiment = self._experiment(experiment_id)
            with suppress(_Changed):
                return self._answered(experiment, user_id, question)
        raise Conflict(f"Experiment {experiment_id!r} is being changed: try again.")

    def _answered(self, experiment: Experiment, user_id: str, question: Question[A]) -> Within[A]:
        if experiment.kind == "interleaving" and question.draft is None:
            raise Conflict(f"Experiment {experiment.id!r} interleaves lists of recommendations, and nothing else.")
        reason = self._why_not(experiment)
        exposure = None if reason else self._exposed(experiment, user_id)
        if exposure is not None:
            return _by_variant(experiment, exposure, question)
        reason = reason or self._why_not_new(experiment, user_id)
        if reason is not None:
            return _by_alias(experiment, question, reason=reason)
        return self._answered_first(experiment, user_id, question)

    # Who is in

    def _why_not(self, experiment: Experiment) -> UnassignedReason | None:
        """Why nobody is served a variant here."""
        if experiment.state is ExperimentState.DRAFT:
            return "not_started"
        if not experiment.is_live:
            return "stopped"
        return None if self._has_all(experiment) else "variant_not_live"

    def _why_not_new(self, experiment: Experiment, user_id: str) -> UnassignedReason | None:
        """Why a user who was not exposed before does not enter."""
        assignment = experiment.assignment(user_id)
        if assignment is None or assignment.variant is None:
            return "not_in_traffic"
        if experiment.state is ExperimentState.PAUSED:
            return "paused"
        return "database_away" if self._is_away() else None

    def _has_all(self, experiment: Experiment) -> bool:
        """Whether every variant answers here: else some would lack users that others have."""
        try:
            for variant in experiment.spec.variants:
                self._live.get(experiment.live_name(variant.name))
        except NothingLive:
            return False
        return True

    def _experiment(self, experiment_id: str) -> Experiment:
        """The experiment as this server knows it, read where it is not served. Raises: NotFound, Unavailable."""
        served = self._served.get(experiment_id)
        if served is not None:
            return served
        now_s = self._monotonic()
        read, until_s = self._read.get(experiment_id, (None, 0.0))
        if read is not None and now_s < until_s:
            return read
        try:
            with self._units.reading() as unit:
                read = unit.experiments.get(experiment_id)
        except Unavailable:
            if read is None:
                raise
        if len(self._read) >= MOST_READ:
            self._read = {}
        self._read[experiment_id] = read, now_s + READ_AGAIN_AFTER_S
        return read

    def _exposed(self, experiment: Experiment, user_id: str) -> Exposure | None:
        """The user's exposure as far as it matters: to who may be in only by an earlier one, the database is asked."""
        known = self._remembered(experiment.id, user_id)
        if known is not None:
            return known
        assignment = experiment.assignment(user_id)
        if assignment is None or not any(each.is_traffic(assignment.traffic_bucket) for each in experiment.allocations):
            return None
        if experiment.state is ExperimentState.RUNNING and assignment.variant is not None:
            return None  # writing tells
        if self._is_away():
            return None
        try:
            with self._units.reading() as unit:
                stored = unit.exposures.find(experiment.id, user_id)
        except Unavailable:
            self._found_away()
            return None
        if stored is not None:
            self._known.keep(stored)
        return stored

    def _remembered(self, experiment_id: str, user_id: str) -> Exposure | None:
        known = self._known.find(experiment_id, user_id)
        if known is None:
            return None
        erased_at_ms = self._listeners.erased_at_ms(user_id)
        if erased_at_ms is not None and erased_at_ms >= known.exposed_at_ms:
            self._known.forget(experiment_id, user_id)
            return None
        return known

    # The first time

    def _answered_first(self, experiment: Experiment, user_id: str, question: Question[A]) -> Within[A]:
        """The variant's answer and its exposure. Raises: _Changed."""
        exposure = _new(experiment, user_id, at_ms=epoch_ms(self._clock.now()))
        found = _by_variant(experiment, exposure, question)  # first: who cannot be answered is not exposed
        stored = None
        if not (found.experiment["reason"] or question.is_cut_off(found.answer)):
            with suppress(Unavailable):
                stored = self._stored(experiment, exposure)
        if stored is None:
            self._found_away()
            return _by_alias(experiment, question, reason="database_away")
        self._known.keep(stored)
        if stored.variant != exposure.variant:  # another server was first, by other shares
            return _by_variant(experiment, stored, question)
        return Within(found.answer, _told(stored))

    def _stored(self, experiment: Experiment, exposure: Exposure) -> Exposure:
        """What is on record once the exposure is. Raises: Unavailable; _Changed, with the experiment read anew."""
        spec = experiment.spec
        at_ms = exposure.exposed_at_ms
        segment = self._segments.of(exposure.user_id, alias=spec.alias, by=spec.segment_by, at_ms=at_ms)
        with self._units() as unit:
            if unit.experiments.standing(experiment.id) != (experiment.state, experiment.version):
                self._served = {**self._served, experiment.id: unit.experiments.get(experiment.id)}
                raise _Changed
            unit.listeners.share()  # no erasure comes between
            erased_at_ms = unit.listeners.erased_at([exposure.user_id]).get(exposure.user_id, -1)
            if erased_at_ms < at_ms:
                exposure = replace(exposure, segment=segment)
            stored = unit.exposures.expose(exposure)
            unit.commit()
        return stored

    def _is_away(self) -> bool:
        return self._monotonic() < self._database_away_until

    def _found_away(self) -> None:
        self._database_away_until = self._monotonic() + READ_AGAIN_AFTER_S


def _new(experiment: Experiment, user_id: str, *, at_ms: int) -> Exposure:
    """The exposure of a user who enters, as yet without a segment. Raises: _Changed for who does not any more."""
    assignment = experiment.assignment(user_id)
    if experiment.allocation is None or assignment is None or assignment.variant is None:
        raise _Changed
    return Exposure(
        experiment_id=experiment.id,
        user_id=user_id,
        variant=assignment.variant,
        segment=None,
        exposed_at_ms=at_ms,
        revision=experiment.allocation.revision,
    )


def _by_variant(experiment: Experiment, exposure: Exposure, question: Question[A]) -> Within[A]:
    """The variant's answer; that of the alias where the database is away and the variant cannot do without."""
    is_one_list = experiment.kind == "interleaving"
    variants = [each for each in experiment.spec.variants if is_one_list or each.name == exposure.variant]
    try:
        answers = [question.ask(experiment.live_name(each.name), each.serving) for each in variants]
    except Unavailable:  # the variant's model knows nothing of the user: the alias's may
        return _by_alias(experiment, question, reason="database_away")
    if is_one_list and question.draft is not None:
        return Within(question.draft(experiment.id, *answers), _told(exposure))
    return Within(answers[0], _told(exposure))


def _by_alias(experiment: Experiment, question: Question[A], *, reason: UnassignedReason) -> Within[A]:
    answer = question.ask(experiment.spec.alias, Serving())
    return Within(
        answer,
        {"id": experiment.id, "variant": None, "segment": None, "is_exposed": False, "reason": reason},
    )


def _told(exposure: Exposure) -> ExperimentAnswer:
    return {
        "id": exposure.experiment_id,
        "variant": exposure.variant,
        "segment": exposure.segment,
        "is_exposed": True,
        "reason": None,
    }


def _targets(unit: UnitOfWork, experiment: Experiment) -> list[AliasTarget]:
    """Each variant as if it were live under a name of its own."""
    targets = []
    for name, bundle in experiment.pinned.items():
        alias = Alias(
            name=experiment.live_name(name),
            model_id=bundle.default,
            generation=1,
            updated_at=experiment.started_at or experiment.created_at,
            segments=bundle.segments,
        )
        files = {each: artifact_name(each, unit.models.get(each).attempt) for each in bundle.models()}
        targets.append(AliasTarget(alias, files[bundle.default], files))
    return targets
