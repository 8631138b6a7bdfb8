"""Answers already given, in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into


class SqlIdempotency:
    """Idempotency keys."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reserve(self, key: str, *, request_sha256: str, at: datetime) -> tuple[str, dict[str, Any]] | None:
        """Take the key for this unit of work; what it was used for before, if it was: request hash and answer.

        PostgreSQL makes a second request with the key wait here until the first has committed or given up.
        """
        insert = insert_into(self._connection, tables.idempotency_keys)
        taken = self._connection.execute(
            insert.values(key=key, request_sha256=request_sha256, created_at=at)
            .on_conflict_do_nothing(index_elements=["key"])
            .returning(tables.idempotency_keys.c.key)
        ).first()
        if taken is not None:
            return None
        columns = tables.idempotency_keys.c
        row = self._connection.execute(
            sa.select(columns.request_sha256, columns.answer).where(columns.key == key)
        ).one()
        return row.request_sha256, row.answer

    def answer(self, key: str, answer: dict[str, Any]) -> None:
        """Store the answer of a key reserved in this unit of work."""
        columns = tables.idempotency_keys.c
        self._connection.execute(sa.update(tables.idempotency_keys).where(columns.key == key).values(answer=answer))
