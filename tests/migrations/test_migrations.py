"""The migrations build exactly the tables, from nothing and back."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import TypeAdapter

from app.adapters.sql.engine import create_engine
from app.adapters.sql.migrating import is_current, upgrade
from app.adapters.sql.tables import metadata
from app.adapters.sql.unit_of_work import SqlUnitsOfWork
from app.domain.errors import Unavailable
from app.domain.tuning.retry import FailureCounts, RetryPolicy
from app.domain.tuning.stopping import Stopping
from app.domain.tuning.study import StudySpec
from tests.values import NOON, study_spec


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
    upgrade(url, revision="0002_study_life")
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


def test_rows_from_before_studies_had_lives_are_read(tmp_path: Path, empty_postgresql_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'segue.db'}", empty_postgresql_url):
        upgrade(url, revision="0001")
        at = NOON.strftime("%Y-%m-%d %H:%M:%S.%f" + ("" if url.startswith("sqlite") else "+00:00"))
        engine = create_engine(url)
        spec = TypeAdapter(StudySpec).dump_python(study_spec("dat_1"), mode="json")
        before = {name: value for name, value in spec.items() if name not in {"stopping", "retry"}}
        parameters = {"id": "std_1", "trial": "trl_1", "spec": json.dumps(before), "at": at}
        with engine.begin() as connection:
            for statement in (
                "INSERT INTO datasets (id, spec, state, created_at, attempt) VALUES ('dat_1', '{}', 'ready', :at, 1)",
                "INSERT INTO studies (id, dataset_id, spec, parallelism, state, created_at, started_at)"
                " VALUES (:id, 'dat_1', :spec, 1, 'running', :at, :at)",
                "INSERT INTO trials (id, study_id, role, number, name, method, state, created_at, has_vectors, attempt)"
                " VALUES (:trial, :id, 'baseline', 0, 'popular', 'most_popular', 'waiting', :at, false, 2)",
            ):
                connection.execute(sa.text(statement), parameters)
        upgrade(url)
        with SqlUnitsOfWork(engine).reading() as unit:
            study, trial = unit.studies.get("std_1"), unit.trials.get("trl_1")
        assert (study.spec.stopping, study.spec.retry) == (Stopping(), RetryPolicy())
        assert (study.stopped, study.revision, study.version) == (None, 0, 0)
        assert study.run_s(NOON + timedelta(seconds=9)) == pytest.approx(9)
        assert (trial.attempt, trial.failures, trial.not_before, trial.revision) == (2, FailureCounts(), None, 0)
        engine.dispose()


def test_a_database_that_is_away_is_reported_as_unavailable() -> None:
    with pytest.raises(Unavailable):
        upgrade("postgresql+psycopg://nobody@127.0.0.1:9/none")


def test_moves_from_before_there_were_experiments_name_none(tmp_path: Path, empty_postgresql_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'segue.db'}", empty_postgresql_url):
        upgrade(url, revision="0011_asked_by")
        at = NOON.strftime("%Y-%m-%d %H:%M:%S.%f" + ("" if url.startswith("sqlite") else "+00:00"))
        plain = sa.create_engine(url)  # on SQLite it does not look whether the model is there
        with plain.begin() as connection:
            if not url.startswith("sqlite"):
                connection.exec_driver_sql("ALTER TABLE alias_moves DROP CONSTRAINT fk_alias_moves_model_id")
            statement = (
                "INSERT INTO alias_moves (alias, generation, model_id, reason, moved_at)"
                " VALUES ('production', 1, 'mdl_1', 'promotion', :at)"
            )
            connection.execute(sa.text(statement), {"at": at})
        plain.dispose()
        upgrade(url)
        engine = create_engine(url)
        with SqlUnitsOfWork(engine).reading() as unit:
            (move,) = unit.aliases.moves("production", limit=2)
            assert (move.reason, move.moved_at, move.experiment_id) == ("promotion", NOON, None)
            assert unit.experiments.page(limit=1, cursor=None) == []
        engine.dispose()
