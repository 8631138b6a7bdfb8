"""What studies took over from earlier ones, in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.domain.tuning.warm_start import Inherited, Source

_NAMES = tuple(field.name for field in fields(Inherited))


class SqlInherited:
    """Values and points that warm starts gave; they go with the study that has them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, inherited: Sequence[Inherited]) -> None:
        """Insert them."""
        if inherited:
            rows = [{name: getattr(found, name) for name in _NAMES} for found in inherited]
            self._connection.execute(sa.insert(tables.inherited), rows)

    def observations(self, study_id: str) -> list[Inherited]:
        """The values that a study took over, by number."""
        return self._many(self._of_study(study_id).where(tables.inherited.c.number < 0))

    def sources(self, study_id: str) -> list[Source]:
        """The studies that gave a study something, the first one's trials first."""
        columns = tables.inherited.c
        rows = self._connection.execute(
            sa.select(columns.source_study_id, columns.source_study_name, sa.func.count())
            .where(columns.study_id == study_id)
            .group_by(columns.source_study_id, columns.source_study_name)
            .order_by(sa.func.min(columns.number))
        )
        return [Source(study_id=source, name=name, n_trials=n) for source, name, n in rows]

    def page(self, study_id: str, *, limit: int, after: int | None) -> list[Inherited]:
        """Up to `limit` with a number above `after`, by number."""
        query = self._of_study(study_id).limit(limit)
        return self._many(query if after is None else query.where(tables.inherited.c.number > after))

    def _of_study(self, study_id: str) -> sa.Select[Any]:
        columns = tables.inherited.c
        return sa.select(tables.inherited).where(columns.study_id == study_id).order_by(columns.number)

    def _many(self, query: sa.Select[Any]) -> list[Inherited]:
        return [_value(row) for row in self._connection.execute(query).mappings()]


def _value(row: Mapping[Any, Any]) -> Inherited:
    return Inherited(**{name: row[name] for name in _NAMES})
