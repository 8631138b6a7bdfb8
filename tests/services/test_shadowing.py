"""A challenger answers a share of the requests, off the way of the answer, whatever becomes of it."""

import itertools
import queue
import time
from collections.abc import Iterator

import pytest

from app.adapters.clock import UuidIds
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.models import Model
from app.services.shadowing import SUFFIX, ShadowService
from tests.services.conftest import House
from tests.services.test_models import built, completed_study

CAPACITY = 3


def service(house: House, *, draws: Iterator[float] | None = None) -> ShadowService:
    draws = itertools.repeat(0.0) if draws is None else draws
    ticks = itertools.count()
    return ShadowService(
        house.units,
        ids=UuidIds(),
        sample=lambda: next(draws),
        seconds=lambda: 0.25 * next(ticks),  # every answer takes a quarter of a second
        capacity=CAPACITY,
    )


def lists(alias: str) -> list[str]:
    return ["a", "b", "x"] if alias.endswith(SUFFIX) else ["a", "b", "c"]


def ask(shadows: ShadowService, n: int = 1) -> None:
    for _ in range(n):
        assert shadows.answered("production", lists, lambda answer: answer) == ["a", "b", "c"]


def compare(shadows: ShadowService) -> None:
    while not shadows.is_idle:
        shadows.compare_next(timeout_s=1)


def test_overlap_and_latency_of_a_share_of_the_requests_are_told_over_all_servers(house: House) -> None:
    model = built(house, completed_study(house))
    servers = [service(house, draws=itertools.cycle([0.0, 0.6])) for _ in range(2)]
    servers[0].put("production", model_id=model.id, challenger=None, share=0.5)
    for shadows in servers:
        (target,) = shadows.targets()
        assert (target.alias.name, target.alias.model_id) == ("production@shadow", model.id)
        ask(shadows, 4)
        compare(shadows)
        shadows.flush()
        shadows.flush()  # told again, not added again
    report = servers[0].report("production")
    assert (report.tally.n, report.tally.n_errors, report.n_servers) == (4, 0, 2)
    assert report.tally.mean_overlap == pytest.approx(2 / 3)
    assert sum(report.tally.live) == sum(report.tally.challenger) == 4
    assert report.updated_at == house.clock.now()


def test_a_challenger_that_fails_or_falls_behind_is_counted_and_nobody_waits(house: House) -> None:
    model = built(house, completed_study(house))
    shadows = service(house)
    shadows.put("production", model_id=model.id, challenger=None, share=1.0)
    shadows.targets()

    def broken(alias: str) -> list[str]:
        if alias.endswith(SUFFIX):
            raise ZeroDivisionError
        return ["a"]

    for _ in range(CAPACITY + 2):
        assert shadows.answered("production", broken, lambda answer: answer) == ["a"]
    compare(shadows)
    shadows.flush()
    tally = shadows.report("production").tally
    assert (tally.n, tally.n_errors, tally.n_dropped) == (0, CAPACITY, 2)


def test_an_error_of_the_alias_is_the_client_s_and_no_shadow_s(house: House) -> None:
    model = built(house, completed_study(house))
    shadows = service(house)
    shadows.put("production", model_id=model.id, challenger=None, share=1.0)
    shadows.targets()

    def unknown(_alias: str) -> list[str]:
        raise NotFound("song", "s")

    with pytest.raises(NotFound):
        shadows.answered("production", unknown, lambda answer: answer)
    with pytest.raises(queue.Empty):
        shadows.compare_next(timeout_s=0.001)


def test_a_challenger_may_be_an_alias_that_is_followed(house: House) -> None:
    study_id = completed_study(house)
    built(house, study_id)
    first = built(house, study_id, "challenger")
    shadows = service(house)
    shadows.put("production", model_id=None, challenger="challenger", share=1.0)
    assert [target.alias.model_id for target in shadows.targets()] == [first.id]
    second = built(house, study_id, "challenger")
    (target,) = shadows.targets()
    assert (target.alias.model_id, target.alias.generation, target.files) == (second.id, 2, f"{second.id}-1")


def test_another_shadow_begins_anew_and_one_that_is_removed_is_gone(house: House) -> None:
    model = built(house, completed_study(house))
    shadows = service(house)
    shadows.put("production", model_id=model.id, challenger=None, share=1.0)
    shadows.targets()
    ask(shadows)
    compare(shadows)
    shadows.flush()
    shadows.put("production", model_id=model.id, challenger=None, share=0.5)
    assert shadows.report("production").tally.n == 0
    shadows.flush()  # of the one that is gone nothing is told
    assert shadows.report("production").n_servers == 0
    shadows.remove("production")
    assert shadows.targets() == []
    ask(shadows)
    for call in (lambda: shadows.report("production"), lambda: shadows.remove("production")):
        with pytest.raises(NotFound):
            call()


def test_only_what_can_serve_challenges(house: House) -> None:
    study_id = completed_study(house)
    model = built(house, study_id)
    waiting = house.models.promote(study_id)
    assert isinstance(waiting, Model)
    shadows = service(house)
    with pytest.raises(NotFound):
        shadows.put("none", model_id=model.id, challenger=None, share=1.0)
    with pytest.raises(Conflict, match="building"):
        shadows.put("production", model_id=waiting.id, challenger=None, share=1.0)
    for given, pointer in (
        ((None, None, 1.0), "/model_id"),
        (("mdl_none", None, 1.0), "/model_id"),
        ((None, "production", 1.0), "/alias"),
        ((None, "none", 1.0), "/alias"),
        ((model.id, None, 1.5), "/share"),
    ):
        model_id, challenger, share = given
        with pytest.raises(InvalidRequest) as refused:
            shadows.put("production", model_id=model_id, challenger=challenger, share=share)
        assert refused.value.pointer == pointer


def test_the_thread_compares_and_tells_before_it_stops(house: House) -> None:
    model = built(house, completed_study(house))
    shadows = service(house)
    shadows.put("production", model_id=model.id, challenger=None, share=1.0)
    shadows.targets()
    ask(shadows)
    shadows.start()
    while not shadows.is_idle:
        time.sleep(0.005)
    shadows.stop()
    shadows.stop()
    assert shadows.report("production").tally.n == 1


def test_a_database_that_is_away_loses_nothing(house: House) -> None:
    model = built(house, completed_study(house))
    shadows = service(house)
    shadows.put("production", model_id=model.id, challenger=None, share=1.0)
    shadows.targets()
    ask(shadows)
    compare(shadows)
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    here, shadows._units = shadows._units, SqlUnitsOfWork(engine)
    shadows.flush()
    shadows._units = here
    shadows.flush()
    engine.dispose()
    assert shadows.report("production").tally.n == 1
