"""What results rest on: seeds of replicates, samples of transfers, the events of a study, and its transfers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005_trust"
down_revision = "0004_own_points"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the columns and the tables. Studies of before have no events: their streams begin with the next change."""
    op.add_column("trials", sa.Column("seed", sa.Integer()))
    op.add_column("trials", sa.Column("sample_fraction", sa.Double()))
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("document", document, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_events_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_study_id_id"), "events", ["study_id", "id"])
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("spec", document, nullable=False),
        sa.Column("points", document, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_transfers_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
    )
    op.create_index(op.f("ix_transfers_study_id"), "transfers", ["study_id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("transfers")
    op.drop_table("events")
    op.drop_column("trials", "sample_fraction")
    op.drop_column("trials", "seed")
