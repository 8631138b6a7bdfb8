"""What finished experiments found, in SQL: one row each, written once."""

from collections.abc import Sequence
from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into
from app.domain.experiments.calibration import Finding


class SqlFindings:
    """Findings."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Finding]:
        """Every one, the newest experiment first."""
        table = tables.experiment_findings
        query = sa.select(table).order_by(table.c.experiment_id.desc())
        return [Finding(**row) for row in self._connection.execute(query).mappings()]

    def add(self, findings: Sequence[Finding]) -> None:
        """Store those of experiments that have none; of two servers that found the same the first has its way."""
        table = tables.experiment_findings
        for finding in findings:
            row = {field.name: getattr(finding, field.name) for field in fields(Finding)}
            insert = insert_into(self._connection, table).values(row)
            self._connection.execute(insert.on_conflict_do_nothing(index_elements=["experiment_id"]))
