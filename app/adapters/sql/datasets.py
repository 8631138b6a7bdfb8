"""Uploads and datasets in SQL."""

import sqlalchemy as sa

from app.adapters.sql import tables
from app.adapters.sql.rows import LeasedRows, Rows
from app.domain.datasets import Dataset, DatasetState, Upload


class SqlUploads(Rows[Upload]):
    """Uploads."""

    table = tables.uploads
    kind = Upload
    noun = "upload"


class SqlDatasets(LeasedRows[Dataset]):
    """Datasets."""

    table = tables.datasets
    kind = Dataset
    noun = "dataset"

    def next_claimable(self) -> Dataset | None:
        """The oldest queued dataset that nobody else is claiming, locked."""
        return self.first(
            sa.select(self.table)
            .where(self.table.c.state == DatasetState.QUEUED)
            .order_by(self.table.c.id)
            .with_for_update(skip_locked=True)
        )
