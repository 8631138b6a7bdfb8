"""The keys that a server knows: as new as its last look, and not for ever without one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from app.adapters.known_keys import NOTE_EVERY_S, KnownKeys
from app.domain.errors import Unavailable
from app.domain.keys import ApiKey, Scope, secret_sha256
from tests.processes import until
from tests.values import NOON

ID = "key_" + "a" * 32
SECRET = "s" * 43
KEY = ApiKey(id=ID, name="player", scopes=(Scope.SERVE,), secret_sha256=secret_sha256(SECRET).hex(), created_at=NOON)
OUTLIVES_S = 100.0


@dataclass
class Database:
    """Keys in memory, and clocks that the test moves."""

    keys: list[ApiKey] = field(default_factory=lambda: [KEY])
    is_away: bool = False
    now_s: float = 1_000.0
    noted: list[dict[str, datetime]] = field(default_factory=list)

    def usable(self) -> list[ApiKey]:
        self._check()
        return list(self.keys)

    def note_use(self, used: Mapping[str, datetime]) -> None:
        self._check()
        self.noted.append(dict(used))

    def clock(self) -> float:
        return self.now_s

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("The database is away.")

    def known(self, **changes: float) -> KnownKeys:
        return KnownKeys(
            usable=self.usable,
            note_use=self.note_use,
            outlives_s=OUTLIVES_S,
            monotonic=self.clock,
            wall=self.clock,
            **changes,
        )


@pytest.fixture
def database() -> Database:
    return Database()


def test_a_known_key_is_taken_without_another_look(database: Database) -> None:
    known = database.known()
    known.look()
    database.is_away = True
    assert known.scopes(ID, SECRET) == frozenset({Scope.SERVE})
    assert known.scopes(ID, "t" * 43) is None


def test_before_the_first_look_nothing_can_be_said(database: Database) -> None:
    database.is_away = True
    known = database.known()
    known.look()
    with pytest.raises(Unavailable):
        known.scopes(ID, SECRET)


def test_known_keys_outlive_the_database_for_a_while(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    known = database.known()
    known.look()
    database.is_away = True
    database.now_s += OUTLIVES_S
    known.look()
    known.look()
    assert known.scopes(ID, SECRET) == frozenset({Scope.SERVE})
    assert len([line for line in caplog.records if "cannot be read" in line.message]) == 1
    database.now_s += 1
    with pytest.raises(Unavailable):
        known.scopes(ID, SECRET)
    database.is_away = False
    known.look()
    assert known.scopes(ID, SECRET) == frozenset({Scope.SERVE})


def test_revoked_and_new_keys_are_so_at_the_next_look(database: Database) -> None:
    known = database.known()
    known.look()
    database.keys = []
    known.look()
    assert known.scopes(ID, SECRET) is None
    database.keys = [KEY]
    known.look()
    assert known.scopes(ID, SECRET) == frozenset({Scope.SERVE})


def test_keys_are_followed_until_it_is_stopped_and_uses_noted_then(database: Database) -> None:
    known = database.known(poll_s=0.01)
    known.start()
    assert known.scopes(ID, SECRET) == frozenset({Scope.SERVE})
    database.keys = []
    until(lambda: known.scopes(ID, SECRET) is None, "the key is revoked", within_s=5)
    known.stop()
    known.stop()
    database.keys = [KEY]
    assert known.scopes(ID, SECRET) is None
    assert {identity for noted in database.noted for identity in noted} == {ID}


def test_a_use_is_noted_once_a_minute(database: Database) -> None:
    known = database.known()
    known.look()
    for _ in range(3):
        known.scopes(ID, SECRET)
        known.note(every_s=NOTE_EVERY_S)
        database.now_s += 1
    assert database.noted == [{ID: datetime.fromtimestamp(1_000, UTC)}]
    database.now_s += NOTE_EVERY_S
    known.note(every_s=NOTE_EVERY_S)
    assert database.noted[1:] == [{ID: datetime.fromtimestamp(1_002, UTC)}]
    known.note(every_s=0)
    assert len(database.noted) == 2


def test_a_use_that_could_not_be_noted_is_noted_later(database: Database) -> None:
    known = database.known()
    known.look()
    known.scopes(ID, SECRET)
    database.is_away = True
    known.note(every_s=0)
    known.look()
    known.note(every_s=0)
    assert database.noted == []
    database.is_away = False
    known.look()
    known.note(every_s=0)
    assert database.noted == [{ID: datetime.fromtimestamp(1_000, UTC)}]


def test_a_secret_that_is_wrong_is_no_use(database: Database) -> None:
    known = database.known()
    known.look()
    known.scopes(ID, "t" * 43)
    known.note(every_s=0)
    assert database.noted == []
