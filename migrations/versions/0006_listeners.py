"""What users did with songs and for how long, who is to be forgotten, and whether histories may be cached."""

import sqlalchemy as sa
from alembic import op

revision = "0006_listeners"
down_revision = "0005_trust"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the tables. What was sent before were plays."""
    op.add_column("plays", sa.Column("event_type", sa.String(length=32), nullable=False, server_default="play"))
    op.add_column("plays", sa.Column("duration_s", sa.Double()))
    op.add_column("plays", sa.Column("attribution", sa.String(length=256)))
    op.create_table(
        "erased_users",
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("erased_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erased_users")),
        sa.UniqueConstraint("revision", name=op.f("uq_erased_users_revision")),
    )
    op.create_table(
        "history_cache",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("off_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history_cache")),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("history_cache")
    op.drop_table("erased_users")
    op.drop_column("plays", "attribution")
    op.drop_column("plays", "duration_s")
    op.drop_column("plays", "event_type")
