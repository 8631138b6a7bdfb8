"""What a study goes through: the rule that stopped it, its revisions, its time running; and its trials' failures.

The columns that may not be null have defaults in the database: a worker of the version before, which may still run when
the database is brought up to date, writes rows without them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002_study_life"
down_revision = "0001"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

OF_STUDIES = ("stopped", "revisions", "cloned_from", "version", "ran_s", "running_since")
OF_TRIALS = ("revision", "failures", "not_before")


def upgrade() -> None:
    """Add the columns. A study that runs is taken to have run since it was started."""
    op.add_column("studies", sa.Column("stopped", document))
    op.add_column("studies", sa.Column("revisions", document, nullable=False, server_default="[]"))
    op.add_column("studies", sa.Column("cloned_from", sa.String(length=64)))
    op.add_column("studies", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("ran_s", sa.Double(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("running_since", sa.DateTime(timezone=True)))
    op.add_column("trials", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trials", sa.Column("failures", document, nullable=False, server_default="{}"))
    op.add_column("trials", sa.Column("not_before", sa.DateTime(timezone=True)))
    op.execute("UPDATE studies SET running_since = started_at WHERE state = 'running'")


def downgrade() -> None:
    """Remove them."""
    for column in reversed(OF_TRIALS):
        op.drop_column("trials", column)
    for column in reversed(OF_STUDIES):
        op.drop_column("studies", column)
