"""What passes over the plays of an experiment found, for whoever reads it next."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014_snapshots"
down_revision = "0013_findings"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the table. Workers fill it when they next look; whoever reads an experiment before waits for the pass."""
    op.create_table(
        "experiment_snapshots",
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("cut", sa.String(length=256), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("made_at", sa.DateTime(timezone=True)),
        sa.Column("took_s", sa.Double()),
        sa.Column("found", document),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.id"],
            name=op.f("fk_experiment_snapshots_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "cut", name=op.f("pk_experiment_snapshots")),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("experiment_snapshots")
