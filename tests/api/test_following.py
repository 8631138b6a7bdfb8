"""Streams of one server: what ends them, and what they do when they fall behind or the database fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from app.adapters.polling import PollingSignals
from app.adapters.sql import tables
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.api.following import MOST_HANDED, Aside, Following, Listener, Said
from app.domain.errors import Unavailable
from app.domain.events import Event
from app.services.events import PAGE, EventService, News
from tests.api.world import World

QUICK_S = 0.01


class Troubled(EventService):
    """Raises what it is told to, and how often, before it answers."""

    def __init__(self, world: World, **troubles: list[Exception]) -> None:
        super().__init__(SqlUnitsOfWork(world.container.engine))
        self._troubles = troubles

    def after(self, study_id: str, cursor: int) -> tuple[list[Event], bool]:
        """As it is, unless it is told to raise."""
        self._meet("after")
        return super().after(study_id, cursor)

    def news(self, seen: Mapping[str, int]) -> dict[str, News]:
        """As it is, unless it is told to raise."""
        self._meet("news")
        return super().news(seen)

    def _meet(self, what: str) -> None:
        if self._troubles.get(what):
            raise self._troubles[what].pop(0)


def following(events: EventService, **changes: float) -> Following:
    return Following(events, signals=PollingSignals(), **{"poll_s": QUICK_S, **changes})


def heard(
    events: EventService, study_id: str, act: Callable[[Said, Following], object] = lambda *_: None, **changes: float
) -> list[Said]:
    """All that a stream says; `act` is called after each."""

    async def listen() -> list[Said]:
        all_streams = following(events, **changes)
        said = []
        stream: AsyncIterator[Said] = all_streams.stream(study_id, 0)
        async for each in stream:
            said.append(each)
            act(each, all_streams)
        assert all_streams.n_listeners == 0
        await all_streams.stop()
        return said

    return asyncio.run(asyncio.wait_for(listen(), 60))


def ids(said: list[Said]) -> list[int]:
    return [each.id for each in said if isinstance(each, Event)]


def add_events(world: World, study_id: str, n: int) -> None:
    rows: list[dict[str, Any]] = [{"study_id": study_id, "kind": "trial", "document": {"n": k}} for k in range(n)]
    with world.container.engine.begin() as connection:
        connection.execute(sa.insert(tables.events), rows)


def test_a_history_of_many_pages_is_told_whole_and_in_order(world: World) -> None:
    study_id = world.study()
    add_events(world, study_id, 2 * PAGE)
    world.container.studies.cancel(study_id)
    said = heard(world.container.events, study_id)
    assert ids(said) == list(range(1, 2 * PAGE + 3))  # those between the study's beginning and its end
    assert said[-1] is Aside.OVER


def test_a_listener_that_was_handed_too_much_reads_for_itself() -> None:
    listener = Listener("std_1")
    listener.is_behind = False
    event = Event(id=1, study_id="std_1", kind="trial", document={})
    listener.hand(News(events=[event] * MOST_HANDED, progress=None, is_over=False))
    assert (listener.is_behind, len(listener.handed)) == (False, MOST_HANDED)
    listener.hand(News(events=[event], progress=None, is_over=False))
    assert (listener.is_behind, len(listener.handed)) == (True, 0)


def test_what_happens_while_it_is_listened_to_is_told_and_the_end_is_the_end(world: World) -> None:
    study_id = world.study()

    def cancel(said: Said, _: Following) -> None:
        if isinstance(said, dict):
            world.container.studies.cancel(study_id)

    said = heard(world.container.events, study_id, cancel)
    states = [each.document["state"] for each in said if isinstance(each, Event) and each.kind == "study"]
    assert states == ["queued", "cancelled"]
    assert said[-1] is Aside.OVER


def test_silence_is_broken(world: World) -> None:
    study_id = world.study()
    silences: list[Said] = []

    def cancel(said: Said, _: Following) -> None:
        if said is Aside.SILENCE:
            silences.append(said)
            if len(silences) == 1:  # on a busy machine there is another before the end is heard
                world.container.studies.cancel(study_id)

    said = heard(world.container.events, study_id, cancel, heartbeat_s=QUICK_S)
    assert Aside.SILENCE in said


def test_a_server_that_stops_ends_its_streams_without_an_end(world: World) -> None:
    said = heard(world.container.events, world.study(), lambda _, all_streams: all_streams.close())
    assert ids(said)
    assert Aside.OVER not in said


def test_a_database_that_is_away_for_a_while_ends_no_stream(world: World) -> None:
    study_id = world.study()
    events = Troubled(world, news=[Unavailable("away"), Unavailable("away")])

    def cancel(said: Said, _: Following) -> None:
        if isinstance(said, dict):
            world.container.studies.cancel(study_id)

    assert heard(events, study_id, cancel)[-1] is Aside.OVER


def test_a_stream_that_cannot_read_what_it_missed_ends_and_its_client_comes_again(world: World) -> None:
    study_id = world.study()
    events = Troubled(world, after=[Unavailable("away")])
    assert heard(events, study_id) == []
    world.container.studies.cancel(study_id)
    assert heard(events, study_id)[-1] is Aside.OVER


def test_streams_end_where_nobody_looks_any_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    study_id = world.study()
    said = heard(Troubled(world, news=[RuntimeError("a defect")]), study_id)
    assert ids(said)
    assert Aside.OVER not in said
    assert "a defect" in caplog.text
