"""Ask and tell: the trials of a study that a team's own trainer runs, under a lease like a worker's.

Whoever asks gets a trial and a token that no one else knows: 256 random bits, of which only the SHA-256 is stored. A
hash without salt is enough for them, for they cannot be guessed, and what is in the database opens nothing. A token is
good until its trial has ended or is begun anew: by the same client that asks again, or by another one once the lease
has lapsed. Each of these raises the trial's attempt, and every report is written under the attempt that its token was
given for, so that a late one is refused however it is timed.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.errors import BudgetSpent, Conflict, LostLease
from app.domain.lease import Claim, Failure, HeartbeatAnswer, Progress
from app.domain.measurement import EpochMeasurement
from app.domain.repositories import UnitsOfWork
from app.domain.training import Trainer
from app.domain.tuning.reporting import Report
from app.domain.tuning.retry import FailureKind
from app.domain.tuning.study import OPEN_STATES, Study, StudyState
from app.domain.tuning.trial import Trial, TrialOutcome, TrialState
from app.services.trials import Holder, TrialService

NOTHING = TrialOutcome(validation=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrial:
    """A trial for the client that asked, and what it shows from now on: the token is told this once."""

    trial: Trial
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AskedTrial({self.trial.id})"  # without the token, wherever it is printed


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The answer to a client that reports: whether it goes on, and until when its lease runs; None once it is over."""

    answer: HeartbeatAnswer
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedEpoch:
    """What was measured after an epoch, counted from 1; and training seconds, by default all since it was asked for."""

    epoch: int
    report: Report
    train_s: float | None = None


class AskingService:
    """See the module header."""

    def __init__(
        self, units: UnitsOfWork, *, trials: TrialService, new_token: Callable[[], str], lease: timedelta
    ) -> None:
        self._units = units
        self._trials = trials
        self._new_token = new_token
        self._lease = lease
        self._looking = threading.Lock()
        """Requests are served side by side, and what was seen of leases is one looker-on's."""

    def ask(self, study_id: str, *, client_id: str) -> AskedTrial:
        """The client's unfinished trial if it has one, else one that waits or is suggested now, leased to it.

        A paused study gives out unfinished ones alone. Raises: NotFound, Conflict when the study is not trained outside
        or gives out none, BudgetSpent when no trial is left.
        """
        with self._units.reading() as unit:
            _check_is_external(unit.studies.get(study_id))
        with self._looking:
            self._trials.reap()  # there may be no worker about
        token = self._new_token()
        client = Holder(name=client_id, token_sha256=_sha256(token), lease=self._lease)
        work = self._trials.ask(study_id, client)
        if work is None:
            with self._units.reading() as unit:
                study = unit.studies.get(study_id)
            _check_gives_out(study)
            raise BudgetSpent(f"All {study.spec.budget} trials of study {study_id!r} are under way or have ended.")
        return AskedTrial(trial=work.trial, token=token, expires_at=_expires_at(work.trial))

    def heartbeat(self, trial_id: str, token: str, progress: Progress | None = None) -> Alive:
        """The client is alive: extend its lease, or end its trial if that is pruned. Raises: NotFound, LostLease."""
        claim = self._claim(trial_id, token)
        answer = self._trials.heartbeat(claim, progress, lease=self._lease)
        if answer is HeartbeatAnswer.LOST:
            raise _lost(trial_id)
        if answer is HeartbeatAnswer.PRUNE:
            self._trials.pruned(claim, None)
            return Alive(answer=answer, expires_at=None)
        with self._units.reading() as unit:
            return Alive(answer=answer, expires_at=_expires_at(unit.trials.get(trial_id)))

    def measured(self, trial_id: str, token: str, epoch: ReportedEpoch) -> Alive:
        """Keep the scores after an epoch, in the place of any told before; the client is alive.

        A trial that the study's rule prunes after this epoch has ended with the answer. Raises: NotFound, LostLease,
        InvalidRequest.
        """
        claim = self._claim(trial_id, token)
        with self._units() as unit:
            study = unit.studies.lock(unit.trials.get(trial_id).study_id)
            held = unit.trials.held(claim)
            outcome = held.outcome or NOTHING
            begun_at = held.started_at or held.created_at
            measured = EpochMeasurement(
                epoch=epoch.epoch,
                train_s=(unit.now() - begun_at).total_seconds() if epoch.train_s is None else epoch.train_s,
                scores=epoch.report.scores(study.spec, pointer=""),
            )
            others = [known for known in outcome.epochs if known.epoch != epoch.epoch]
            told = tuple(sorted([*others, measured], key=lambda known: known.epoch))
            unit.trials.save(replace(held, outcome=replace(outcome, epochs=told)))
            unit.commit()
        self._trials.measured(claim, told)
        return self.heartbeat(trial_id, token)

    def complete(self, trial_id: str, token: str, report: Report) -> Trial:
        """Store the final measurement; told twice, it counts once. Raises: NotFound, LostLease, InvalidRequest."""
        claim = self._claim(trial_id, token)
        with self._units.reading() as unit:
            trial = unit.trials.get(trial_id)
            spec = unit.studies.get(trial.study_id).spec
        outcome = report.outcome(spec, pointer="").with_epochs((trial.outcome or NOTHING).epochs)
        return self._trials.complete(claim, outcome, staged=None)

    def fail(
        self, trial_id: str, token: str, *, reason: str, kind: FailureKind = FailureKind.FAILED, is_final: bool
    ) -> Trial:
        """The attempt failed: the trial waits for the next that asks, or the point can never work if that is final.

        `kind` is what the study's retry policy goes by.

        Raises: NotFound, LostLease.
        """
        claim = self._claim(trial_id, token)
        code = "error" if kind is FailureKind.FAILED else kind.value
        failure = Failure(code="infeasible" if is_final else code, reason=reason)
        try:
            return self._trials.fail(claim, failure, is_final=is_final)
        except LostLease:
            with self._units.reading() as unit:
                stored = unit.trials.get(trial_id)
            if stored.attempt == claim.attempt and stored.state in {TrialState.FAILED, TrialState.INFEASIBLE}:
                return stored  # this very report was committed, but its acknowledgement was lost
            raise

    def _claim(self, trial_id: str, token: str) -> Claim:
        """What the token's holder may report under. Raises: NotFound, LostLease."""
        with self._units.reading() as unit:
            trial = unit.trials.get(trial_id)
        if not hmac.compare_digest(_sha256(token), trial.lease_token_sha256 or ""):
            raise _lost(trial_id)
        holder = "" if trial.lease is None else trial.lease.worker_id  # nobody's once the trial has ended
        return Claim(subject="trial", id=trial_id, attempt=trial.attempt, worker_id=holder)


def _check_is_external(study: Study) -> None:
    if study.spec.trainer is not Trainer.EXTERNAL:
        raise Conflict(
            f"Study {study.id!r} is run by Segue's workers: trials are asked for where the trainer is external."
        )


def _check_gives_out(study: Study) -> None:
    if study.state not in OPEN_STATES or study.state is StudyState.PAUSED:
        raise Conflict(f"Study {study.id!r} is {study.state.value}: it gives out no trial.")


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _lost(trial_id: str) -> LostLease:
    return LostLease(f"The token does not hold trial {trial_id!r}, or no longer: ask for a trial again.")


def _expires_at(trial: Trial) -> datetime:
    if trial.lease is None:
        raise _lost(trial.id)
    return trial.lease.expires_at
