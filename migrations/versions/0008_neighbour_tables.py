"""Tables of neighbours that are built after their models are ready, and when a model's are to be computed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008_neighbour_tables"
down_revision = "0007_keys"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the table and the column. Models of before keep the neighbours that their own files hold."""
    op.add_column("models", sa.Column("neighbours", sa.String(length=32)))
    op.create_table(
        "neighbour_tables",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("n_neighbours", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("files", document, nullable=False),
        sa.Column("facts", document),
        sa.Column("failure", document),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=200)),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
        sa.Column("lease_s", sa.Double()),
        sa.Column("progress", document),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_neighbour_tables_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_neighbour_tables")),
        sa.UniqueConstraint("model_id", name=op.f("uq_neighbour_tables_model_id")),
    )
    op.create_index(op.f("ix_neighbour_tables_state"), "neighbour_tables", ["state"])
    op.create_index(op.f("ix_neighbour_tables_lease_expires_at"), "neighbour_tables", ["lease_expires_at"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("neighbour_tables")
    op.drop_column("models", "neighbours")
