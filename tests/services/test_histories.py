"""Histories on several servers that share a database and a cache: a play shows in the next answer of each of them."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Unavailable
from app.domain.listeners import LEAST_OFF_S, OFF_S, OFF_WITHOUT_S, PERMIT_S
from app.domain.plays import Play
from app.domain.repositories import UnitOfWork
from app.services.histories import UserHistories
from app.services.listeners import ListenerService
from tests.fakes.history_cache import DictHistories, FixedListeners
from tests.services.player import Units, play
from tests.values import FakeClock


class House:
    """A database, a cache, and servers on both that learn of each other's changes only as real ones do."""

    def __init__(self, units: Units, clock: FakeClock) -> None:
        self.units = units
        self.clock = clock
        self.cache = DictHistories()
        self.slept_s: list[float] = []

    def server(self, cache: DictHistories | None) -> "Server":
        return Server(self, cache)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(seconds)


class Server:
    """One server. `look` is what its follower does."""

    def __init__(self, house: House, cache: DictHistories | None) -> None:
        self.listeners = FixedListeners()
        self.changes = ListenerService(house.units, has_cache=cache is not None).changes
        self.histories = UserHistories(
            house.units,
            listeners=self.listeners,
            cache=cache,
            monotonic=house.clock.elapsed_s,
            sleep=house.sleep,
        )

    def look(self) -> None:
        self.listeners.epoch = self.changes(0).epoch

    def songs(self, user_id: str = "u", limit: int = 200) -> list[str] | None:
        plays = self.histories.recent(user_id, limit=limit).plays
        return None if plays is None else list(plays.song_ids)

    def send(self, *plays: Play) -> None:
        self.histories.change(
            {sent.user_id for sent in plays}, lambda unit: unit.plays.add(plays, received_at=unit.now())
        )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(database_url: str, clock: FakeClock) -> Iterator[House]:
    engine = create_engine(database_url)
    yield House(Units(SqlUnitsOfWork(engine, clock=clock)), clock)
    engine.dispose()


@pytest.fixture
def servers(house: House) -> tuple[Server, Server]:
    """Two that use the cache."""
    one, other = house.server(house.cache), house.server(house.cache)
    one.look()  # announces the cache
    for server in (one, other):
        server.look()
        assert server.listeners.epoch == 1
    return one, other


def asked(house: House, read: Callable[[], object]) -> int:
    """How often the database was asked for it."""
    before = house.units.n_asked
    read()
    return house.units.n_asked - before


def test_what_was_read_once_is_not_asked_of_the_database_again(house: House, servers: tuple[Server, Server]) -> None:
    one, other = servers
    one.send(play("e1", "s1"))

    assert asked(house, one.songs) == 1
    assert asked(house, other.songs) == 0
    assert other.songs() == ["s1"]


def test_a_play_shows_in_the_next_answer_of_every_server(servers: tuple[Server, Server]) -> None:
    one, other = servers
    for number, sender in enumerate([one, other, one]):
        sender.send(play(f"e{number}", f"s{number}", days_ago=-0.01 * number))
        expected = [f"s{place}" for place in range(number, -1, -1)]
        assert (one.songs(), other.songs()) == (expected, expected)


def test_a_longer_history_than_is_cached_is_read(house: House, servers: tuple[Server, Server]) -> None:
    house.cache.n_kept = 2
    one, _ = servers
    one.send(*(play(f"e{number}", f"s{number}", days_ago=number) for number in range(4)))
    one.songs(limit=2)

    assert asked(house, lambda: one.songs(limit=2)) == 0
    assert one.songs(limit=3) == ["s0", "s1", "s2"]


def test_what_a_reader_read_before_a_change_is_not_kept(house: House, servers: tuple[Server, Server]) -> None:
    one, other = servers
    ticket = house.cache.find("u", epoch=1)
    assert isinstance(ticket, str)
    with house.units.reading() as unit:
        before = unit.plays.recent("u", limit=200)
    one.send(play("e1", "s1"))
    house.cache.fill("u", before, epoch=1, ticket=ticket)

    assert other.songs() == ["s1"]


def test_a_writer_that_cannot_reach_the_cache_puts_it_off_for_all_before_it_answers(
    house: House, servers: tuple[Server, Server]
) -> None:
    one, _ = servers
    assert one.songs() == []
    lonely = house.server(away := DictHistories())
    away.is_away = True

    lonely.send(play("e1", "s1"))

    assert house.slept_s == [PERMIT_S]  # as long as any server's permit lasts; then:
    one.look()
    assert one.listeners.permit() is None
    assert one.songs() == ["s1"]


def test_while_it_is_off_writers_wait_no_more(house: House, servers: tuple[Server, Server]) -> None:
    one, other = servers
    house.cache.is_away = True
    one.send(play("e1", "s1"))
    house.slept_s.clear()

    for number in range(2, 9):
        house.clock.advance(OFF_S / 6)
        other.send(play(f"e{number}", "s1"))

    assert house.slept_s == []


def test_it_is_on_again_after_a_while_and_knows_nothing_of_before(house: House, servers: tuple[Server, Server]) -> None:
    one, other = servers
    assert one.songs() == []  # cached under the first epoch
    house.cache.is_away = True
    other.send(play("e1", "s1"))
    house.cache.is_away = False
    house.clock.advance(OFF_S)
    for server in servers:
        server.look()

    assert one.listeners.permit() == 2
    assert one.songs() == ["s1"]
    assert asked(house, other.songs) == 0


def test_a_cache_that_is_lost_after_the_commit_is_put_off_before_the_answer(
    house: House, servers: tuple[Server, Server]
) -> None:
    one, other = servers

    def store_and_lose(unit: UnitOfWork) -> None:
        unit.plays.add([play("e1", "s1")], received_at=unit.now())
        house.cache.is_away = True

    one.histories.change({"u"}, store_and_lose)

    assert house.slept_s == [PERMIT_S]
    house.cache.is_away = False
    other.look()
    assert other.listeners.permit() is None
    assert other.songs() == ["s1"]


def test_a_change_that_fails_opens_the_user_again(house: House, servers: tuple[Server, Server]) -> None:
    one, _ = servers

    def fail(_unit: UnitOfWork) -> None:
        raise Unavailable("The database cannot be reached.")

    with pytest.raises(Unavailable):
        one.histories.change({"u"}, fail)

    assert isinstance(house.cache.find("u", epoch=1), str)


def test_a_server_without_a_cache_keeps_those_with_one_right(house: House, servers: tuple[Server, Server]) -> None:
    one, _ = servers
    assert one.songs() == []
    plain = house.server(None)

    plain.send(play("e1", "s1"))
    house.clock.advance(OFF_WITHOUT_S - LEAST_OFF_S - 60)
    plain.send(play("e2", "s1"))

    assert house.slept_s == [PERMIT_S]
    one.look()
    assert one.listeners.permit() is None


def test_without_any_cache_nothing_is_put_off(house: House) -> None:
    plain = house.server(None)

    plain.send(play("e1", "s1"))
    plain.look()

    assert (house.slept_s, plain.songs(), plain.listeners.epoch) == ([], ["s1"], None)


def test_a_commit_that_takes_so_long_that_the_cache_may_be_on_again_is_told_of(
    house: House, servers: tuple[Server, Server]
) -> None:
    one, other = servers
    house.cache.is_away = True
    other.send(play("e1", "s1"))
    house.slept_s.clear()
    house.cache.is_away = False

    def store_slowly(unit: UnitOfWork) -> None:
        unit.plays.add([play("e2", "s2")], received_at=unit.now())
        house.clock.advance(OFF_S)

    one.histories.change({"u"}, store_slowly)

    assert house.slept_s == [PERMIT_S]
    with house.units.reading() as unit:
        state = unit.listeners.cache()
    assert state is not None
    assert state.is_off(house.clock.now() + timedelta(seconds=1))


def test_while_the_database_is_away_the_cache_answers_and_says_so(house: House, servers: tuple[Server, Server]) -> None:
    one, _ = servers
    one.send(play("e1", "s1"))
    one.songs()
    house.units.is_away = True
    one.listeners.epoch, last = None, one.listeners.epoch
    one.listeners.last_epoch = lambda: last  # type: ignore[method-assign]

    found = one.histories.recent("u", limit=200)

    assert found.plays is not None
    assert (list(found.plays.song_ids), found.source) == (["s1"], "cached")
    nobody = one.histories.recent("stranger", limit=200)
    assert (nobody.plays, nobody.source) == (None, "dataset_only")


def test_plays_are_refused_while_the_database_is_away(house: House, servers: tuple[Server, Server]) -> None:
    one, _ = servers
    house.units.is_away = True

    with pytest.raises(Unavailable):
        one.send(play("e1", "s1"))
