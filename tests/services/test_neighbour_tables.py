"""Tables of neighbours: asked for when a model is ready without one, built once, in nobody's way."""

import os
from dataclasses import replace

import pytest

from app.domain.errors import Conflict, LostLease, NotFound
from app.domain.lease import Failure, HeartbeatAnswer, Progress
from app.domain.models import IndexFacts, Model, TableTiming
from app.domain.neighbour_tables import NeighbourTable, Tabled, TableFacts, TableState
from app.services.neighbour_tables import KIND, YIELDS_AFTER, TableService, TableWork
from tests.services.conftest import LEASE, N_NEIGHBOURS, House
from tests.services.test_models import completed_study

STORED = IndexFacts(kind="flat", n_songs=4, dim=10, n_neighbours=3, recall=1.0)
BARE = replace(STORED, n_neighbours=0)
FACTS = TableFacts(n_songs=4, n_neighbours=3, recall=1.0)


def built(house: House, *, index: IndexFacts = BARE, neighbours: TableTiming | None = None) -> Model:
    """A model that is ready, its neighbours asked for at this time."""
    house.models.promote(completed_study(house), neighbours=neighbours)
    work = house.models.claim("worker")
    assert work is not None
    return house.models.complete(work.claim, staged=house.staged(), index=index)


def claim(house: House, worker_id: str = "worker") -> TableWork:
    work = house.tables.claim(worker_id)
    assert work is not None
    return work


def table_of(house: House, model: Model) -> NeighbourTable:
    table = house.tables.of_model(model.id).table
    assert table is not None
    return table


def asked(house: House, model: Model, *, is_rebuilt: bool = False) -> NeighbourTable | None:
    tabled = house.tables.ask(model.id, is_rebuilt=is_rebuilt)
    assert isinstance(tabled, Tabled)
    return tabled.table


@pytest.mark.parametrize("timing", [None, TableTiming.AFTER])
def test_a_model_is_live_before_its_table_is_even_begun(house: House, timing: TableTiming | None) -> None:
    model = built(house, neighbours=timing)
    assert house.aliases.get("production").model_id == model.id
    table = table_of(house, model)
    assert (table.state, table.n_neighbours, table.attempt) == (TableState.WAITING, 3, 0)
    assert N_NEIGHBOURS > 3
    assert house.tables.ready([model.id]) == {}


def test_a_model_with_its_neighbours_in_its_files_or_none_wanted_gets_no_table(house: House) -> None:
    for model in (
        built(house, index=STORED),
        built(house, neighbours=TableTiming.OFF),
        built(house, index=replace(BARE, n_songs=1)),
    ):
        assert house.tables.of_model(model.id).table is None
    assert house.tables.claim("worker") is None


def test_a_table_that_is_built_is_what_servers_take_up(house: House) -> None:
    model = built(house)
    work = claim(house)
    assert work.table.state is TableState.BUILDING
    assert work.model_files == f"{model.id}-1"
    assert house.tables.claim("another") is None
    table = house.tables.complete(work.claim, staged=house.staged(), facts=FACTS)
    assert table_of(house, model) == table
    assert (table.state, table.facts, [file.name for file in table.files]) == (TableState.READY, FACTS, ["input.npy"])
    assert house.tables.ready([model.id, "mdl_other"]) == {model.id: f"{table.id}-1"}
    assert (house.root / KIND / f"{table.id}-1").is_dir()
    (tabled,) = house.tables.of_models([model])
    assert tabled.table == table


def test_a_dead_worker_s_table_is_built_by_the_next_and_the_late_one_refused(house: House) -> None:
    model = built(house)
    late = claim(house)
    assert house.tables.heartbeat(late.claim, Progress(phase="neighbours", fraction=0.5)) is HeartbeatAnswer.CONTINUE
    assert table_of(house, model).progress == Progress(phase="neighbours", fraction=0.5)
    house.clock.advance(LEASE.total_seconds() + 1)
    assert house.tables.reap() == 1
    waiting = table_of(house, model)
    assert (waiting.state, waiting.failure is not None and waiting.failure.code) == (TableState.WAITING, "lost")
    current = claim(house, "another")
    assert current.claim.attempt == 2
    assert house.tables.heartbeat(late.claim) is HeartbeatAnswer.LOST
    with pytest.raises(LostLease):
        house.tables.complete(late.claim, staged=house.staged(), facts=FACTS)
    assert not (house.root / KIND / f"{late.table.id}-1").exists()
    house.tables.complete(current.claim, staged=house.staged(), facts=FACTS)
    assert house.tables.ready([model.id]) == {model.id: f"{current.table.id}-2"}


def test_a_report_whose_acknowledgement_was_lost_may_be_repeated(house: House) -> None:
    built(house)
    work, staged = claim(house), house.staged()
    table = house.tables.complete(work.claim, staged=staged, facts=FACTS)
    assert house.tables.complete(work.claim, staged=staged, facts=FACTS) == table


def test_a_table_is_given_up_after_three_attempts_and_says_why(house: House) -> None:
    model = built(house)
    for _ in range(3):
        house.tables.fail(claim(house).claim, Failure(code="out_of_memory", reason="Too big."), is_final=False)
    table = table_of(house, model)
    assert (table.state, table.attempt) == (TableState.FAILED, 3)
    assert table.failure == Failure(code="out_of_memory", reason="Too big.")
    assert house.tables.claim("worker") is None


def test_a_table_that_failed_is_asked_for_anew_under_another_id(house: House) -> None:
    model = built(house)
    first = claim(house)
    house.tables.fail(first.claim, Failure(code="error", reason="No."), is_final=True)
    again = asked(house, model)
    assert again is not None
    assert (again.state, again.attempt, again.failure) == (TableState.WAITING, 0, None)
    assert again.id != first.table.id
    assert house.tables.heartbeat(first.claim) is HeartbeatAnswer.LOST


def test_asking_again_changes_nothing_while_it_waits_or_is_ready_and_is_refused_while_it_is_built(house: House) -> None:
    model = built(house)
    waiting = table_of(house, model)
    assert asked(house, model) == waiting
    assert asked(house, model, is_rebuilt=False) == waiting
    work = claim(house)
    with pytest.raises(Conflict, match="being built"):
        house.tables.ask(model.id)
    ready = house.tables.complete(work.claim, staged=house.staged(), facts=FACTS)
    assert asked(house, model) == ready


def test_a_ready_table_is_built_anew_when_told_to_and_its_old_files_go(house: House) -> None:
    model = built(house)
    ready = house.tables.complete(claim(house).claim, staged=house.staged(), facts=FACTS)
    anew = asked(house, model, is_rebuilt=True)
    assert anew is not None
    assert (anew.state, anew.id == ready.id) == (TableState.WAITING, False)
    assert not (house.root / KIND / f"{ready.id}-1").exists()


def test_a_table_is_asked_for_of_a_ready_model_that_lacks_one(house: House) -> None:
    off, stored = built(house, neighbours=TableTiming.OFF), built(house, index=STORED)
    table = asked(house, off)
    assert table is not None
    assert table.state is TableState.WAITING
    assert asked(house, stored) is None
    waiting = house.models.promote(completed_study(house))
    assert isinstance(waiting, Model)
    with pytest.raises(Conflict, match="building"):
        house.tables.ask(waiting.id)
    with pytest.raises(NotFound):
        house.tables.ask("mdl_none")


def test_tables_that_are_turned_off_are_neither_made_nor_asked_for(house: House) -> None:
    model = built(house, neighbours=TableTiming.OFF)
    tables = TableService(
        house.units,
        store=house.store,
        ids=house.tables._ids,
        signals=house.tables._signals,
        lease=LEASE,
        watch=house.watch,
        n_neighbours=0,
    )
    with pytest.raises(Conflict, match="turned off"):
        tables.ask(model.id)
    with house.units() as unit:
        tables.after(unit, model)
        unit.commit()
    assert house.tables.of_model(model.id).table is None


def test_a_table_makes_way_for_a_model_that_waits_and_loses_no_attempt(house: House) -> None:
    built(house)
    work = claim(house)
    house.models.promote(completed_study(house))
    assert house.tables.heartbeat(work.claim) is HeartbeatAnswer.CONTINUE  # another worker may be about to take it
    house.clock.advance(YIELDS_AFTER.total_seconds() + 1)
    assert house.tables.heartbeat(work.claim) is HeartbeatAnswer.CANCEL
    house.tables.release(work.claim)
    assert house.models.claim("worker") is not None
    again = claim(house)
    assert again.claim.attempt == 1
    assert house.tables.heartbeat(again.claim) is HeartbeatAnswer.CONTINUE  # the model is being built


def test_files_that_no_table_keeps_are_swept_and_others_stay(house: House) -> None:
    built(house)
    table = house.tables.complete(claim(house).claim, staged=house.staged(), facts=FACTS)
    building = built(house)
    work = claim(house)
    house.store.publish(house.staged(), KIND, f"{work.table.id}-1")  # and not yet told
    house.store.publish(house.staged(), KIND, "nbt_gone-1")
    house.store.publish(house.staged(), KIND, f"{table.id}-7")
    assert house.tables.sweep() == 0
    for path in (house.root / KIND).rglob("*"):
        os.utime(path, (0, 0))
    assert house.tables.sweep() == 2
    kept = sorted(path.name for path in (house.root / KIND).iterdir())
    assert kept == sorted([f"{table.id}-1", f"{work.table.id}-1"])
    assert building.id == work.table.model_id
