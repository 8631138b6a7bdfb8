"""API keys on a real database: made, listed, used and revoked."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from app.adapters.clock import UuidIds
from app.adapters.sql.engine import create_engine
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.keys import MOST_KEYS, Scope, parted, secret_sha256
from app.services.keys import KeyService
from tests.values import NOON, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(database_url: str, clock: FakeClock) -> Iterator[KeyService]:
    engine = create_engine(database_url)
    secrets = (f"{number:043d}" for number in itertools.count())
    yield KeyService(SqlUnitsOfWork(engine, clock=clock), ids=UuidIds(), new_secret=lambda: next(secrets))
    engine.dispose()


def test_a_key_is_told_once_and_only_a_hash_of_it_is_kept(service: KeyService) -> None:
    made = service.create(name="player", scopes=[Scope.SERVE, Scope.EVENTS])
    assert parted(made.written) == (made.key.id, "0" * 43)
    kept = service.get(made.key.id)
    assert kept == made.key
    assert kept.secret_sha256 == secret_sha256("0" * 43).hex()
    assert "0" * 43 not in repr(kept) + repr(made)


def test_keys_are_listed_newest_first_in_pages(service: KeyService) -> None:
    made = [service.create(name=f"key {number}", scopes=[Scope.READ]).key for number in range(3)]
    first = service.list(limit=2)
    assert first.rows == [made[2], made[1]]
    assert service.list(limit=2, cursor=first.next_cursor).rows == [made[0]]


def test_a_revoked_key_stays_in_the_list_and_is_used_no_more(service: KeyService, clock: FakeClock) -> None:
    kept, gone = (service.create(name=name, scopes=[Scope.READ]).key for name in ("kept", "gone"))
    clock.advance(60)
    revoked = service.revoke(gone.id)
    assert revoked.revoked_at == clock.now()
    clock.advance(60)
    assert service.revoke(gone.id) == revoked
    assert service.usable() == [kept]
    assert service.list(limit=9).rows == [revoked, kept]


def test_the_last_use_never_goes_back(service: KeyService) -> None:
    key = service.create(name="player", scopes=[Scope.SERVE]).key
    for at in (NOON + timedelta(hours=2), NOON + timedelta(hours=1)):
        service.note_use({key.id: at, "key_none": at})
    assert service.get(key.id).last_used_at == NOON + timedelta(hours=2)


def test_an_unknown_key_cannot_be_seen_or_revoked(service: KeyService) -> None:
    for look in (service.get, service.revoke):
        with pytest.raises(NotFound):
            look("key_none")


def test_a_key_needs_a_scope(service: KeyService) -> None:
    with pytest.raises(InvalidRequest):
        service.create(name="player", scopes=[])
    assert service.list(limit=9).rows == []


def test_there_are_no_more_keys_than_every_server_can_hold(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    units = SqlUnitsOfWork(engine)
    service = KeyService(units, ids=UuidIds(), new_secret=lambda: "x" * 43)
    first = service.create(name="first", scopes=[Scope.READ]).key
    with units() as unit:
        for number in range(MOST_KEYS - 1):
            unit.keys.add(replace(first, id=f"key_{number:032x}"))
        unit.commit()
    with pytest.raises(Conflict):
        service.create(name="one too many", scopes=[Scope.READ])
    service.revoke(first.id)
    service.create(name="in its place", scopes=[Scope.READ])
    engine.dispose()
