"""Exposures that clients tell who serve their users themselves, and what a user is assigned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.errors import InvalidRequest
from app.domain.experiments.assignment import bucket
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.exposure import MAX_EXPOSURES_PER_REQUEST, Exposed, Exposure
from app.domain.plays import Rejection, check_id
from app.domain.ports import Clock
from app.domain.recommending import epoch_ms
from app.domain.repositories import UnitOfWork, UnitsOfWork
from app.domain.serving import UnassignedReason
from app.services.plays import CLOCK_SKEW_MS
from app.services.segments import UserSegments

NOT_RUNNING = Rejection("not_running", "", "The experiment does not run: nobody is exposed.")
PAUSED = Rejection("paused", "", "The experiment is paused: nobody new enters.")
ONE_LIST = Rejection("one_list", "variant", "The lists of an interleaving experiment are drafted here alone.")
UNKNOWN_VARIANT = Rejection("unknown_variant", "variant", "The experiment has no such variant.")
WRONG_VARIANT = Rejection("wrong_variant", "variant", "The user is assigned another variant.")
NOT_IN_TRAFFIC = Rejection("not_in_traffic", "user_id", "The user is not in the experiment.")
BEFORE_START = Rejection("before_start", "at", "at is before the experiment's start.")
IN_THE_FUTURE = Rejection("in_the_future", "at", "at is more than a day ahead of the service's clock.")
ERASED_USER = Rejection("erased_user", "user_id", "The user was erased after this exposure: it is not taken up again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldExposure:
    """A user whom a client showed a variant, at epoch milliseconds."""

    user_id: str
    variant: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAssignment:
    """What a user is assigned now, and by which numbers; `exposure` is what is on record."""

    experiment: Experiment
    user_id: str
    traffic_bucket: int
    bucket: int
    variant: str | None
    exposure: Exposure | None
    reason: UnassignedReason | None


class ExposureService:
    """See the module header."""

    def __init__(self, units: UnitsOfWork, *, segments: UserSegments, clock: Clock) -> None:
        self._units = units
        self._segments = segments
        self._clock = clock

    def assignment(self, experiment_id: str, user_id: str) -> UserAssignment:
        """What the user would be served; nobody is exposed. Raises: InvalidRequest, NotFound."""
        check_id(user_id, pointer="user_id")
        with self._units.reading() as unit:
            experiment = unit.experiments.get(experiment_id)
            exposure = unit.exposures.find(experiment_id, user_id)
        assigned = experiment.assignment(user_id)
        computed = None if assigned is None else assigned.variant
        variant = computed if exposure is None else exposure.variant
        reason = _why_none(experiment, variant, exposure)
        return UserAssignment(
            experiment=experiment,
            user_id=user_id,
            traffic_bucket=bucket(experiment.traffic_salt, user_id),
            bucket=bucket(experiment.salt, user_id),
            variant=None if reason else variant,
            exposure=exposure,
            reason=reason,
        )

    def tell(self, experiment_id: str, told: Sequence[ToldExposure | Rejection]) -> list[Exposed | Rejection]:
        """Record up to 1,000 exposures, each once a user, and say of each in order what became of it.

        Who is exposed already is known, or has crossed; who is new must be told with a variant that some allocation of
        the experiment assigns. What was rejected before it came here is told in its place.

        Raises: InvalidRequest for an empty or too long batch, NotFound, NothingLive, Unavailable.
        """
        if not 1 <= len(told) <= MAX_EXPOSURES_PER_REQUEST:
            raise InvalidRequest(
                f"A batch has between 1 and {MAX_EXPOSURES_PER_REQUEST} exposures, not {len(told)}.",
                pointer="/exposures",
            )
        now_ms = epoch_ms(self._clock.now())
        with self._units.reading() as unit:
            experiment = unit.experiments.get(experiment_id)
        asked, rejected = _sorted_out(experiment, told, now_ms=now_ms)
        segments = self._segments_of_new(experiment, asked)
        with self._units() as unit:
            unit.listeners.share()  # no erasure comes between
            taken, late = _taken(unit, experiment_id, asked, segments=segments)
            recorded = unit.exposures.record(experiment_id, list(taken.values()))
            unit.commit()
        found: dict[int, Exposed | Rejection] = {**rejected, **late, **dict(zip(taken, recorded, strict=True))}
        return [found[place] for place in range(len(told))]

    def _segments_of_new(self, experiment: Experiment, asked: Mapping[int, ToldExposure]) -> dict[str, str | None]:
        """The segments, at their first exposure, of those who have none on record."""
        users = {each.user_id for each in asked.values()}
        with self._units.reading() as unit:
            stored = unit.exposures.of_users(experiment.id, list(users))
        first = {each.user_id: each.at_ms for each in reversed(list(asked.values())) if each.user_id not in stored}
        return self._segments.of_many(first, alias=experiment.spec.alias, by=experiment.spec.segment_by)


def _why_none(experiment: Experiment, variant: str | None, exposure: Exposure | None) -> UnassignedReason | None:
    if experiment.state is ExperimentState.DRAFT:
        return "not_started"
    if not experiment.is_live:
        return "stopped"
    if variant is None:
        return "not_in_traffic"
    return "paused" if exposure is None and experiment.state is ExperimentState.PAUSED else None


def _sorted_out(
    experiment: Experiment, told: Sequence[ToldExposure | Rejection], *, now_ms: int
) -> tuple[dict[int, ToldExposure], dict[int, Rejection]]:
    """By place: what may be recorded, and why the others are not, whoever the user is."""
    asked: dict[int, ToldExposure] = {}
    rejected: dict[int, Rejection] = {}
    for place, each in enumerate(told):
        wrong = each if isinstance(each, Rejection) else _wrong(experiment, each, now_ms=now_ms)
        if wrong is not None:
            rejected[place] = wrong
        elif isinstance(each, ToldExposure):
            asked[place] = each
    return asked, rejected


def _wrong(experiment: Experiment, told: ToldExposure, *, now_ms: int) -> Rejection | None:
    if not experiment.is_live or experiment.started_at is None:
        return NOT_RUNNING
    if experiment.kind == "interleaving":
        return ONE_LIST
    if experiment.spec.variant(told.variant) is None:
        return UNKNOWN_VARIANT
    if told.at_ms < epoch_ms(experiment.started_at):
        return BEFORE_START
    return IN_THE_FUTURE if told.at_ms > now_ms + CLOCK_SKEW_MS else None


def _taken(
    unit: UnitOfWork, experiment_id: str, asked: Mapping[int, ToldExposure], *, segments: Mapping[str, str | None]
) -> tuple[dict[int, Exposure], dict[int, Rejection]]:
    """By place: what is recorded, and why the others are not, as everything stands in this unit of work."""
    experiment = unit.experiments.get(experiment_id)
    users = {each.user_id for each in asked.values()}
    erased_at_ms = unit.listeners.erased_at(users)
    entered = set(unit.exposures.of_users(experiment_id, list(users)))
    taken: dict[int, Exposure] = {}
    rejected: dict[int, Rejection] = {}
    for place, each in asked.items():
        found: Rejection | int = 0
        if not experiment.is_live:
            found = NOT_RUNNING
        elif each.at_ms <= erased_at_ms.get(each.user_id, -1):
            found = ERASED_USER
        elif each.user_id not in entered:  # of who has: another variant is a crossing, whatever was assigned
            found = _revision(experiment, each)
        if isinstance(found, Rejection):
            rejected[place] = found
            continue
        entered.add(each.user_id)
        taken[place] = Exposure(
            experiment_id=experiment_id,
            user_id=each.user_id,
            variant=each.variant,
            segment=segments.get(each.user_id),
            exposed_at_ms=each.at_ms,
            revision=found,
        )
    return taken, rejected


def _revision(experiment: Experiment, told: ToldExposure) -> Rejection | int:
    """The last allocation that assigns a new user this variant, or why none does."""
    if experiment.state is ExperimentState.PAUSED:
        return PAUSED
    traffic_bucket = bucket(experiment.traffic_salt, told.user_id)
    own = bucket(experiment.salt, told.user_id)
    among = [each for each in reversed(experiment.allocations) if each.is_traffic(traffic_bucket)]
    if not among:
        return NOT_IN_TRAFFIC
    return next((each.revision for each in among if each.variant(own) == told.variant), WRONG_VARIANT)
