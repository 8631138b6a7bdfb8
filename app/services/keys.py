"""API keys: made, seen and revoked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Conflict
from app.domain.keys import MOST_KEYS, ApiKey, Scope, secret_sha256, written
from app.domain.ports import Ids
from app.domain.repositories import UnitsOfWork
from app.services.paging import Page, page_of


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made, and as its owner sends it: nobody is told again."""

    key: ApiKey
    written: str

    def __repr__(self) -> str:
        """Without the secret, wherever it is printed."""
        return f"NewKey({self.key.id})"


class KeyService:
    """Keys. `new_secret` makes 256 random bits, in 43 letters, digits, `-` and `_`."""

    def __init__(self, units: UnitsOfWork, *, ids: Ids, new_secret: Callable[[], str]) -> None:
        self._units = units
        self._ids = ids
        self._new_secret = new_secret

    def create(self, *, name: str, scopes: Sequence[Scope]) -> NewKey:
        """A new key. Raises: InvalidRequest; Conflict when there are too many."""
        secret = self._new_secret()
        with self._units() as unit:
            if len(unit.keys.usable()) >= MOST_KEYS:
                raise Conflict(f"There are {MOST_KEYS} keys already: revoke one that is not used.")
            key = ApiKey(
                id=self._ids.new("key"),
                name=name,
                scopes=tuple(scopes),
                secret_sha256=secret_sha256(secret).hex(),
                created_at=unit.now(),
            )
            unit.keys.add(key)
            unit.commit()
        return NewKey(key, written(key.id, secret))

    def get(self, key_id: str) -> ApiKey:
        """One key. Raises: NotFound."""
        with self._units.reading() as unit:
            return unit.keys.get(key_id)

    def list(self, *, limit: int, cursor: str | None = None) -> Page[ApiKey]:
        """A page of the keys, the newest first, those that were revoked too."""
        with self._units.reading() as unit:
            return page_of(unit.keys.page(limit=limit + 1, cursor=cursor), limit=limit, cursor=lambda key: key.id)

    def revoke(self, key_id: str) -> ApiKey:
        """The key, which nobody can use any more; revoking it again changes nothing. Raises: NotFound."""
        with self._units() as unit:
            key = unit.keys.lock(key_id).revoked(unit.now())
            unit.keys.save(key)
            unit.commit()
        return key

    def usable(self) -> Sequence[ApiKey]:
        """Every key that is not revoked."""
        with self._units.reading() as unit:
            return unit.keys.usable()

    def note_use(self, used: Mapping[str, datetime]) -> None:
        """Keep when keys were last used."""
        with self._units() as unit:
            unit.keys.note_use(used)
            unit.commit()
