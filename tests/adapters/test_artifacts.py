"""What is particular to artifacts in folders: durability of names, a full disk, leavings of the dead."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters import artifacts
from app.adapters.artifacts import FolderArtifactStore
from app.domain.errors import DamagedArtifact, StorageFull

IDENTITY = "mdl_0123456789abcdef0123456789abcdef-1"
UPLOAD = "upl_0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> FolderArtifactStore:
    return FolderArtifactStore(tmp_path)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files beyond 100 kB are refused by the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, former)


def test_an_upload_on_a_full_disk_is_told_as_such_and_leaves_nothing(
    store: FolderArtifactStore, tmp_path: Path, no_room: None
) -> None:
    with pytest.raises(StorageFull):
        store.receive([b"x" * 60_000] * 2, UPLOAD, limit_bytes=1 << 30)
    assert files_below(tmp_path) == []


def test_an_upload_succeeds_once_there_is_room_again(store: FolderArtifactStore) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(StorageFull):
            store.receive([b"x" * 100], UPLOAD, limit_bytes=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.receive([b"x" * 100], UPLOAD, limit_bytes=1000)[1] == 100


def test_publishing_on_a_full_disk_is_told_as_such_and_leaves_nothing(
    store: FolderArtifactStore, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with store.stage() as staged:
            (staged / "a").write_bytes(b"content")
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            with pytest.raises(StorageFull):
                store.publish(staged, "models", IDENTITY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_below(tmp_path) == []


def test_folders_that_dead_workers_left_are_swept_and_used_ones_kept(
    store: FolderArtifactStore, tmp_path: Path
) -> None:
    old, young, busy = (tmp_path / "staging" / name for name in ("old", "young", "busy"))
    for folder in (old, young, busy):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").touch()
    long_ago = time.time() - 1000
    for folder in (old, busy):
        for path in (folder / "deep" / "file", folder / "deep", folder):
            os.utime(path, (long_ago, long_ago))
    os.utime(busy)
    assert store.sweep(older_than_s=500) == 1
    assert sorted(path.name for path in (tmp_path / "staging").iterdir()) == ["busy", "young"]


def test_a_published_folder_holds_the_files_and_a_manifest_alone(store: FolderArtifactStore, tmp_path: Path) -> None:
    with store.stage() as staged:
        (staged / "a").write_bytes(b"content")
        store.publish(staged, "models", IDENTITY)
    assert files_below(tmp_path) == [f"models/{IDENTITY}/a", f"models/{IDENTITY}/manifest.json"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read whole, in order."""
    names: list[str] = []
    sha256 = artifacts._sha256

    def noting(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(artifacts, "_sha256", noting)
    return names


def published(store: FolderArtifactStore) -> Path:
    with store.stage() as staged:
        (staged / "a").write_bytes(b"one")
        (staged / "b").write_bytes(b"two")
        store.publish(staged, "models", IDENTITY)
    return store.open("models", IDENTITY)


def test_files_that_nobody_has_written_to_since_are_not_read_again(
    store: FolderArtifactStore, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "SETTLED_NS", -(10**10))
    folder = published(store)
    reads.clear()
    assert store.open("models", IDENTITY) == folder
    assert reads == []
    time.sleep(0.05)  # a clock of files may tick no more often
    (folder / "b").write_bytes(b"tvo")
    with pytest.raises(DamagedArtifact, match="b was altered"):
        store.open("models", IDENTITY)
    assert reads == ["b"]
    (folder / "b").write_bytes(b"two")
    store.open("models", IDENTITY)
    assert reads == ["b", "b"]


def test_a_file_put_in_the_place_of_another_with_its_times_is_read(
    store: FolderArtifactStore, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "SETTLED_NS", -(10**10))
    folder = published(store)
    times = (folder / "a").stat()
    (folder.parent.parent / "other").write_bytes(b"eno")
    (folder.parent.parent / "other").replace(folder / "a")
    os.utime(folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DamagedArtifact, match="a was altered"):
        store.open("models", IDENTITY)


def test_files_just_written_are_read_each_time(store: FolderArtifactStore, reads: list[str]) -> None:
    published(store)
    reads.clear()
    store.open("models", IDENTITY)
    assert reads == ["a", "b"]


def test_what_is_remembered_is_bounded(
    store: FolderArtifactStore, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "SETTLED_NS", -(10**10))
    monkeypatch.setattr(artifacts, "MOST_REMEMBERED", 1)
    published(store)
    reads.clear()
    store.open("models", IDENTITY)
    assert reads == ["a", "b"]
    assert len(store._sound) == 1
