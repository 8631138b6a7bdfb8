"""A dataset is hashed by its first trial, and again only when its files have changed."""

from pathlib import Path

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.errors import DamagedArtifact
from worker.verified import VerifiedArtifacts

NAME = "dat_0123456789abcdef0123456789abcdef-1"


class CountingStore(FolderArtifactStore):
    """A store that counts how often it verifies."""

    n_opened = 0

    def open(self, kind: str, identity: str) -> Path:
        self.n_opened += 1
        return super().open(kind, identity)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path)
    with store.stage() as staged:
        (staged / "plays.npy").write_bytes(b"content")
        store.publish(staged, "datasets", NAME)
    return store


def test_untouched_files_are_verified_once(store: CountingStore) -> None:
    verified = VerifiedArtifacts(store)
    assert verified.open("datasets", NAME) == verified.open("datasets", NAME)
    assert store.n_opened == 1


def test_touched_files_are_verified_again(store: CountingStore) -> None:
    verified = VerifiedArtifacts(store)
    folder = verified.open("datasets", NAME)
    (folder / "plays.npy").write_bytes(b"c0ntent")
    with pytest.raises(DamagedArtifact):
        verified.open("datasets", NAME)


def test_files_that_are_gone_are_missed(store: CountingStore) -> None:
    verified = VerifiedArtifacts(store)
    verified.open("datasets", NAME)
    store.remove("datasets", NAME)
    with pytest.raises(DamagedArtifact):
        verified.open("datasets", NAME)
