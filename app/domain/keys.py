"""API keys: who may call, and what for.

A key is `segue_<32 hexadecimal digits>_<43 characters>`: what it is looked up by, and a secret of 256 random bits. It
is shown once; of the secret only the SHA-256 is kept. A slow password hash would add nothing: it makes guessing dearer
where people choose the secret, and nobody tries 2^256 of them.

    serve      neighbours, songs and recommendations
    events     send plays
    read       see datasets, studies, trials, models, aliases, and what users played
    tune       change them: uploads, datasets, studies, trials; implies read
    promote    decide what is live: models and aliases; implies read
    admin      everything, keys and erasures too
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from app.domain.errors import InvalidRequest

MOST_KEYS = 1_000
"""Keys that are not revoked at most: every server holds a copy of all."""

LONGEST_NAME = 200

ID = re.compile(r"key_[0-9a-f]{32}")
KEY = re.compile(r"segue_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """What a key may be used for; see the module header."""

    READ = "read"
    SERVE = "serve"
    EVENTS = "events"
    TUNE = "tune"
    PROMOTE = "promote"
    ADMIN = "admin"


IMPLIED: dict[Scope, frozenset[Scope]] = {
    Scope.READ: frozenset(),
    Scope.SERVE: frozenset(),
    Scope.EVENTS: frozenset(),
    Scope.TUNE: frozenset({Scope.READ}),
    Scope.PROMOTE: frozenset({Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}
"""What each scope grants beside itself."""


def granted(scopes: Collection[Scope]) -> frozenset[Scope]:
    """The scopes and all that they imply.

    >>> sorted(granted([Scope.TUNE, Scope.EVENTS]))
    [<Scope.EVENTS: 'events'>, <Scope.READ: 'read'>, <Scope.TUNE: 'tune'>]
    """
    return frozenset(scopes).union(*(IMPLIED[scope] for scope in scopes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a key has left of its requests in a scope once one more was counted; all is back in `reset_s` seconds."""

    scope: Scope
    limit: int
    window_s: int
    remaining: int
    reset_s: int
    is_exceeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept, without its secret."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    secret_sha256: str
    created_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def __post_init__(self) -> None:
        """Raises: InvalidRequest."""
        if ID.fullmatch(self.id) is None:
            raise InvalidRequest("A key's id is key_ and 32 hexadecimal digits.", pointer="/id")
        if not 1 <= len(self.name) <= LONGEST_NAME:
            raise InvalidRequest(f"A key's name has 1 to {LONGEST_NAME} characters.", pointer="/name")
        if not self.scopes or len(set(self.scopes)) < len(self.scopes):
            raise InvalidRequest("A key has at least one scope, and none twice.", pointer="/scopes")

    def revoked(self, at: datetime) -> Self:
        """The key that nobody can use any more; one that was revoked before stays so."""
        return self if self.revoked_at is not None else replace(self, revoked_at=at)


def secret_sha256(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def written(identity: str, secret: str) -> str:
    """The key as its owner gets it.

    >>> written("key_" + "0" * 32, "x" * 43) == "segue_" + "0" * 32 + "_" + "x" * 43
    True
    """
    return f"segue_{identity.removeprefix('key_')}_{secret}"


def parted(key: str) -> tuple[str, str] | None:
    """The id and the secret of a key as its owner sends it; None when it is no key."""
    found = KEY.fullmatch(key)
    return None if found is None else (f"key_{found[1]}", found[2])


class Keyring:
    """Keys that may be used, ready to be compared with what is sent."""

    NOBODY = bytes(32)
    """What an unknown key's secret is compared with, so that it takes as long as another's."""

    def __init__(self, keys: Collection[ApiKey]) -> None:
        self._keys = {
            key.id: (bytes.fromhex(key.secret_sha256), granted(key.scopes)) for key in keys if key.revoked_at is None
        }

    def __len__(self) -> int:
        """How many there are."""
        return len(self._keys)

    def scopes(self, identity: str, secret: str) -> frozenset[Scope] | None:
        """What the key grants; None when there is no such key or the secret is another. Constant time in the secret."""
        kept, scopes = self._keys.get(identity, (self.NOBODY, None))
        is_same = hmac.compare_digest(kept, secret_sha256(secret))
        return scopes if is_same else None
