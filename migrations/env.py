"""Runs the migrations on the connection it is given, or on the database that the settings name."""

from alembic import context
from sqlalchemy.engine import Connection

from app.adapters.sql.engine import create_engine
from app.adapters.sql.tables import metadata


def migrate(connection: Connection) -> None:
    """Bring the connection's database to the revision asked for."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    from app.config import load  # only the alembic command line needs the settings

    with create_engine(load().database_url).begin() as own:
        migrate(own)
