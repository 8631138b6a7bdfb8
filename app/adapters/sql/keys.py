"""API keys in SQL."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.rows import Rows
from app.domain.keys import ApiKey


class SqlKeys(Rows[ApiKey]):
    """Keys."""

    table = tables.keys
    kind = ApiKey
    noun = "key"

    def usable(self) -> list[ApiKey]:
        """Those that are not revoked."""
        return self.many(sa.select(self.table).where(self.table.c.revoked_at.is_(None)).order_by(self.table.c.id))

    def note_use(self, used: Mapping[str, datetime]) -> None:
        """Keep when each key was last used; never an earlier instant than is kept."""
        columns = self.table.c
        for identity, at in sorted(
            used.items()
        ):  # in one order everywhere: servers do not wait for each other in a circle
            is_later = sa.or_(columns.last_used_at.is_(None), columns.last_used_at < at)
            self._connection.execute(
                sa.update(self.table).where(columns.id == identity, is_later).values(last_used_at=at)
            )
