"""How long each lease is, so that whoever looks on knows how long to wait; null where an earlier version wrote it."""

import sqlalchemy as sa
from alembic import op

revision = "0003_lease_lengths"
down_revision = "0002_study_life"
branch_labels = None
depends_on = None

TABLES = ("datasets", "trials", "models")


def upgrade() -> None:
    """Add the column."""
    for table in TABLES:
        op.add_column(table, sa.Column("lease_s", sa.Double()))


def downgrade() -> None:
    """Remove it."""
    for table in reversed(TABLES):
        op.drop_column(table, "lease_s")
