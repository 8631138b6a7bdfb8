"""Exposures in SQL: one row a user and experiment, written at the first answer."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.adapters.sql import tables
from app.adapters.sql.plays import insert_into, json_rows
from app.domain.errors import Conflict
from app.domain.experiments.exposure import Exposed, Exposure, ExposureVerdict

TOLD = ("user_id", "variant", "segment", "exposed_at_ms", "revision")

KEY = ["experiment_id", "user_id"]

FIND = sa.select(tables.exposures).where(
    tables.exposures.c.experiment_id == sa.bindparam("experiment_id"),
    tables.exposures.c.user_id == sa.bindparam("user_id"),
)
"""One user's; made once, for making it takes as long as reading it."""


def _first(insert: postgresql.Insert | sqlite.Insert) -> sa.sql.dml.ReturningInsert[tuple[str]]:
    table = tables.exposures
    values: dict[str, Any] = {name: sa.bindparam(name) for name in ("experiment_id", *TOLD)}
    return insert.values(values).on_conflict_do_nothing(index_elements=KEY).returning(table.c.user_id)


FIRST = {
    "postgresql": _first(postgresql.insert(tables.exposures)),
    "sqlite": _first(sqlite.insert(tables.exposures)),
}
"""Stores one of a user who has none; made once: a request waits for it."""


class SqlExposures:
    """Exposures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, experiment_id: str, user_id: str) -> Exposure | None:
        """The user's exposure to an experiment."""
        asked = {"experiment_id": experiment_id, "user_id": user_id}
        row = self._connection.execute(FIND, asked).mappings().first()
        return None if row is None else Exposure(**row)

    def of_users(self, experiment_id: str, user_ids: Sequence[str]) -> dict[str, Exposure]:
        """The exposures of users who have one."""
        columns = tables.exposures.c
        query = sa.select(tables.exposures).where(
            columns.experiment_id == experiment_id, columns.user_id.in_(list(user_ids))
        )
        return {row["user_id"]: Exposure(**row) for row in self._connection.execute(query).mappings()}

    def of_user(self, user_id: str) -> list[Exposure]:
        """All exposures of a user, by experiment."""
        columns = tables.exposures.c
        query = sa.select(tables.exposures).where(columns.user_id == user_id).order_by(columns.experiment_id)
        return [Exposure(**row) for row in self._connection.execute(query).mappings()]

    def expose(self, exposure: Exposure) -> Exposure:
        """Store it unless the user has one already; what is stored."""
        values = {name: getattr(exposure, name) for name in ("experiment_id", *TOLD)}
        if self._connection.execute(FIRST[self._connection.dialect.name], values).first() is not None:
            return exposure
        stored = self.find(exposure.experiment_id, exposure.user_id)
        if stored is None:  # removed in between
            raise Conflict("The user was erased at the same moment: try again.")
        return stored

    def record(self, experiment_id: str, told: Sequence[Exposure]) -> list[Exposed]:
        """Store those of users who were not exposed; what is stored of each afterwards, in order.

        A user who was seen with another variant before has crossed, the first time at the instant told.
        """
        if not told:
            return []
        first_of = {exposure.user_id: exposure for exposure in reversed(told)}
        new = self._add(experiment_id, [first_of[user_id] for user_id in sorted(first_of)])
        stored = self.of_users(experiment_id, [user_id for user_id in first_of if user_id not in new])
        stored |= {user_id: first_of[user_id] for user_id in new}
        exposed = []
        for exposure in told:
            found = stored[exposure.user_id]
            if exposure.variant != found.variant:
                verdict = ExposureVerdict.CROSSED
            elif exposure.user_id in new and exposure is first_of[exposure.user_id]:
                verdict = ExposureVerdict.RECORDED
            else:
                verdict = ExposureVerdict.KNOWN
            exposed.append((exposure, verdict))
        crossed = {each.user_id: each.exposed_at_ms for each, verdict in reversed(exposed) if verdict == "crossed"}
        stored |= self._cross(experiment_id, crossed)
        return [Exposed(exposure=stored[each.user_id], verdict=verdict) for each, verdict in exposed]

    def _add(self, experiment_id: str, exposures: Sequence[Exposure]) -> set[str]:
        """Insert what is not there, in one order everywhere; the users who are new."""
        table = tables.exposures
        document = json.dumps([[getattr(each, name) for name in TOLD] for each in exposures], ensure_ascii=False)
        rows = json_rows(self._connection, document, [table.c[name] for name in TOLD])
        sent = rows.add_columns(sa.literal(experiment_id, type_=table.c.experiment_id.type))
        stored = self._connection.execute(
            insert_into(self._connection, table)
            .from_select([*TOLD, "experiment_id"], sent)
            .on_conflict_do_nothing(index_elements=KEY)
            .returning(table.c.user_id)
        )
        return set(stored.scalars())

    def _cross(self, experiment_id: str, crossed: dict[str, int]) -> dict[str, Exposure]:
        """Note when users were first seen with another variant; their exposures."""
        columns = tables.exposures.c
        for user_id, at_ms in sorted(crossed.items()):
            self._connection.execute(
                sa.update(tables.exposures)
                .where(
                    columns.experiment_id == experiment_id,
                    columns.user_id == user_id,
                    columns.crossed_at_ms.is_(None),
                )
                .values(crossed_at_ms=at_ms)
            )
        return self.of_users(experiment_id, list(crossed)) if crossed else {}

    def counts(self, experiment_id: str) -> dict[str, tuple[int, int]]:
        """By variant: users exposed, and those of them who crossed."""
        columns = tables.exposures.c
        query = (
            sa.select(columns.variant, sa.func.count(), sa.func.count(columns.crossed_at_ms))
            .where(columns.experiment_id == experiment_id)
            .group_by(columns.variant)
        )
        return {variant: (n, n_crossed) for variant, n, n_crossed in self._connection.execute(query)}

    def delete_of(self, user_id: str) -> int:
        """Remove all exposures of a user; how many there were."""
        removed = sa.delete(tables.exposures).where(tables.exposures.c.user_id == user_id)
        return self._connection.execute(removed).rowcount
