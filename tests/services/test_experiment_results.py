"""Results, power and decisions of stored experiments, in both databases."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from app.adapters.experiment_effects import estimate
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.catalogue import CatalogueSong, SongWords
from app.domain.errors import Conflict, InvalidRequest
from app.domain.experiments.assignment import allocated
from app.domain.experiments.effects import Estimate
from app.domain.experiments.experiment import Experiment, ExperimentState
from app.domain.experiments.exposure import Exposure
from app.domain.experiments.metrics import MetricRole, from_preset
from app.domain.models import Bundle
from app.domain.plays import Play
from app.domain.recommending import epoch_ms
from app.services.experiment_results import ExperimentResultsService
from app.services.snapshots import SnapshotService
from tests.values import NOON, FakeClock, experiment

DAY = timedelta(days=1)
PINNED = {"control": Bundle(default="mdl_1"), "treatment": Bundle(default="mdl_2")}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def units(database_url: str, clock: FakeClock) -> Iterator[SqlUnitsOfWork]:
    engine = create_engine(database_url)
    yield SqlUnitsOfWork(engine, clock=clock)
    engine.dispose()


@pytest.fixture
def service(units: SqlUnitsOfWork) -> ExperimentResultsService:
    return _reading(units)


def _reading(units: SqlUnitsOfWork) -> ExperimentResultsService:
    return ExperimentResultsService(units, snapshots=SnapshotService(units), estimate=estimate)


def _started(units: SqlUnitsOfWork, **changes: object) -> Experiment:
    allocation = allocated([], at=NOON, share=1.0, weights={"control": 1, "treatment": 1}, taken=())
    metrics = (
        from_preset("seconds_per_user", MetricRole.GOAL),
        from_preset("skip_rate", MetricRole.GUARDRAIL, margin=0.9),
    )
    running = experiment("exp_1", metrics=metrics, planned_days=4, covariate_days=3, **changes).started(
        at=NOON, allocation=allocation, pinned=PINNED
    )
    with units() as unit:
        unit.experiments.add(running)
        unit.commit()
    return running


def _listened(units: SqlUnitsOfWork, *, n: int = 400, lift: float = 1.0) -> None:
    """Users who are exposed in the first hours and play once a day from four days before on."""
    rng = np.random.default_rng(8)
    exposures, plays = [], []
    for number in range(n):
        variant = "treatment" if number % 2 else "control"
        at = NOON + timedelta(minutes=number % 600)
        exposures.append(
            Exposure(
                experiment_id="exp_1",
                user_id=f"u{number}",
                variant=variant,
                segment=("ar", "en")[number // 2 % 2],
                exposed_at_ms=epoch_ms(at),
                revision=0,
            )
        )
        activity = float(np.exp(rng.normal(0, 0.5)))
        for day in range(-4, 3):
            seconds = 200.0 * activity * float(np.exp(rng.normal(0, 0.3)))
            if day >= 0 and variant == "treatment":
                seconds *= lift
            plays.append(
                Play(
                    event_id=f"{number}-{day}",
                    user_id=f"u{number}",
                    song_id=("s1", "s2")[number // 2 % 2],
                    played_at_ms=epoch_ms(at + day * DAY) + 60_000,
                    seconds_streamed=seconds,
                )
            )
    with units() as unit:
        unit.exposures.record("exp_1", exposures)
        unit.plays.add(plays, received_at=NOON)
        unit.commit()


def test_a_draft_shows_nothing_and_says_why(units: SqlUnitsOfWork, service: ExperimentResultsService) -> None:
    with units() as unit:
        unit.experiments.add(experiment("exp_1"))
        unit.commit()

    report = service.results("exp_1")

    assert report.results.reason == "The experiment has not started."
    assert report.until is None
    assert service.decision("exp_1").advice.action == "keep_running"


def test_the_first_day_has_to_be_over(units: SqlUnitsOfWork, service: ExperimentResultsService) -> None:
    _started(units)
    _listened(units, n=4)

    report = service.results("exp_1")

    assert str(report.results.reason).startswith("The first UTC day of the experiment is not over")
    assert report.exposed == {"control": (2, 0), "treatment": (2, 0)}


def test_results_are_of_whole_days(units: SqlUnitsOfWork, service: ExperimentResultsService, clock: FakeClock) -> None:
    _started(units)
    _listened(units, lift=1.3)
    clock.at = NOON + 3 * DAY

    report = service.results("exp_1")

    assert report.until == datetime(NOON.year, NOON.month, NOON.day, tzinfo=NOON.tzinfo) + 3 * DAY
    assert report.results.reason is None
    assert report.results.n_days == 3
    goal, guardrail = report.results.metrics
    effect = goal.effect("treatment")
    assert effect is not None
    assert isinstance(effect.estimate, Estimate)
    assert effect.estimate.relative == pytest.approx(0.3, abs=0.12)
    assert effect.estimate.variance_left is not None
    assert effect.estimate.variance_left < 0.6
    assert [each.segment for each in goal.segments] == ["ar", "en"]
    assert not isinstance(guardrail.effects[0].estimate, Estimate)  # nobody skipped: nothing varies


def test_a_stopped_experiment_is_read_to_its_stop(
    units: SqlUnitsOfWork, service: ExperimentResultsService, clock: FakeClock
) -> None:
    running = _started(units)
    _listened(units, lift=1.5)
    with units() as unit:
        unit.experiments.save(running.stopped(at=NOON + timedelta(hours=11)))
        unit.commit()
    clock.at = NOON + 9 * DAY

    report = service.results("exp_1")

    assert report.until == NOON + timedelta(hours=11)
    assert report.results.n_days == 1
    assert report.experiment.state is ExperimentState.STOPPED


def test_a_cut_groups_by_what_was_played(
    units: SqlUnitsOfWork, service: ExperimentResultsService, clock: FakeClock
) -> None:
    _started(units)
    _listened(units)
    with units() as unit:
        said = SongWords(details={"language": "arabic"})
        unit.catalogue.save(
            [CatalogueSong(song_id="s1", revision=unit.catalogue.advance(1), updated_at=NOON, said=said)]
        )
        unit.commit()
    clock.at = NOON + 3 * DAY

    report = service.results("exp_1", cut="language")

    assert report.cut == "language"
    assert [each.segment for each in report.results.metrics[0].segments] == ["arabic"]
    assert report.results.metrics[0].segments[0].control.n_users == 100
    assert [arm.n_users for arm in report.results.metrics[0].arms] == [200, 200]


def test_a_gain_is_not_shipped_while_a_guardrail_is_open(
    units: SqlUnitsOfWork, service: ExperimentResultsService, clock: FakeClock
) -> None:
    _started(units)
    _listened(units, lift=1.6)
    clock.at = NOON + 3 * DAY

    report = service.decision("exp_1")

    assert report.advice.stands[0].standing == "better"
    assert report.advice.action == "keep_running"  # a guardrail that never varied is held by nothing


def test_power_is_told_from_the_days_before(units: SqlUnitsOfWork, service: ExperimentResultsService) -> None:
    _started(units)
    _listened(units)

    report = service.power("exp_1", lift=0.1)

    assert report.until - report.since == 4 * DAY
    found = report.power["seconds_per_user", "treatment"]
    assert found.n_users is not None
    assert found.users_a_day == pytest.approx(100.0)
    assert report.power["skip_rate", "treatment"].n_users is None
    assert report.power["skip_rate", "treatment"].reason is not None


@pytest.mark.parametrize("lift", [0.0, -1.0, 11.0, float("nan")])
def test_a_lift_is_a_share(units: SqlUnitsOfWork, service: ExperimentResultsService, lift: float) -> None:
    _started(units)

    with pytest.raises(InvalidRequest):
        service.power("exp_1", lift=lift)


def test_interleaved_variants_are_not_compared_by_user(
    units: SqlUnitsOfWork, service: ExperimentResultsService
) -> None:
    with units() as unit:
        unit.experiments.add(replace(experiment("exp_1"), kind="interleaving"))
        unit.commit()

    with pytest.raises(Conflict):
        service.results("exp_1")


def test_the_ledger_is_told_lifts_overall_and_by_segment(
    units: SqlUnitsOfWork, service: ExperimentResultsService, clock: FakeClock
) -> None:
    running = _started(units)
    assert service.online_lifts(running)[0].reason is not None
    _listened(units, lift=1.3)
    clock.at = NOON + 3 * DAY

    lifts = service.online_lifts(running)

    assert [each.segment for each in lifts] == [None, "ar", "en"]
    assert lifts[0].lift is not None
    assert lifts[0].lift.low < 0.3 < lifts[0].lift.high
    assert lifts[0].n_users == 400
