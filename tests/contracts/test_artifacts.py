"""What every artifact store promises; the folder store is the only one there is."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.adapters.artifacts import FolderArtifactStore
from app.domain.errors import DamagedArtifact, TooLarge
from app.domain.ports import ArtifactStore

IDENTITY = "trl_0123456789abcdef0123456789abcdef-1"
UPLOAD = "upl_0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FolderArtifactStore(tmp_path / "store")


def publish(store: ArtifactStore, content: bytes = b"content", *, identity: str = IDENTITY) -> Path:
    with store.stage() as staged:
        (staged / "a.npy").write_bytes(content)
        (staged / "b.json").write_bytes(b"{}")
        store.publish(staged, "trials", identity)
    return store.open("trials", identity)


def test_published_files_open_as_they_were_written(store: ArtifactStore) -> None:
    folder = publish(store, b"some bytes")
    assert (folder / "a.npy").read_bytes() == b"some bytes"


def test_publishing_tells_name_size_and_checksum(store: ArtifactStore) -> None:
    with store.stage() as staged:
        (staged / "empty.npy").touch()
        (file,) = store.publish(staged, "models", IDENTITY)
    assert (file.name, file.size_bytes) == ("empty.npy", 0)
    assert file.sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_folders_that_nobody_wrote_to_for_so_long_are_told(store: ArtifactStore) -> None:
    assert store.untouched("trials", for_s=0) == []
    older = publish(store)
    publish(store, identity="trl_ff-2")
    for path in (older, *older.iterdir()):
        os.utime(path, (time.time() - 60, time.time() - 60))
    assert store.untouched("trials", for_s=30) == [IDENTITY]
    assert store.untouched("trials", for_s=0) == sorted([IDENTITY, "trl_ff-2"])
    assert store.untouched("models", for_s=0) == []


def test_a_staged_folder_is_gone_when_it_was_not_published(store: ArtifactStore) -> None:
    with store.stage() as staged:
        (staged / "half").write_bytes(b"written")
    assert not staged.exists()


def test_a_staged_folder_is_gone_when_writing_failed(store: ArtifactStore) -> None:
    with pytest.raises(RuntimeError), store.stage() as staged:
        raise RuntimeError
    assert not staged.exists()


def test_publishing_a_staged_folder_again_gives_its_files_again(store: ArtifactStore) -> None:
    with store.stage() as staged:
        (staged / "a.npy").write_bytes(b"content")
        first = store.publish(staged, "trials", IDENTITY)
        assert store.publish(staged, "trials", IDENTITY) == first


def test_a_name_published_by_somebody_else_is_not_mistaken_for_ones_own(store: ArtifactStore) -> None:
    publish(store)
    with store.stage() as staged:
        staged.rmdir()
        with pytest.raises(ValueError, match="no staged folder"):
            store.publish(staged, "trials", IDENTITY)


def test_the_leavings_of_an_earlier_attempt_are_replaced(store: ArtifactStore) -> None:
    publish(store, b"old")
    assert (publish(store, b"new") / "a.npy").read_bytes() == b"new"


def test_nothing_under_a_name_is_damage(store: ArtifactStore) -> None:
    with pytest.raises(DamagedArtifact, match="no readable manifest"):
        store.open("trials", IDENTITY)


def flip_bit(folder: Path) -> None:
    content = bytearray((folder / "a.npy").read_bytes())
    content[3] ^= 1
    (folder / "a.npy").write_bytes(content)


def cut_short(folder: Path) -> None:
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:-1])


def lose_a_file(folder: Path) -> None:
    (folder / "a.npy").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "c.npy").write_bytes(b"")


def link_out(folder: Path) -> None:
    (folder / "a.npy").rename(folder.parent / "elsewhere")
    (folder / "a.npy").symlink_to(folder.parent / "elsewhere")


def lose_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8")[:-5], encoding="utf-8")


def change_the_format(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"format": 99}), encoding="utf-8")


def drop_a_field(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format": 1, "files": [{"name": "a.npy"}]}', encoding="utf-8")


def list_nothing_useful(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]", encoding="utf-8")


def blow_up_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b" " * (2 << 20))


@pytest.mark.parametrize(
    "damage",
    [
        flip_bit,
        cut_short,
        lose_a_file,
        add_a_file,
        link_out,
        lose_the_manifest,
        cut_the_manifest,
        change_the_format,
        drop_a_field,
        list_nothing_useful,
        blow_up_the_manifest,
    ],
)
def test_damaged_files_are_refused(store: ArtifactStore, damage: Callable[[Path], None]) -> None:
    damage(publish(store, b"content"))
    with pytest.raises(DamagedArtifact):
        store.open("trials", IDENTITY)


def test_removed_files_are_gone_and_removing_again_is_fine(store: ArtifactStore) -> None:
    folder = publish(store)
    store.remove("trials", IDENTITY)
    store.remove("trials", IDENTITY)
    assert not folder.exists()


HOSTILE = [
    "",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "trl_0123/../../x",
    "trl_",
    "TRL_01",
    "trl_01\n",
    "trl_01\x00",
    "trl_" + "0" * 100,
    "trl_01-",
]


@pytest.mark.parametrize("identity", HOSTILE)
def test_what_is_no_identity_never_becomes_a_path(store: ArtifactStore, identity: str) -> None:
    with pytest.raises(ValueError, match="not an identity"):
        store.open("trials", identity)
    with pytest.raises(ValueError, match="not an identity"):
        store.upload_path(identity)
    with pytest.raises(ValueError, match="not an identity"):
        store.receive([b""], identity, limit_bytes=1)


def test_an_unknown_kind_never_becomes_a_path(store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="kind"):
        store.remove("../secrets", IDENTITY)


def test_folders_cannot_be_published(store: ArtifactStore) -> None:
    with store.stage() as staged:
        (staged / "inner").mkdir()
        with pytest.raises(ValueError, match="plain files"):
            store.publish(staged, "trials", IDENTITY)


# Uploads


def test_an_upload_is_stored_whole(store: ArtifactStore) -> None:
    path, size_bytes, sha256 = store.receive([b"ab", b"", b"c"], UPLOAD, limit_bytes=3)
    assert path.read_bytes() == b"abc"
    assert store.upload_path(UPLOAD) == path
    assert size_bytes == 3
    assert sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_upload_over_the_limit_is_refused_and_not_read_to_its_end(store: ArtifactStore) -> None:
    n_read = 0

    def chunks() -> Iterator[bytes]:
        nonlocal n_read
        for _ in range(100):
            n_read += 1
            yield b"1234"

    with pytest.raises(TooLarge) as caught:
        store.receive(chunks(), UPLOAD, limit_bytes=10)
    assert caught.value.limit_bytes == 10
    assert n_read == 3
    with pytest.raises(DamagedArtifact):
        store.upload_path(UPLOAD)


def test_an_upload_cut_off_by_the_client_leaves_nothing(store: ArtifactStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.receive(chunks(), UPLOAD, limit_bytes=10)
    with pytest.raises(DamagedArtifact):
        store.upload_path(UPLOAD)


def test_a_removed_upload_is_gone(store: ArtifactStore) -> None:
    path, _, _ = store.receive([b"abc"], UPLOAD, limit_bytes=3)
    store.remove_upload(UPLOAD)
    store.remove_upload(UPLOAD)
    assert not path.exists()
