"""Transfers in SQL."""

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.rows import Rows
from app.domain.tuning.transfer import Transfer


class SqlTransfers(Rows[Transfer]):
    """Transfers."""

    table = tables.transfers
    kind = Transfer
    noun = "transfer"

    def page_of_study(self, study_id: str, *, limit: int, cursor: str | None) -> list[Transfer]:
        """Up to `limit` transfers of a study before `cursor` (an id), newest first."""
        query = sa.select(self.table).where(self.table.c.study_id == study_id).order_by(self.table.c.id.desc())
        return self.many(query.limit(limit) if cursor is None else query.where(self.table.c.id < cursor).limit(limit))
