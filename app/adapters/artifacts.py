"""Immutable folders of files on one file system that the API and all workers share.

    <root>/staging/<random>/            being written; removed when left, or swept once nobody has touched it for long
    <root>/<kind>/<identity>/           published: the files and manifest.json
    <root>/uploads/<identity>           a client's bytes

A folder appears under its final name complete or not at all: its files are flushed, the manifest is written last, and
one rename publishes it. The manifest is compared with sizes and SHA-256 before anything is parsed (273 of 400
single-bit flips of a Faiss file load silently). What a process has read so is not read again while inode, size and
times are the same: a model that an alias goes back to is there at once.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.adapters.disk import naming_a_full_disk, sync_file, sync_folder
from app.domain.errors import DamagedArtifact, TooLarge
from app.domain.models import StoredFile

MANIFEST = "manifest.json"
FORMAT = 1
KINDS = frozenset({"datasets", "trials", "ranks", "models", "neighbours"})
SWEEP_AFTER_S = 86_400.0

_IDENTITY = re.compile(r"[a-z]{1,32}_[0-9a-z]{1,64}(-[0-9]{1,9})?")
_STAGING = "staging"
_UPLOADS = "uploads"
_CHUNK_BYTES = 1 << 20

SETTLED_NS = 2_000_000_000
"""A file written to longer ago than this has other times once it is written to again, however coarse they are."""

MOST_REMEMBERED = 10_000
"""Files that a process remembers to be sound; then it begins anew."""

_MANIFEST_LIMIT_BYTES = 1 << 20


class FolderArtifactStore:
    """The store in a folder; see the module header."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._sound: dict[Path, tuple[object, ...]] = {}

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """A new empty folder, removed on leaving unless published. Raises: StorageFull."""
        with naming_a_full_disk():
            folder = self._folder(_STAGING) / secrets.token_hex(16)
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, kind: str, identity: str) -> tuple[StoredFile, ...]:
        """Write the manifest, flush all to disk, move the folder to its final name and give its files.

        What was there before is replaced. Publishing the same staged folder again changes nothing, so a report
        that an outage cut off may be repeated. Raises: StorageFull.
        """
        final = self._path(kind, identity)
        if not staged.is_dir():
            return self._published_before(staged, final)
        with naming_a_full_disk():
            files = tuple(_sealed(path) for path in sorted(staged.iterdir()) if path.name != MANIFEST)
            _write_manifest(staged, files)
            sync_folder(staged)
            self._folder(kind)
            self._move(staged, final)
            sync_folder(final.parent)
        return files

    def open(self, kind: str, identity: str) -> Path:
        """The folder, once its files are what the manifest says. Raises: DamagedArtifact."""
        folder = self._path(kind, identity)
        files = _read_manifest(folder)["files"]
        listed = {file.name for file in files}
        present = {path.name for path in folder.iterdir()} - {MANIFEST}
        if listed != present:
            names = ", ".join(sorted(listed ^ present))
            raise DamagedArtifact(f"{kind}/{identity}: files missing or not in the manifest: {names}.")
        for file in files:
            self._verify(folder / file.name, file, where=f"{kind}/{identity}")
        return folder

    def _verify(self, path: Path, file: StoredFile, *, where: str) -> None:
        """Read the file, unless that was done before and nobody has written to it since. Raises: DamagedArtifact."""
        if path.is_symlink() or not path.is_file():
            raise DamagedArtifact(f"{where}: {file.name} is not a plain file.")
        state = path.stat()
        if state.st_size != file.size_bytes:
            raise DamagedArtifact(f"{where}: {file.name} has {state.st_size} bytes instead of {file.size_bytes}.")
        marks = (file.sha256, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if self._sound.get(path) == marks:
            return
        _compare(path, file, where=where)
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED_NS:
            if len(self._sound) >= MOST_REMEMBERED:
                self._sound.clear()
            self._sound[path] = marks

    def remove(self, kind: str, identity: str) -> None:
        """Remove the folder if it is there: under its final name it is gone at once."""
        self._discard(self._path(kind, identity))

    def untouched(self, kind: str, *, for_s: float) -> list[str]:
        """The identities of the kind's folders that nobody has written to for so many seconds."""
        oldest_s = time.time() - for_s
        folder = self._folder(kind)
        return sorted(
            path.name for path in folder.iterdir() if _IDENTITY.fullmatch(path.name) and _touched_s(path) <= oldest_s
        )

    def receive(self, chunks: Iterable[bytes], identity: str, *, limit_bytes: int) -> tuple[Path, int, str]:
        """Store an upload's bytes; gives path, size and SHA-256. Raises: TooLarge, StorageFull."""
        final = self._upload(identity)
        digest = hashlib.sha256()
        size_bytes = 0
        with self.stage() as staged, naming_a_full_disk():
            partial = staged / "upload"
            with partial.open("xb") as file:
                for chunk in chunks:
                    size_bytes += len(chunk)
                    if size_bytes > limit_bytes:
                        raise TooLarge(limit_bytes=limit_bytes)
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._folder(_UPLOADS) / final.name)
            sync_folder(final.parent)
        return final, size_bytes, digest.hexdigest()

    def upload_path(self, identity: str) -> Path:
        """Where an upload's bytes are. Raises: DamagedArtifact when they are gone."""
        path = self._upload(identity)
        if not path.is_file():
            raise DamagedArtifact(f"The bytes of upload {identity!r} are gone.")
        return path

    def _upload(self, identity: str) -> Path:
        return self._root / _UPLOADS / _checked(identity)

    def remove_upload(self, identity: str) -> None:
        """Remove an upload's bytes if they are there."""
        self._upload(identity).unlink(missing_ok=True)

    def sweep(self, *, older_than_s: float = SWEEP_AFTER_S) -> int:
        """Remove what dead workers left half-written, once untouched for that long; how many folders that were."""
        swept = 0
        for folder in self._folder(_STAGING).iterdir():
            if time.time() - _touched_s(folder) > older_than_s:
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        return swept

    def _path(self, kind: str, identity: str) -> Path:
        if kind not in KINDS:
            msg = f"There are no artifacts of kind {kind!r}."
            raise ValueError(msg)
        return self._root / kind / _checked(identity)

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
        return folder

    def _move(self, staged: Path, final: Path) -> None:
        while True:
            try:
                staged.rename(final)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                self._discard(final)
            else:
                return

    def _discard(self, folder: Path) -> None:
        """Move the folder away in one step, then remove it."""
        aside = self._folder(_STAGING) / secrets.token_hex(16)
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    @staticmethod
    def _published_before(staged: Path, final: Path) -> tuple[StoredFile, ...]:
        if (final / MANIFEST).is_file():
            manifest = _read_manifest(final)
            if manifest["staged"] == staged.name:
                return tuple(manifest["files"])
        msg = f"There is no staged folder {staged.name!r} to publish."
        raise ValueError(msg)


def _checked(identity: str) -> str:
    if _IDENTITY.fullmatch(identity) is None:
        msg = f"{identity[:80]!r} is not an identity that Segue made."
        raise ValueError(msg)
    return identity


def _touched_s(folder: Path) -> float:
    """When the folder or anything below it was last written, in seconds since the epoch."""
    newest = 0.0
    for parent, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            with suppress(FileNotFoundError):
                newest = max(newest, os.lstat(os.path.join(parent, name)).st_mtime)
    return newest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sealed(path: Path) -> StoredFile:
    """The file's facts, once its bytes are on the disk."""
    if path.is_symlink() or not path.is_file():
        msg = f"An artifact holds plain files alone, not {path.name!r}."
        raise ValueError(msg)
    sync_file(path)
    return StoredFile(name=path.name, size_bytes=path.stat().st_size, sha256=_sha256(path))


def _write_manifest(folder: Path, files: tuple[StoredFile, ...]) -> None:
    listed = [{"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]
    content = json.dumps({"format": FORMAT, "staged": folder.name, "files": listed}, indent=1)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest with its files as values. Raises: DamagedArtifact."""
    name = f"{folder.parent.name}/{folder.name}"
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
            raise DamagedArtifact(f"{name}: the manifest is too large.")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise DamagedArtifact(f"{name}: the manifest has an unknown format.")
        files = [
            StoredFile(name=str(file["name"]), size_bytes=int(file["size_bytes"]), sha256=str(file["sha256"]))
            for file in manifest["files"]
        ]
    except OSError as error:
        raise DamagedArtifact(f"{name}: there is no readable manifest.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"{name}: the manifest is damaged.") from error
    return {"staged": manifest.get("staged"), "files": files}


def _compare(path: Path, file: StoredFile, *, where: str) -> None:
    try:
        sha256 = _sha256(path)
    except OSError as error:
        raise DamagedArtifact(f"{where}: {file.name} cannot be read.") from error
    if sha256 != file.sha256:
        raise DamagedArtifact(f"{where}: {file.name} was altered.")
