"""Which of a database's files keep it from being written. SQLite says no more than that one does,
and the two it keeps beside the database have modes and owners of their own."""

from __future__ import annotations

import os
from pathlib import Path


def closed(path: Path) -> tuple[Path, ...]:
    """The files and the folder that this user may not read and write, of those that are there."""
    beside = (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal", ".lock"))
    files = [file for file in (path, *beside) if os.path.exists(file)]
    shut = [file for file in files if not os.access(file, os.R_OK | os.W_OK)]
    if os.path.isdir(path.parent) and not os.access(path.parent, os.W_OK | os.X_OK):
        shut.append(path.parent)
    return tuple(shut)
