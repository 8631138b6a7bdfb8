"""The one API key of the tests: for everything, the same in every database."""

from datetime import UTC, datetime

from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.bootstrap import Container
from app.domain.keys import ApiKey, Scope, secret_sha256, written

SECRET = "only-for-tests".ljust(43, "x")
KEY_ID = "key_" + "0" * 32
KEY = written(KEY_ID, SECRET)
HEADERS = {"Authorization": f"Bearer {KEY}"}


def give_key(container: Container) -> None:
    """Store the key, unless it is there; the service knows it from now on."""
    key = ApiKey(
        id=KEY_ID,
        name="tests",
        scopes=(Scope.ADMIN,),
        secret_sha256=secret_sha256(SECRET).hex(),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    with SqlUnitsOfWork(container.engine)() as unit:
        if KEY_ID not in {usable.id for usable in unit.keys.usable()}:
            unit.keys.add(key)
            unit.commit()
    container.known_keys.look()
