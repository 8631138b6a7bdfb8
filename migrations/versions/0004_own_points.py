"""Who gave a trial's point, the token of the client that holds it, and what a study took over from earlier ones.

`is_external` has a default in the database: a server of the version before, which may still run when the database is
brought up to date, writes studies without it, and none of them is.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004_own_points"
down_revision = "0003_lease_lengths"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("studies", sa.Column("is_external", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("trials", sa.Column("origin", sa.String(length=32)))
    op.add_column("trials", sa.Column("lease_token_sha256", sa.String(length=64)))
    op.create_table(
        "inherited",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source_study_id", sa.String(length=64), nullable=False),
        sa.Column("source_study_name", sa.String(length=200), nullable=False),
        sa.Column("source_trial_id", sa.String(length=64), nullable=False),
        sa.Column("source_number", sa.Integer(), nullable=False),
        sa.Column("parameters", document, nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("changed", document, nullable=False),
        sa.Column("outcome", document),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_inherited_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_inherited")),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("inherited")
    op.drop_column("trials", "lease_token_sha256")
    op.drop_column("trials", "origin")
    op.drop_column("studies", "is_external")
