"""What finished experiments found, offline beside online."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013_findings"
down_revision = "0012_experiments"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the table. Experiments that are over are found out about when the ledger is next read."""
    op.create_table(
        "experiment_findings",
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("goal", sa.String(length=64), nullable=False),
        sa.Column("comparisons", document, nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f("fk_experiment_findings_experiment_id")
        ),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiment_findings")),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("experiment_findings")
