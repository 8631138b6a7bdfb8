"""Reads that a request waits for: one statement on the driver itself, with no unit of work around it.

A user's newest plays by way of a unit of work take 250 microseconds on SQLite, of which the database spends 20; so they
take 60, and 30 by a connection that is kept for it. The text is what SQLAlchemy makes of the same query, once; what the
driver raises becomes what SQLAlchemy makes of it.
"""

import threading
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler


class QuickRead:
    """One query with named parameters, ready to be asked on an engine.

    On SQLite one connection is kept for it, outside the pool, until the engine is disposed of: the event loop asks it.
    Whoever asks at the same time takes one of the pool, as everybody does on PostgreSQL, where a connection may be cut
    off and a read leaves a transaction open.
    """

    def __init__(self, engine: Engine, query: sa.Select[Any]) -> None:
        compiled: Any = query.compile(dialect=engine.dialect)
        self._engine = engine
        self._driver: Any = engine.dialect.loaded_dbapi
        self._compiled: SQLCompiler = compiled
        self._fixed = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        self._keeps_one = engine.dialect.name == "sqlite"
        self._kept: PoolProxiedConnection | None = None
        self._kept_in_use = threading.Lock()
        sa.event.listen(engine, "engine_disposed", lambda _: self._let_go())

    def rows(self, **parameters: object) -> Sequence[tuple[Any, ...]]:
        """All rows, as the driver gives them. Raises: sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError."""
        named = {**self._fixed, **parameters}
        places = self._compiled.positiontup
        try:
            return self._read(named if places is None else tuple(named[name] for name in places))
        except self._driver.Error as error:
            raise exc.DBAPIError.instance(self._compiled.string, None, error, self._driver.Error) from error

    def _read(self, parameters: Any) -> Sequence[tuple[Any, ...]]:  # noqa: ANN401 - names or places, as the driver likes
        if self._keeps_one and self._kept_in_use.acquire(blocking=False):
            try:
                return self._read_by_kept(parameters)
            finally:
                self._kept_in_use.release()
        return self._read_by_pool(parameters)

    def _read_by_kept(self, parameters: Any) -> Sequence[tuple[Any, ...]]:  # noqa: ANN401 - see above
        if self._kept is None:
            self._kept = self._engine.raw_connection()
            self._kept.detach()
        connection: Any = self._kept.dbapi_connection
        try:
            found: Sequence[tuple[Any, ...]] = connection.execute(self._compiled.string, parameters).fetchall()
        except self._driver.Error:
            self._let_go()
            raise
        return found

    def _read_by_pool(self, parameters: Any) -> Sequence[tuple[Any, ...]]:  # noqa: ANN401 - see above
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(self._compiled.string, parameters)
            return cursor.fetchall()
        except self._driver.Error:
            connection.invalidate()  # it may be cut off
            raise
        finally:
            connection.close()  # to the pool, which ends what the driver began

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
