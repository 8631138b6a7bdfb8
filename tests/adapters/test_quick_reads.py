"""A read on the driver itself: the same rows as by a unit of work, and the same refusals."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from app.adapters.sql.engine import create_engine
from app.adapters.sql.quick_reads import QuickRead
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Unavailable
from app.domain.plays import EventType, Play
from tests.values import NOON


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = create_engine(url, pool_size=1)
    yield engine
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    with opened(database_url) as found:
        yield found


def test_plays_are_those_that_a_unit_of_work_reads(engine: Engine) -> None:
    units = SqlUnitsOfWork(engine)
    plays = [
        Play(
            event_id=f"e{place}",
            user_id="u" if place % 2 else "v",
            song_id=f"s{place}",
            played_at_ms=1_000 - place // 3,
            seconds_streamed=None if place % 4 else 12.5,
            event_type=EventType.SKIP if place % 5 == 0 else EventType.PLAY,
            duration_s=None if place % 3 else 200.0,
        )
        for place in range(20)
    ]
    with units() as unit:
        unit.plays.add(plays, received_at=NOON)
        unit.commit()

    for limit in (3, 10, 50):
        with units.reading() as unit:
            expected = unit.plays.recent("u", limit=limit)
        found = units.recent_plays("u", limit=limit)
        assert found.song_ids == expected.song_ids
        for name in ("played_at_ms", "events", "seconds_streamed", "durations_s"):
            assert repr(getattr(found, name)) == repr(getattr(expected, name)), name
        assert found.is_whole is expected.is_whole is (limit >= 10)
    assert len(units.recent_plays("nobody", limit=5)) == 0


def test_a_play_that_was_just_written_is_read_and_nothing_stays_open(engine: Engine) -> None:
    units = SqlUnitsOfWork(engine)
    for place in range(3):
        with units() as unit:
            unit.plays.add([Play(event_id=f"e{place}", user_id="u", song_id="s", played_at_ms=place)], received_at=NOON)
            unit.commit()
        assert len(units.recent_plays("u", limit=5)) == place + 1


@pytest.mark.parametrize("url", ["sqlite:///{folder}/segue.db", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"])
def test_a_database_that_is_not_there_is_unavailable(url: str, tmp_path: Path) -> None:
    with opened(url.format(folder=tmp_path)) as engine, pytest.raises(Unavailable):
        SqlUnitsOfWork(engine).recent_plays("u", limit=5)


def test_what_the_driver_refuses_is_told_as_sqlalchemy_tells_it(engine: Engine) -> None:
    missing = QuickRead(engine, sa.select(sa.column("x")).select_from(sa.table("no_such_table")))
    with pytest.raises(sa.exc.DBAPIError, match="no_such_table"):
        missing.rows()
    assert [tuple(row) for row in QuickRead(engine, sa.select(sa.literal(1).label("one"))).rows()] == [(1,)]


def test_two_who_ask_at_once_are_both_answered(engine: Engine) -> None:
    read = QuickRead(engine, sa.select(sa.literal(1).label("one")))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(read.rows) for _ in range(200)]
        assert [[tuple(row) for row in each.result()] for each in asked] == [[(1,)]] * 200


def test_who_asks_while_another_does_takes_a_connection_of_the_pool(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/segue.db") as engine:
        read = QuickRead(engine, sa.select(sa.literal(1).label("one")))
        taken: list[object] = []
        sa.event.listen(engine, "checkout", lambda *_: taken.append(None))
        read.rows()
        read.rows()
        assert len(taken) == 1  # to be kept
        with read._kept_in_use:
            assert read.rows() == [(1,)]
        assert len(taken) == 2


def test_the_connection_kept_ends_with_the_engine_and_after_an_error(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/segue.db") as engine:
        ended: list[object] = []
        sa.event.listen(engine, "close_detached", lambda _: ended.append(None))
        read = QuickRead(engine, sa.select(sa.column("x")).select_from(sa.table("late")))
        for n_ended in (1, 2):
            with pytest.raises(sa.exc.DBAPIError, match="late"):
                read.rows()
            assert len(ended) == n_ended
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE late (x INTEGER)"))
        assert read.rows() == []
        engine.dispose()
        assert len(ended) == 3
        assert read.rows() == []
