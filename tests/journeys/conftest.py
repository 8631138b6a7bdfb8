"""Houses on each kind of database, and the listening that they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.lane_word2vec import load_kernel
from tests.journeys.house import House, opened, settings_for
from tests.journeys.listening import Compiled, compiled_ring


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernel() -> None:
    """The trainer's compiled code is on disk: no worker that a test waits for has to make it."""
    load_kernel()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Some thousand plays of two hundred songs."""
    return compiled_ring(tmp_path_factory.mktemp("listening"))


@pytest.fixture
def house(database_url: str, compiled: Compiled, tmp_path: Path) -> Iterator[House]:
    """A house on SQLite and on PostgreSQL in turn."""
    with opened(settings_for(tmp_path, compiled, database_url=database_url), compiled) as found:
        yield found


@pytest.fixture
def sqlite_house(sqlite_url: str, compiled: Compiled, tmp_path: Path) -> Iterator[House]:
    """A house on SQLite."""
    with opened(settings_for(tmp_path, compiled, database_url=sqlite_url), compiled) as found:
        yield found
