"""Trials as those see them who run them: born when a slot frees, claimed, kept alive, reported on, counted once.

A suggestion takes time to compute, so it happens outside any unit of work: the study is read, a point is computed for
the next number, and stored only if that number is still free. Two workers that compute the same number cannot both
store it; the loser looks again and then sees the winner's trial as pending.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from app.domain.errors import Conflict, LostLease
from app.domain.lease import Claim, Failure, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.ports import ArtifactStore, Ids, LeaseWatch, Signals, Suggester
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.training import TrainingParameters
from app.domain.tuning.retry import kind_of
from app.domain.tuning.revisions import within
from app.domain.tuning.study import OPEN_STATES, Study, StudySpec, StudyState
from app.domain.tuning.suggester import observations
from app.domain.tuning.trial import (
    ENDED_STATES,
    TRIAL_MOVES,
    Method,
    Trial,
    TrialOutcome,
    TrialRole,
    TrialState,
    is_asked_for,
)
from app.services.artifacts import RANKS, VECTORS
from app.services.contest import contest, contested
from app.services.epochs import decided, ended_early, with_epochs
from app.services.leasing import LOST, artifact_name, claim_on, claimed, counted, extended
from app.services.studies import ended, moved, settled, stopped_if_due
from app.services.warm_starting import outside_of

KIND = VECTORS
"""The artifact store's name for trained vectors."""

N_STUDIES_LOOKED_AT = 20
"""How many studies with room for a trial one claim looks through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialWork:
    """A trial to run. `vectors` are the stored ones that a confirmation measures; `trained_as` tells who trains."""

    claim: Claim
    trial: Trial
    spec: StudySpec
    dataset_files: str
    vectors: str | None
    trained_as: TrialRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who takes a trial: a worker, or a client, which shows a token from then on and has a lease of its own length."""

    name: str
    token_sha256: str | None = None
    lease: timedelta

    @property
    def is_client(self) -> bool:
        """Whether it asked through the API."""
        return self.token_sha256 is not None


class TrialService:
    """The queue of trials."""

    def __init__(
        self,
        units: UnitsOfWork,
        *,
        store: ArtifactStore,
        ids: Ids,
        signals: Signals,
        suggester_for: Callable[[StudySpec], Suggester],
        lease: timedelta,
        watch: LeaseWatch,
    ) -> None:
        self._units = units
        self._store = store
        self._ids = ids
        self._signals = signals
        self._suggester_for = suggester_for
        self._lease = lease
        self._watch = watch

    def claim(self, worker_id: str) -> TrialWork | None:
        """A waiting trial, or a new one where a study has room for it, leased to the worker."""
        with self._units.reading() as unit:
            study_ids = unit.studies.open_with_capacity(limit=N_STUDIES_LOOKED_AT)
        holder = Holder(name=worker_id, lease=self._lease)
        for study_id in study_ids:
            work = self._claim_waiting(study_id, holder) or self._claim_new(study_id, holder)
            if work is not None:
                return work
        return None

    def ask(self, study_id: str, client: Holder) -> TrialWork | None:
        """The trial that the client holds, begun anew; else a waiting or a new one of the search. None: none is left.

        Raises: NotFound.
        """
        return self._claim_waiting(study_id, client) or self._claim_new(study_id, client)

    def _claim_waiting(self, study_id: str, holder: Holder) -> TrialWork | None:
        with self._units() as unit:
            study = unit.studies.lock(study_id) if holder.is_client else unit.studies.lock_free(study_id)
            if study is None:
                return None
            trial = _held(unit, study, holder)
            if trial is None and _has_room(unit, study, holder):
                trial = _next(unit, study, holder)
            if trial is None:
                return None
            work = self._begun(unit, study, trial, holder=holder)
            unit.commit()
        return work or self._claim_waiting(study_id, holder)

    def _claim_new(self, study_id: str, holder: Holder) -> TrialWork | None:
        while True:
            with self._units.reading() as unit:
                read = unit.studies.get(study_id)
                spec = read.spec
                number = _n_search(unit, study_id)
                if number >= spec.budget or read.stopped is not None:
                    return None
                if holder.is_client != is_asked_for(TrialRole.SEARCH, spec.trainer):
                    return None
                # Without constraints the baselines say nothing of a point.
                earlier = unit.trials.of_study(study_id, role=None if spec.constraints else TrialRole.SEARCH)
                outside = outside_of(unit, read)
            seen = within(spec.space, [*outside, *observations(earlier, constraints=spec.constraints)])
            suggester = self._suggester_for(spec)
            parameters = suggester.suggest(seen, number=number)
            expected: float | None = None
            if spec.stopping.min_expected_improvement is not None:
                expected = suggester.expected_improvement(seen, parameters, number=number)
            with self._units() as unit:
                study = unit.studies.lock(study_id)
                if not _has_room(unit, study, holder):
                    return None
                trial = _held(unit, study, holder) or _next(unit, study, holder)
                work: TrialWork | None = None
                if trial is not None:
                    work = self._begun(unit, study, trial, holder=holder)
                elif _n_search(unit, study_id) != number or study.version != read.version:
                    continue  # another or the owner was quicker: look again, its trial is pending now
                elif not _has_stopped(unit, study, ids=self._ids, expected_improvement=expected):
                    trial = self._new_trial(unit, study, number=number, parameters=parameters)
                    work = self._start(unit, study, trial, holder=holder)
                unit.commit()
            return work or self._claim_waiting(study_id, holder)

    def _new_trial(self, unit: UnitOfWork, study: Study, *, number: int, parameters: TrainingParameters) -> Trial:
        trial = Trial(
            id=self._ids.new("trl"),
            study_id=study.id,
            role=TrialRole.SEARCH,
            number=number,
            name=f"trial-{number}",
            method=Method.WORD2VEC,
            parameters=parameters,
            state=TrialState.WAITING,
            created_at=unit.now(),
            revision=study.revision,
        )
        unit.trials.add(trial)
        return trial

    def _begun(self, unit: UnitOfWork, study: Study, trial: Trial, *, holder: Holder) -> TrialWork | None:
        """A trial that waited, started; None when a rule stops the study before a trial that was never begun."""
        is_new = trial.role is TrialRole.SEARCH and trial.attempt == 0 and study.stopped is None
        if is_new and _has_stopped(unit, study, ids=self._ids):
            return None
        return self._start(unit, study, trial, holder=holder)

    def _start(self, unit: UnitOfWork, study: Study, trial: Trial, *, holder: Holder) -> TrialWork:
        now = unit.now()
        if study.state is StudyState.QUEUED:
            unit.studies.save(replace(moved(study, StudyState.RUNNING, now=now), started_at=now))
        running = replace(
            claimed(trial, worker_id=holder.name, now=now, lease=holder.lease),
            state=TrialState.RUNNING,
            started_at=now,
            not_before=None,
            lease_token_sha256=holder.token_sha256,
        )
        unit.trials.save(running)
        dataset = unit.datasets.get(study.spec.dataset_id)
        source = None if trial.source_trial_id is None else unit.trials.get(trial.source_trial_id)
        return TrialWork(
            claim=claim_on(running, "trial"),
            trial=running,
            spec=study.spec,
            dataset_files=artifact_name(dataset.id, dataset.attempt),
            vectors=_vectors_of(source) if source is not None and trial.role is TrialRole.CONFIRMATION else None,
            trained_as=trial.role if source is None else source.role,
        )

    def heartbeat(
        self,
        claim: Claim,
        progress: Progress | None = None,
        *,
        epochs: tuple[EpochMeasurement, ...] = (),
        lease: timedelta | None = None,
    ) -> HeartbeatAnswer:
        """The worker is alive: extend its lease, and keep the epochs measured so far.

        Tells it to stop when the study was cancelled, or when the trial was to be pruned and the worker was not heard.
        """
        with self._units() as unit:
            length = self._lease if lease is None else lease
            answer = extended(unit.trials, claim, progress=progress, now=unit.now(), lease=length)
            if answer is HeartbeatAnswer.CONTINUE:
                trial = unit.trials.get(claim.id)
                study = unit.studies.get(trial.study_id)
                if epochs:
                    unit.trials.save(with_epochs(unit.trials.held(claim), epochs))
                if study.state not in OPEN_STATES:
                    answer = HeartbeatAnswer.CANCEL
                elif trial.outcome is not None and trial.outcome.pruned is not None:
                    answer = HeartbeatAnswer.PRUNE
            unit.commit()
        return answer

    def measured(self, claim: Claim, epochs: tuple[EpochMeasurement, ...]) -> HeartbeatAnswer:
        """Keep the epochs measured so far, and say whether the trial goes on after the last of them.

        What is said stays so: the worker may ask again if it did not hear the answer.
        """
        with self._units() as unit:
            try:
                study = unit.studies.lock(_claimed_trial(unit, claim).study_id)
                trial = with_epochs(unit.trials.held(claim), epochs)
            except LostLease:
                return HeartbeatAnswer.LOST
            if study.state not in OPEN_STATES:
                answer = HeartbeatAnswer.CANCEL
            else:
                trial, answer = decided(unit, study, trial)
            unit.trials.save(trial)
            unit.commit()
        return answer

    def pruned(self, claim: Claim, outcome: TrialOutcome | None) -> Trial:
        """The worker ended the trial because it was told to; None when it had to stop the child. Raises: LostLease."""
        try:
            with self._units() as unit:
                study = unit.studies.lock(_claimed_trial(unit, claim).study_id)
                now = unit.now()
                trial = ended_early(unit.trials.held(claim), outcome, now=now)
                unit.trials.save(trial)
                unit.studies.save(settled(unit, study, now=now, ids=self._ids))
                unit.commit()
        except LostLease:
            stored = self._find(claim.id)
            if stored is not None and stored.state is TrialState.PRUNED and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            raise
        self._signals.wake()
        return trial

    def complete(self, claim: Claim, outcome: TrialOutcome, *, staged: Path | None, ranks: Path | None = None) -> Trial:
        """Keep the ranks, and the vectors if they may be the study's best, then store the outcome.

        Raises: LostLease, StorageFull.
        """
        name = artifact_name(claim.id, claim.attempt)
        if ranks is not None:
            self._store.publish(ranks, RANKS, name)
        publishes = staged is not None and self._may_be_best(claim, outcome)
        if staged is not None and publishes:
            self._store.publish(staged, KIND, name)
        try:
            trial, beaten = self._complete(claim, outcome, has_vectors=publishes)
        except LostLease:
            stored = self._find(claim.id)
            if stored is not None and stored.state is TrialState.COMPLETED and stored.attempt == claim.attempt:
                return stored  # this very report was committed, but its acknowledgement was lost
            self._store.remove(KIND, name)
            self._store.remove(RANKS, name)
            raise
        self._remove(beaten)
        self._signals.wake()
        return trial

    def _remove(self, trials: Sequence[Trial]) -> None:
        for left in trials:
            self._store.remove(KIND, artifact_name(left.id, left.attempt))

    def _find(self, trial_id: str) -> Trial | None:
        with self._units.reading() as unit:
            return next(iter(unit.trials.having([trial_id])), None)

    def _may_be_best(self, claim: Claim, outcome: TrialOutcome) -> bool:
        with self._units.reading() as unit:
            trial = _claimed_trial(unit, claim)
            study = unit.studies.get(trial.study_id)
            completed = replace(trial, state=TrialState.COMPLETED, outcome=outcome)
            return contest(unit, study, completed).is_kept(completed)

    def _complete(self, claim: Claim, outcome: TrialOutcome, *, has_vectors: bool) -> tuple[Trial, Sequence[Trial]]:
        with self._units() as unit:
            # The study first, then the trial: everybody locks in this order.
            study = unit.studies.lock(_claimed_trial(unit, claim).study_id)
            now = unit.now()
            trial = ended(
                unit.trials.held(claim),
                TrialState.COMPLETED,
                now=now,
                outcome=outcome,
                failure=None,
                has_vectors=has_vectors,
                progress=Progress(phase="completed", fraction=1.0),
            )
            unit.trials.save(trial)
            study, beaten = contested(unit, study, trial)
            unit.studies.save(settled(unit, study, now=now, ids=self._ids))
            unit.commit()
        is_kept = has_vectors and all(loser.id != trial.id for loser in beaten)
        return replace(trial, has_vectors=is_kept), beaten

    def fail(self, claim: Claim, failure: Failure, *, is_final: bool) -> Trial:
        """The attempt failed. A final failure is the point's own: it is infeasible. Raises: LostLease."""
        with self._units() as unit:
            study = unit.studies.lock(_claimed_trial(unit, claim).study_id)
            trial, beaten = self._ended_attempt(unit, study, unit.trials.held(claim), failure, is_final=is_final)
            unit.commit()
        self._remove(beaten)
        self._signals.wake()
        return trial

    def cancelled(self, claim: Claim) -> Trial:
        """The worker stopped because it was told to. Raises: LostLease."""
        with self._units() as unit:
            unit.studies.lock(_claimed_trial(unit, claim).study_id)
            trial = ended(unit.trials.held(claim), TrialState.CANCELLED, now=unit.now())
            unit.trials.save(trial)
            unit.commit()
        self._signals.wake()
        return trial

    def release(self, claim: Claim) -> None:
        """The worker stops and hands the trial back: the attempt does not count. Raises: LostLease."""
        with self._units() as unit:
            study = unit.studies.lock(_claimed_trial(unit, claim).study_id)
            held = unit.trials.held(claim)
            if study.state in OPEN_STATES:
                unit.trials.save(replace(_waiting(held), attempt=held.attempt - 1))
            else:
                unit.trials.save(ended(held, TrialState.CANCELLED, now=unit.now()))
            unit.commit()
        self._signals.wake()

    def reap(self) -> int:
        """Take back what dead workers held; how many trials that were."""
        n_reaped = sum(self._take_back(seen) for seen in self._watch.unextended(self._leased))
        if n_reaped:
            self._signals.wake()
        return n_reaped

    def _leased(self) -> list[Trial]:
        with self._units.reading() as unit:
            return unit.trials.leased()

    def _take_back(self, seen: Trial) -> bool:
        with self._units() as unit:
            if not unit.trials.having([seen.id]):
                return False  # its study was deleted
            study = unit.studies.lock(seen.study_id)
            held = unit.trials.unextended(seen)
            if held is None:
                return False
            _, beaten = self._ended_attempt(unit, study, held, LOST, is_final=False)
            unit.commit()
        self._remove(beaten)
        return True

    def _ended_attempt(
        self, unit: UnitOfWork, study: Study, held: Trial, failure: Failure, *, is_final: bool
    ) -> tuple[Trial, Sequence[Trial]]:
        """The trial as it is now, and those whose vectors are of no more use."""
        now = unit.now()
        kind, retry = kind_of(failure), study.spec.retry
        failures = held.failures if kind is None or is_final else held.failures.with_one(kind)
        beaten: Sequence[Trial] = ()
        if study.state not in OPEN_STATES:
            trial = ended(held, TrialState.CANCELLED, now=now)
        elif is_final:
            trial = ended(held, TrialState.INFEASIBLE, now=now, failure=failure)
        elif kind is None:
            trial = replace(_waiting(held), attempt=counted(held.attempt, failure), failure=failure)
        elif retry.allows(failures, kind, max_attempts=study.spec.max_attempts):
            not_before = now + timedelta(seconds=retry.wait_s(failures.total))
            trial = replace(_waiting(held), failure=failure, failures=failures, not_before=not_before)
        else:
            trial = ended(held, TrialState.FAILED, now=now, failure=failure, failures=failures)
        unit.trials.save(trial)
        if trial.state in ENDED_STATES:
            study, beaten = contested(unit, study, trial)
            unit.studies.save(settled(unit, study, now=now, ids=self._ids))
        return trial, beaten


def _n_search(unit: UnitOfWork, study_id: str) -> int:
    return sum(n for (role, _), n in unit.trials.counts(study_id).items() if role is TrialRole.SEARCH)


def _has_stopped(unit: UnitOfWork, study: Study, *, ids: Ids, expected_improvement: float | None = None) -> bool:
    """Whether one of the locked study's rules lets no further trial begin. It is stored then; the caller commits."""
    now = unit.now()
    stopped = stopped_if_due(unit, study, now=now, expected_improvement=expected_improvement)
    if stopped.stopped is None:
        return False
    unit.studies.save(settled(unit, stopped, now=now, ids=ids))
    return True


def _claimed_trial(unit: UnitOfWork, claim: Claim) -> Trial:
    """The trial that a worker reports on. Raises: LostLease when it was deleted with its study."""
    for trial in unit.trials.having([claim.id]):
        return trial
    raise LostLease(f"Trial {claim.id!r} was deleted.")


def _held(unit: UnitOfWork, study: Study, holder: Holder) -> Trial | None:
    """The unfinished trial of a client, which goes on with it even in a paused study."""
    return unit.trials.held_by(study.id, holder.name) if holder.is_client and study.state in OPEN_STATES else None


def _next(unit: UnitOfWork, study: Study, holder: Holder) -> Trial | None:
    """What waits for one like the holder.

    A client is given a trial that failed however short ago: it asks when it is ready, and may not ask again.
    """
    if holder.is_client:
        return unit.trials.next_waiting(study.id, role=TrialRole.SEARCH)
    trial = unit.trials.next_waiting(study.id, by=unit.now())
    return None if trial is None or is_asked_for(trial.role, study.spec.trainer) else trial


def _has_room(unit: UnitOfWork, study: Study, holder: Holder) -> bool:
    """Whether a trial may begin: a study's parallelism bounds what workers do, clients ask for as many as they run."""
    if study.state not in {StudyState.QUEUED, StudyState.RUNNING}:
        return False
    n_running = sum(
        n
        for (role, state), n in unit.trials.counts(study.id).items()
        if state is TrialState.RUNNING and not is_asked_for(role, study.spec.trainer)
    )
    return holder.is_client or n_running < study.spec.parallelism


def _vectors_of(source: Trial) -> str:
    return artifact_name(source.id, source.attempt)


def _waiting(held: Trial) -> Trial:
    if TrialState.WAITING not in TRIAL_MOVES[held.state]:
        raise Conflict(f"Trial {held.id!r} is {held.state.value} and cannot wait again.")
    return replace(
        held,
        state=TrialState.WAITING,
        lease=None,
        lease_token_sha256=None,
        progress=None,
        started_at=None,
        outcome=None,
    )
