"""Who asked for a model: the key that its alias's move is told by."""

import sqlalchemy as sa
from alembic import op

revision = "0011_asked_by"
down_revision = "0010_promotion"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Nobody is known to have asked for the models of before."""
    op.add_column("models", sa.Column("asked_by", sa.String(length=200)))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("models", "asked_by")
