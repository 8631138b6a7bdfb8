"""What every adapter that writes files needs: bytes that are really on the disk, and a full disk named as such."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.domain.errors import StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether the system refused to write for want of space.

    NumPy's `tofile` drops the error number and says how much of the array it wrote.
    """
    return error.errno in _FULL or (error.errno is None and "requested and" in str(error))


@contextmanager
def naming_a_full_disk() -> Iterator[None]:
    """Turns the system's error into ours. Raises: StorageFull."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFull("No space is left where Segue keeps its files.") from error


def sync_file(path: Path) -> None:
    """Return once the file's bytes are on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Return once the folder's names are on the disk."""
    _sync(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
