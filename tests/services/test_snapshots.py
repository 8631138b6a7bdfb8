"""Passes over the plays are made once for all who read, ahead where workers run, in both databases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count

import numpy as np
import pytest

from app.adapters.sql.snapshots import MOST_CUTS
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.catalogue import CatalogueSong, SongWords
from app.domain.experiments.experiment import Experiment
from app.domain.experiments.snapshots import Snapshot
from app.services.snapshots import CLAIMED_FOR, SETTLED_AFTER, SnapshotService, closed_until
from tests.services.test_experiment_results import _listened, _started, clock, units
from tests.values import NOON, FakeClock, experiment

__all__ = ["clock", "units"]  # fixtures

DAY = timedelta(days=1)
MIDNIGHT = (NOON + DAY).replace(hour=0)


def _service(units: SqlUnitsOfWork, *, took_s: float = 0.0) -> SnapshotService:
    """One whose every pass takes so long."""
    return SnapshotService(units, seconds=count(0.0, took_s).__next__)


@pytest.fixture
def running(units: SqlUnitsOfWork, clock: FakeClock) -> Experiment:
    """An experiment whose first day is over, and its plays."""
    running = _started(units)
    _listened(units, n=40)
    clock.at = MIDNIGHT
    return running


def _erase(units: SqlUnitsOfWork, user_id: str) -> None:
    with units() as unit:
        unit.plays.delete_of(user_id)
        unit.exposures.delete_of(user_id)
        unit.commit()


def _n_users(snapshot: Snapshot) -> int:
    return sum(n for n, _ in snapshot.outcomes.n_active().values())


def test_workers_make_what_is_missing_when_a_day_is_over(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    service = _service(units)
    clock.at = MIDNIGHT - timedelta(seconds=1)
    assert service.refresh() == 0

    clock.at = MIDNIGHT
    assert service.refresh() == 1
    assert service.refresh() == 0
    clock.advance(86_400)
    assert service.refresh() == 1


def test_what_is_kept_is_what_the_pass_found(units: SqlUnitsOfWork, running: Experiment) -> None:
    made = _service(units, took_s=9.0).of(running, MIDNIGHT, cut=None)

    kept = _service(units).of(running, MIDNIGHT, cut=None)  # by another server

    assert kept.timing == made.timing
    assert kept.revisions == made.revisions
    assert kept.outcomes.n_active() == made.outcomes.n_active()
    for metric in running.spec.metrics:
        ours, theirs = kept.outcomes.moments(metric), made.outcomes.moments(metric)
        assert list(ours) == list(theirs)
        for group, moments in ours.items():
            np.testing.assert_array_equal(moments.totals, theirs[group].totals)
            np.testing.assert_array_equal(moments.lags, theirs[group].lags)


def test_what_took_long_is_answered_until_a_worker_made_it_again(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    service = _service(units, took_s=60.0)
    assert service.refresh() == 1
    _erase(units, "u0")
    clock.advance(1_199)
    assert service.refresh() == 0
    clock.advance(1)

    assert _n_users(service.of(running, MIDNIGHT, cut=None)) == 40
    assert service.refresh() == 1
    assert _n_users(service.of(running, MIDNIGHT, cut=None)) == 39


def test_what_is_quick_is_made_again_by_who_asks(units: SqlUnitsOfWork, clock: FakeClock, running: Experiment) -> None:
    service = _service(units, took_s=0.5)
    service.of(running, MIDNIGHT, cut=None)
    _erase(units, "u0")

    clock.advance(9)
    assert _n_users(service.of(running, MIDNIGHT, cut=None)) == 40
    clock.advance(1)
    assert service.refresh() == 0
    assert _n_users(service.of(running, MIDNIGHT, cut=None)) == 39


def test_one_worker_makes_it_and_another_once_that_one_must_be_dead(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    with units() as unit:
        assert unit.snapshots.claim(running.id, None, at=clock.at, until=clock.at + CLAIMED_FOR)
        unit.commit()

    assert _service(units).refresh() == 0
    clock.advance(CLAIMED_FOR.total_seconds())
    assert _service(units).refresh() == 1


def test_who_ask_one_server_at_once_wait_for_one_pass(units: SqlUnitsOfWork, running: Experiment) -> None:
    ticks = count(0.0, 5.0)
    service = SnapshotService(units, seconds=ticks.__next__)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: service.of(running, MIDNIGHT, cut=None), range(8)))

    assert {snapshot.timing.took_s for snapshot in found} == {5.0}
    assert next(ticks) == 10.0  # its beginning and its end were all that was looked at


def test_a_pass_that_reads_less_far_or_began_before_replaces_nothing(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    service = _service(units, took_s=60.0)
    first = service.of(running, MIDNIGHT, cut=None)
    clock.advance(86_400)
    last = service.of(running, MIDNIGHT + DAY, cut=None)
    early = replace(last, timing=replace(last.timing, made_at=last.timing.made_at - timedelta(seconds=1), took_s=1.0))

    with units() as unit:
        unit.snapshots.keep(first)
        unit.snapshots.keep(early)
        unit.commit()
        kept = unit.snapshots.timings(running.id)

    assert kept == {None: last.timing}


def test_cuts_that_were_asked_for_are_made_ahead_and_so_many_are_kept(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    said = SongWords(details={"language": "arabic"})
    with units() as unit:
        unit.catalogue.save(
            [CatalogueSong(song_id="s1", revision=unit.catalogue.advance(1), updated_at=NOON, said=said)]
        )
        unit.commit()
    service = _service(units)
    for number in range(MOST_CUTS):
        clock.advance(1)
        service.of(running, MIDNIGHT, cut=f"detail {number}")
    clock.advance(1)
    found = service.of(running, MIDNIGHT, cut="language")

    assert {segment for _, segment in found.outcomes.active} == {"arabic", None}
    with units.reading() as unit:
        kept = unit.snapshots.timings(running.id)
    assert set(kept) == {"language", *(f"detail {number}" for number in range(1, MOST_CUTS))}
    clock.advance(86_400)
    assert service.refresh() == 1 + MOST_CUTS
    with units.reading() as unit:
        assert {timing.until for timing in unit.snapshots.timings(running.id).values()} == {MIDNIGHT + DAY}


def test_nothing_is_read_ahead_of_what_is_over_has_no_day_or_compares_no_groups(
    units: SqlUnitsOfWork, clock: FakeClock, running: Experiment
) -> None:
    with units() as unit:
        unit.experiments.save(running.stopped(at=clock.at))
        unit.experiments.add(replace(experiment("exp_2"), kind="interleaving", state=running.state, started_at=NOON))
        unit.experiments.add(experiment("exp_3"))
        unit.commit()
    clock.advance(SETTLED_AFTER.total_seconds())

    assert _service(units).refresh() == 0
    clock.advance(-1)
    assert _service(units).refresh() == 1


def test_a_stopped_experiment_is_read_to_its_stop_and_a_draft_to_nothing(running: Experiment) -> None:
    assert closed_until(running, NOON) is None
    assert closed_until(running, MIDNIGHT + timedelta(hours=3)) == MIDNIGHT
    assert closed_until(running.stopped(at=NOON + DAY), NOON + 9 * DAY) == NOON + DAY
    assert closed_until(experiment("exp_3"), NOON) is None
