"""What moves aliases: gates and what they showed, bundles of models by segment, shadows, retrainings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010_promotion"
down_revision = "0009_songs"
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and the tables. Moves of before had no gates and one model each."""
    op.add_column("models", sa.Column("segment", sa.String(length=256)))
    op.add_column("models", sa.Column("override_reason", sa.String(length=500)))
    for name in ("latency", "rival", "gates", "promotion"):
        op.add_column("models", sa.Column(name, document))
    op.add_column("aliases", sa.Column("segments", document, nullable=False, server_default="{}"))
    op.add_column("alias_moves", sa.Column("segments", document, nullable=False, server_default="{}"))
    op.add_column("alias_moves", sa.Column("reports", document, nullable=False, server_default="[]"))
    op.add_column("alias_moves", sa.Column("override_reason", sa.String(length=500)))
    op.add_column("alias_moves", sa.Column("moved_by", sa.String(length=200)))
    op.create_table(
        "shadows",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("challenger_alias", sa.String(length=64)),
        sa.Column("challenger_model_id", sa.String(length=64)),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.ForeignKeyConstraint(["alias"], ["aliases.name"], name=op.f("fk_shadows_alias")),
        sa.ForeignKeyConstraint(["challenger_model_id"], ["models.id"], name=op.f("fk_shadows_challenger_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadows")),
        sa.UniqueConstraint("alias", name=op.f("uq_shadows_alias")),
    )
    op.create_table(
        "shadow_tallies",
        sa.Column("shadow_id", sa.String(length=64), nullable=False),
        sa.Column("server_id", sa.String(length=64), nullable=False),
        sa.Column("tally", document, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.ForeignKeyConstraint(
            ["shadow_id"], ["shadows.id"], name=op.f("fk_shadow_tallies_shadow_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shadow_id", "server_id", name=op.f("pk_shadow_tallies")),
    )
    op.create_table(
        "retrainings",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("spec", document, nullable=False),
        sa.Column("source_model_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("alias", sa.String(length=64)),
        sa.Column("tick_at", instant),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("finished_at", instant),
        sa.Column("n_sent_plays", sa.Integer()),
        sa.Column("dataset_id", sa.String(length=64)),
        sa.Column("study_id", sa.String(length=64)),
        sa.Column("model_id", sa.String(length=64)),
        sa.Column("failure", document),
        sa.ForeignKeyConstraint(["source_model_id"], ["models.id"], name=op.f("fk_retrainings_source_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retrainings")),
        sa.UniqueConstraint("alias", "tick_at", name=op.f("uq_retrainings_alias_tick_at")),
    )
    op.create_index(op.f("ix_retrainings_state"), "retrainings", ["state"])


def downgrade() -> None:
    """Remove them."""
    for table in ("retrainings", "shadow_tallies", "shadows"):
        op.drop_table(table)
    for name in ("moved_by", "override_reason", "reports", "segments"):
        op.drop_column("alias_moves", name)
    op.drop_column("aliases", "segments")
    for name in ("promotion", "gates", "rival", "latency", "override_reason", "segment"):
        op.drop_column("models", name)
