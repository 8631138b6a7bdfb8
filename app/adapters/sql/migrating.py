"""Bringing a database to the present tables, and telling whether it is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine

from app.adapters.sql.engine import TranslatedErrors, create_engine

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def upgrade(database_url: str, *, revision: str = "head") -> None:
    """Run the migrations up to `revision`. Raises: Unavailable, StorageFull."""
    engine = create_engine(database_url)
    try:
        with TranslatedErrors(), engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    """Whether the database has every migration. Raises: Unavailable."""
    with TranslatedErrors(), engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
    return set(applied) == set(ScriptDirectory.from_config(_config()).get_heads())
