"""The engine: how each database is opened, and how its refusals become ours."""

import json
import sqlite3
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine, make_url

from app.domain.errors import Conflict, StorageFull, Unavailable

CONNECT_TIMEOUT_S = 2
"""A database that does not answer is reported as unavailable after so long."""

BUSY_TIMEOUT_MS = 10_000
"""How long a SQLite writer waits for another."""

WRITES = "segue_writes"
"""Execution option of a connection whose transaction may write."""


def create_engine(url: str, *, pool_size: int = 10) -> Engine:
    """An engine for SQLite (WAL, synchronous=FULL, one writer at a time) or PostgreSQL."""
    parsed = make_url(url)
    serializer = partial(json.dumps, allow_nan=False)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            parsed, json_serializer=serializer, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, pool_size=pool_size
        )
        sa.event.listen(engine, "connect", _open_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    return sa.create_engine(
        parsed,
        json_serializer=serializer,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 5,
            "tcp_user_timeout": CONNECT_TIMEOUT_S * 1000,
        },
    )


def _open_sqlite(connection: Any, _record: Any) -> None:  # noqa: ANN401 - the driver's own types
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails at once when another writer came between.
    writes = connection.get_execution_options().get(WRITES, True)
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")  # by SQLAlchemy it takes 50 us, of 300 of a whole read


AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, sqlite3.OperationalError)


class TranslatedErrors:
    """Turns the database's refusals into ours; a class, for a generator takes four times as long to enter and leave."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Raises: Conflict, StorageFull, Unavailable."""
        if error is None:
            return
        if isinstance(error, exc.IntegrityError):
            msg = "Another request changed the same thing at the same moment: read it and try again."
            raise Conflict(msg) from error
        if isinstance(error, AWAY):
            text = str(error).lower()
            if "disk is full" in text or "no space left" in text or "diskfull" in text:
                raise StorageFull("The database has no space left.") from error
            raise Unavailable("The database cannot be reached.") from error
