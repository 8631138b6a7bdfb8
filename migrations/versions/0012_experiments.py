"""Experiments, who was exposed to which variant, and which experiment moved an alias."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012_experiments"
down_revision = "0011_asked_by"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables and the column. No experiment moved the aliases of before."""
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("spec", document, nullable=False),
        sa.Column("allocations", document, nullable=False),
        sa.Column("pinned", document, nullable=False),
        sa.Column("layer", sa.String(length=64)),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("started_at", instant),
        sa.Column("stopped_at", instant),
        sa.Column("decided_at", instant),
        sa.Column("decisions", document, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=200)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
    )
    op.create_index(op.f("ix_experiments_state"), "experiments", ["state"])
    op.create_table(
        "exposures",
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("variant", sa.String(length=64), nullable=False),
        sa.Column("segment", sa.String(length=256)),
        sa.Column("exposed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("crossed_at_ms", sa.BigInteger()),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_exposures_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "user_id", name=op.f("pk_exposures")),
    )
    op.create_index(op.f("ix_exposures_user_id"), "exposures", ["user_id"])
    op.add_column("alias_moves", sa.Column("experiment_id", sa.String(length=64)))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("alias_moves", "experiment_id")
    op.drop_table("exposures")
    op.drop_table("experiments")
