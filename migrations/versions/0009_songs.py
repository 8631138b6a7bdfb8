"""The catalogue: what is said of songs, which are denied, what new ones were played beside; plays by song."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009_songs"
down_revision = "0008_neighbour_tables"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Add the tables, with the catalogue's revision at 0, and the index that finds the plays of a song."""
    op.create_table(
        "catalogue_songs",
        sa.Column("song_id", sa.String(length=256), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said", document),
        sa.Column("denial_reason", sa.Text()),
        sa.Column("denied_at", sa.DateTime(timezone=True)),
        sa.Column("beside", document),
        sa.Column("beside_source", sa.String(length=16)),
        sa.PrimaryKeyConstraint("song_id", name=op.f("pk_catalogue_songs")),
        sa.UniqueConstraint("revision", name=op.f("uq_catalogue_songs_revision")),
    )
    revisions = op.create_table(
        "catalogue_revisions",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_revisions")),
    )
    op.bulk_insert(revisions, [{"id": 1, "revision": 0}])
    op.create_index(op.f("ix_plays_song_id_played_at_ms"), "plays", ["song_id", "played_at_ms"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index(op.f("ix_plays_song_id_played_at_ms"), table_name="plays")
    op.drop_table("catalogue_revisions")
    op.drop_table("catalogue_songs")
