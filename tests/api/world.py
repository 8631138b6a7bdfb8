"""A server in this process: the app on the real services, a worker that the test plays, and models held in memory."""

import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.adapters.sql import tables
from app.bootstrap import Container
from app.config import load
from app.domain.datasets import Dataset
from app.domain.models import IndexFacts
from app.domain.plays import HeardSong
from app.domain.serving import LiveModel, Song
from app.main import create_app
from app.services.catalogue import CatalogueService
from app.services.leasing import artifact_name
from tests.fakes.live_models import BruteForceModel
from tests.keys import HEADERS, give_key
from tests.values import outcome, statistics

PLAYS_CSV = b"song_id,session_id\na,1\nb,1\nc,1\n"

MAX_UPLOAD_BYTES = 50_000
MAX_BODY_BYTES = 20_000

INDEX = IndexFacts(kind="flat", n_songs=5, dim=2, n_neighbours=4, recall=1.0)

SONGS = (
    Song(song_id="a", title="Alpha", artist="One", n_plays=9, details={"language": "ar"}),
    Song(song_id="b", title="Beta", artist="One", n_plays=7),
    Song(song_id="AC/DC", title="Gamma", artist="Two", n_plays=5),
    Song(song_id="AC/neighbours", title="Delta", artist=None, n_plays=4),
    Song(song_id="schön 🎵?#%", title=None, artist=None, n_plays=1),
)


def five_songs(_files: Path, model_id: str) -> LiveModel:
    """A model of five songs on a quarter of the unit circle, in order; `u` has heard the first."""
    angles = np.linspace(0, np.pi / 2, len(SONGS))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return BruteForceModel(model_id, SONGS, vectors, histories={"u": [HeardSong("a", 1_700_000_000_000)]})


@dataclass
class World:
    """The server and what it stands on."""

    container: Container
    app: FastAPI
    client: TestClient
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def staged(self) -> Path:
        """A folder with a file in it, as a worker's child leaves one."""
        folder = self.container.settings.data_dir / f"made-{next(self.numbers)}"
        folder.mkdir(parents=True)
        (folder / "vectors.npy").write_bytes(b"vectors")
        return folder

    def ready_dataset(self, segments: Mapping[str, int] | None = None) -> str:
        """The id of a dataset that a worker has prepared; `segments` are validation pairs by segment."""
        created = self.client.post("/v1/datasets", json={"name": "spring", "plays": {"source": "plays"}})
        assert created.status_code == 202
        work = self.container.datasets.claim("worker")
        assert work is not None
        dataset = self.container.datasets.complete(
            work.claim, staged=self.staged(), statistics=statistics(segments), fingerprint="f" * 64
        )
        assert isinstance(dataset, Dataset)
        return dataset.id

    def study(self, **changes: Any) -> str:  # noqa: ANN401 - any JSON
        """The id of a queued study of one random trial."""
        body = {"algorithm": "random", "n_initial": 1, "n_iterations": 0, "baselines": False, **changes}
        created = self.client.post("/v1/studies", json={"dataset_id": self.ready_dataset(), **body})
        assert created.status_code == 202, created.text
        study_id: str = created.json()["id"]
        return study_id

    def completed_study(self) -> str:
        """The id of a study that has run."""
        study_id = self.study()
        for _ in range(2):  # the trial and its confirmation
            work = self.container.trials.claim("worker")
            assert work is not None
            self.container.trials.complete(work.claim, outcome(0.2), staged=self.staged())
        return study_id

    def built_model(self, alias: str = "production", *, is_damaged: bool = False) -> str:
        """The id of a model that a worker has built and that is live under the alias, unless its file is damaged."""
        promoted = self.client.post(f"/v1/studies/{self.completed_study()}/promote", json={"alias": alias})
        assert promoted.status_code == 202
        work = self.container.models.claim("worker")
        assert work is not None
        self.container.models.complete(work.claim, staged=self.staged(), index=INDEX)
        if is_damaged:
            files = self.container.settings.data_dir / "models" / artifact_name(work.model.id, work.claim.attempt)
            (files / "vectors.npy").write_bytes(b"vectorz")
        self.container.live.look()
        model_id: str = promoted.json()["id"]
        return model_id

    def state(self) -> dict[str, Any]:
        """Every row of every table, and every file: what must not change when a request is refused."""
        with self.container.engine.connect() as connection:
            rows = {
                table.name: [tuple(map(repr, row)) for row in connection.execute(sa.select(*_lasting(table)))]
                for table in tables.metadata.sorted_tables
            }
        root = self.container.settings.data_dir
        files = sorted(
            str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and "segue.db" not in path.name
        )
        return {**rows, "files": files}


def _lasting(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns that only requests change; that a key was used is noted at leisure."""
    return [column for column in table.columns if column.name != "last_used_at"]


def copied(migrated_file: Path, folder: Path) -> str:
    """The URL of a database in the folder, as migrations leave one."""
    path = folder / "segue.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


def container_on(database_url: str, data_dir: Path, **settings: Any) -> Container:  # noqa: ANN401 - any setting
    """The real services, but for models that are made up."""
    settings_of_world = load(
        env_file=None,
        data_dir=data_dir,
        database_url=database_url,
        sources={"plays": data_dir / "plays.csv"},
        max_upload_bytes=MAX_UPLOAD_BYTES,
        max_body_bytes=MAX_BODY_BYTES,
        alias_poll_s=60,
        **settings,
    )
    container = Container(settings_of_world, load_model=five_songs)
    give_key(container)
    catalogue = CatalogueService(container.catalogue._units, live=container.live, poke=container.live.look)
    container.catalogue = catalogue
    return container


def app_on(container: Container) -> FastAPI:
    """The app."""
    return create_app(container)


@contextmanager
def world_on(container: Container, *, raise_server_exceptions: bool = True) -> Iterator[World]:
    """A server on these services, while it runs."""
    app = app_on(container)
    with client_of(app, raise_server_exceptions=raise_server_exceptions) as client:
        yield World(container, app, client)


def client_of(app: FastAPI, *, raise_server_exceptions: bool = True) -> TestClient:
    """Asks the app, with the key of the tests."""
    return TestClient(app, raise_server_exceptions=raise_server_exceptions, headers=HEADERS)
