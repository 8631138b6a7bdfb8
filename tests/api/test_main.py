"""The app as a server makes it from its environment."""

import time
from pathlib import Path

import pytest

from app.adapters.sql.migrating import upgrade
from app.bootstrap import Container
from app.config import load
from app.main import app_from_environment
from tests.api.world import client_of
from tests.keys import give_key


def test_the_environment_makes_an_app_that_follows_the_aliases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGUE_DATA_DIR", str(tmp_path))
    upgrade(f"sqlite:///{tmp_path / 'segue.db'}")
    container = Container(load())
    give_key(container)
    container.stop()
    with client_of(app_from_environment()) as client:
        for _ in range(100):
            if (ready := client.get("/health/ready")).status_code == 200:
                break
            time.sleep(0.05)
        assert ready.json()["database"] == "reachable"
        assert client.get("/v1/datasets").json() == {"items": [], "next_cursor": None}
    assert (tmp_path / "segue.db").exists()
