"""What coverage wrote: each operating-system process leaves a file, and tests kill some while they write it.

Coverage writes its SQLite files without a journal, so a file cut short is damaged; combining one fails the whole run.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from coverage import CoverageData
from coverage.exceptions import CoverageException


def drop_damaged(folder: Path) -> list[Path]:
    """Delete the coverage files of the folder that cannot be combined; gives their paths."""
    damaged = [path for path in sorted(folder.glob(".coverage.*")) if not _is_whole(path)]
    for path in damaged:
        path.unlink()
    return damaged


def _is_whole(path: Path) -> bool:
    scratch = CoverageData(no_disk=True)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return False
        scratch.update(CoverageData(str(path), read_only=True), map_path=str)
    except (CoverageException, sqlite3.Error):
        return False
    finally:
        scratch.close(force=True)
    return True
