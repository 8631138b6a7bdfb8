"""The migrations build exactly the tables, from nothing and back."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.adapters.sql.engine import create_engine
from app.adapters.sql.migrating import is_current, upgrade
from app.adapters.sql.tables import metadata
from app.domain.errors import Unavailable


def test_the_migrated_database_has_no_drift_from_the_tables(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_migrated_database_is_current_and_migrating_again_changes_nothing(database_url: str) -> None:
    engine = create_engine(database_url)
    assert is_current(engine)
    upgrade(database_url)
    assert is_current(engine)
    engine.dispose()


def test_a_lease_of_the_version_before_has_no_length(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'segue.db'}"
    upgrade(url, revision="0001")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO datasets (id, spec, state, created_at, attempt, worker_id, lease_expires_at) "
            "VALUES ('dat_1', '{}', 'preparing', '2026-01-01 12:00:00', 1, 'w', '2026-01-01 12:00:30')"
        )
    upgrade(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT worker_id, lease_s FROM datasets").all() == [("w", None)]
    engine.dispose()


def test_an_empty_database_is_not_current_until_it_is_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'segue.db'}"
    engine = create_engine(url)
    assert not is_current(engine)
    upgrade(url)
    assert is_current(engine)
    assert set(sa.inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_database_that_is_away_is_reported_as_unavailable() -> None:
    with pytest.raises(Unavailable):
        upgrade("postgresql+psycopg://nobody@127.0.0.1:9/none")
