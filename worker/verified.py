"""Artifacts opened once: a large dataset is hashed by its first trial, not by every trial of a study."""

import threading
from pathlib import Path

from app.domain.ports import ArtifactStore

_Seen = frozenset[tuple[str, int, int, int]]


class VerifiedArtifacts:
    """Opens artifacts, and trusts what it has verified as long as no file's inode, size or time has changed."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._seen: dict[tuple[str, str], tuple[Path, _Seen]] = {}
        self._lock = threading.Lock()

    def open(self, kind: str, identity: str) -> Path:
        """The folder, once its files are what the manifest says. Raises: DamagedArtifact."""
        with self._lock:
            known = self._seen.get((kind, identity))
        if known is not None and _look(known[0]) == known[1]:
            return known[0]
        folder = self._store.open(kind, identity)
        with self._lock:
            self._seen[kind, identity] = (folder, _look(folder))
        return folder


def _look(folder: Path) -> _Seen:
    """What tells one state of the folder from another; nothing when it cannot be looked at."""
    try:
        facts = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:
        return frozenset()
    return frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in facts)
