"""The server on a fresh SQLite database, and one whose content no test changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.world import World, container_on, copied, world_on


@pytest.fixture(scope="package")
def standing(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with nothing in it, that no test changes: of what is true of the app, whatever it holds."""
    folder = tmp_path_factory.mktemp("standing")
    container = container_on(copied(migrated_file, folder), folder / "store")
    with world_on(container) as world:
        yield world


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """A server with nothing in it."""
    container = container_on(sqlite_url, tmp_path / "store")
    with world_on(container) as world:
        yield world


@pytest.fixture
def client(world: World) -> TestClient:
    """Asks it."""
    return world.client
