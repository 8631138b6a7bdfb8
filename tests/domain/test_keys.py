"""API keys: what a scope grants, and which secrets are taken."""

from dataclasses import replace

import pytest

from app.domain.errors import InvalidRequest
from app.domain.keys import IMPLIED, ApiKey, Keyring, Scope, granted, parted, secret_sha256, written
from tests.values import NOON

ID = "key_" + "a" * 32
SECRET = "s" * 43

KEY = ApiKey(id=ID, name="player", scopes=(Scope.SERVE,), secret_sha256=secret_sha256(SECRET).hex(), created_at=NOON)


@pytest.mark.parametrize(
    ("scopes", "wanted"),
    [
        ([Scope.READ], {Scope.READ}),
        ([Scope.SERVE], {Scope.SERVE}),
        ([Scope.EVENTS], {Scope.EVENTS}),
        ([Scope.TUNE], {Scope.TUNE, Scope.READ}),
        ([Scope.PROMOTE], {Scope.PROMOTE, Scope.READ}),
        ([Scope.ADMIN], set(Scope)),
        ([Scope.SERVE, Scope.TUNE], {Scope.SERVE, Scope.TUNE, Scope.READ}),
    ],
)
def test_a_scope_grants_itself_and_what_it_implies(scopes: list[Scope], wanted: set[Scope]) -> None:
    assert granted(scopes) == wanted


def test_implied_scopes_are_whole() -> None:
    assert IMPLIED.keys() == set(Scope)
    for scope in Scope:
        assert granted(granted([scope])) == granted([scope])


def test_a_key_is_read_as_it_was_written() -> None:
    secret = "_-" + "x" * 41
    assert parted(written(ID, secret)) == (ID, secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "segue_",
        "x" + written(ID, SECRET),
        written(ID, SECRET) + "s",
        written(ID, SECRET) + "\n",
        written(ID, SECRET[1:]),
        written(ID.upper(), SECRET),
        written(ID, "é" * 43),
        written(ID, " " * 43),
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert parted(text) is None


def test_a_known_key_grants_its_scopes_and_another_secret_nothing() -> None:
    keyring = Keyring([KEY])
    assert len(keyring) == 1
    assert keyring.scopes(ID, SECRET) == frozenset({Scope.SERVE})
    assert keyring.scopes(ID, "t" * 43) is None
    assert keyring.scopes("key_" + "b" * 32, SECRET) is None


def test_a_revoked_key_grants_nothing_and_stays_revoked() -> None:
    revoked = KEY.revoked(NOON)
    assert Keyring([revoked]).scopes(ID, SECRET) is None
    assert revoked.revoked(NOON.replace(year=2030)) is revoked


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"id": "key_1"}, "/id"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"scopes": ()}, "/scopes"),
        ({"scopes": (Scope.READ, Scope.READ)}, "/scopes"),
    ],
)
def test_a_key_cannot_be_built_wrong(changes: dict[str, object], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        replace(KEY, **changes)  # type: ignore[arg-type]
    assert refused.value.pointer == pointer
