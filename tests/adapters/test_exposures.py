"""Exposures and experiments in both databases: once a user, whoever writes at the same time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import NotFound
from app.domain.experiments.assignment import allocated
from app.domain.experiments.experiment import Decision, Experiment, ExperimentState
from app.domain.experiments.exposure import Exposed, Exposure, ExposureVerdict
from app.domain.models import Bundle
from tests.values import NOON, experiment

RECORDED, KNOWN, CROSSED = ExposureVerdict


@pytest.fixture
def units(database_url: str) -> Iterator[SqlUnitsOfWork]:
    engine = create_engine(database_url)
    units = SqlUnitsOfWork(engine)
    with units() as unit:
        unit.experiments.add(experiment())
        unit.commit()
    yield units
    engine.dispose()


def exposure(user_id: str = "u", variant: str = "control", at_ms: int = 5, segment: str | None = "ar") -> Exposure:
    return Exposure(
        experiment_id="exp_1", user_id=user_id, variant=variant, segment=segment, exposed_at_ms=at_ms, revision=0
    )


def record(units: SqlUnitsOfWork, *told: Exposure) -> list[Exposed]:
    with units() as unit:
        exposed = unit.exposures.record("exp_1", told)
        unit.commit()
    return exposed


def running(identity: str, layer: str | None = None) -> Experiment:
    allocation = allocated([], at=NOON, share=0.5, weights={"control": 1, "treatment": 2}, taken=())
    pinned = {"control": Bundle(default="mdl_1"), "treatment": Bundle(default="mdl_2", segments={"ar": "mdl_3"})}
    return experiment(identity, layer=layer).started(at=NOON, allocation=allocation, pinned=pinned)


def test_the_first_exposure_stays(units: SqlUnitsOfWork) -> None:
    assert record(units, exposure()) == [Exposed(exposure=exposure(), verdict=RECORDED)]
    again = replace(exposure(at_ms=9, segment="en"), revision=3)
    assert record(units, again) == [Exposed(exposure=exposure(), verdict=KNOWN)]
    with units.reading() as unit:
        assert unit.exposures.find("exp_1", "u") == exposure()
        assert unit.exposures.find("exp_1", "v") is None
        assert unit.exposures.of_user("u") == [exposure()]
        assert unit.exposures.record("exp_1", []) == []


def test_a_user_seen_with_another_variant_has_crossed_then(units: SqlUnitsOfWork) -> None:
    record(units, exposure())
    for at_ms in (7, 8):
        (found,) = record(units, exposure(variant="treatment", at_ms=at_ms))
        assert found == Exposed(exposure=replace(exposure(), crossed_at_ms=7), verdict=CROSSED)
    with units.reading() as unit:
        assert unit.exposures.counts("exp_1") == {"control": (1, 1)}


def test_a_batch_is_told_one_by_one(units: SqlUnitsOfWork) -> None:
    record(units, exposure("b"))
    found = record(
        units,
        exposure("c", segment=None),
        exposure("a", at_ms=4),
        exposure("a", at_ms=6),
        exposure("a", variant="treatment", at_ms=8),
        exposure("b", variant="treatment", at_ms=9),
        exposure("schön 🎵'\"", "treatment"),
    )
    assert [each.verdict for each in found] == [RECORDED, RECORDED, KNOWN, CROSSED, CROSSED, RECORDED]
    assert [each.exposure.crossed_at_ms for each in found] == [None, 8, 8, 8, 9, None]
    assert found[0].exposure.segment is None
    with units.reading() as unit:
        assert unit.exposures.counts("exp_1") == {"control": (3, 2), "treatment": (1, 0)}
        assert set(unit.exposures.of_users("exp_1", ["a", "b", "x"])) == {"a", "b"}


def test_eight_threads_record_each_user_once(units: SqlUnitsOfWork) -> None:
    users = [f"user {number}" for number in range(12)]

    def tell(thread: int) -> list[ExposureVerdict]:
        mine = users if thread % 2 else users[::-1]
        return [record(units, exposure(user, at_ms=thread))[0].verdict for user in mine]

    with ThreadPoolExecutor(8) as threads:
        verdicts = [verdict for some in threads.map(tell, range(8)) for verdict in some]
    assert verdicts.count(RECORDED) == len(users)
    assert verdicts.count(KNOWN) == 7 * len(users)


def test_a_forgotten_user_has_no_exposure_left(units: SqlUnitsOfWork) -> None:
    record(units, exposure("u"), exposure("v"))
    with units() as unit:
        assert unit.exposures.delete_of("u") == 1
        assert unit.exposures.delete_of("u") == 0
        unit.commit()
    with units.reading() as unit:
        assert unit.exposures.counts("exp_1") == {"control": (1, 0)}


def test_an_experiment_is_read_as_it_was_written(units: SqlUnitsOfWork) -> None:
    decision = Decision(action="promote", variant="treatment", alias="production", generation=2, decided_at=NOON)
    decided = running("exp_2", "home").stopped(at=NOON).decided(decision)
    with units() as unit:
        unit.experiments.add(experiment("exp_2", layer="home"))
        assert unit.experiments.lock("exp_2").state is ExperimentState.DRAFT
        unit.experiments.save(decided)
        unit.commit()
    with units.reading() as unit:
        assert unit.experiments.get("exp_2") == decided
        assert [each.id for each in unit.experiments.page(limit=5, cursor=None)] == ["exp_2", "exp_1"]
        assert [each.id for each in unit.experiments.in_states(ExperimentState.DRAFT)] == ["exp_1"]


def test_a_layer_tells_its_live_experiments(units: SqlUnitsOfWork) -> None:
    with units() as unit:
        for identity, layer in (("exp_2", "home"), ("exp_3", "home"), ("exp_4", "other")):
            unit.experiments.add(running(identity, layer))
        unit.experiments.add(running("exp_5", "home").stopped(at=NOON))
        unit.commit()
    with units() as unit:
        assert [each.id for each in unit.experiments.live_in_layer("home")] == ["exp_2", "exp_3"]
        unit.experiments.delete("exp_1")
        unit.commit()
    with units.reading() as unit, pytest.raises(NotFound):
        unit.experiments.get("exp_1")
