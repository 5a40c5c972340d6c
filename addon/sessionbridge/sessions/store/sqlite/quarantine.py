"""Getting a corrupt database out of the way without losing anything that is not corrupt.

SQLite finds `-wal` and `-shm` by name, so a database that is renamed while another process opens
it could be read with its successor's log (https://www.sqlite.org/howtocorrupt.html, section 2).
Hence the promise of this module: whoever opens, makes or moves the file holds `guard`, and a file
is known by its `identity`, not by its name.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# The database goes first: what a crash leaves behind is then an orphan, which `create` moves too.
_PARTS = ("", "-wal", "-shm", "-journal")
_POLL_SECONDS = 0.01

Identity = tuple[int, int]


def identity(path: Path) -> Identity | None:
    """Which file is at `path` now; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


@contextmanager
def guard(path: Path, timeout: float) -> Iterator[None]:
    """One process or thread at a time; the system lets go when the holder dies.

    A file of its own, which is never removed: removing a lock file is a race in itself.
    Raises TimeoutError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Polled, because no blocking lock call takes a timeout on every system, and a stopped
        # holder must not stop everyone else for ever.
        deadline = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process is opening {path}")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def create(path: Path) -> Path | None:
    """Make an empty file that only its owner can read, unless there is one; needs `guard`.

    SQLite would give it the umask's mode. An existing file is not even opened: closing it again
    would drop the locks that SQLite holds on it in this process. Returns where a log without its
    database was moved to, because SQLite must not find it beside the new one.
    """
    if path.exists():
        return None
    orphan = move_aside(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    return orphan


def move_aside(path: Path, why: str = "corrupt") -> Path | None:
    """Rename the database and its sidecars to a name nobody has; needs `guard`.

    The parts keep their endings, so SQLite can still open them. None if nothing was there.
    """
    parts = [part for part in _PARTS if os.path.lexists(f"{path}{part}")]
    if not parts:
        return None
    aside = _free_name(path, why)
    for part in parts:
        # A process that closes the database at this moment removes its sidecars itself.
        with suppress(FileNotFoundError):
            os.rename(f"{path}{part}", f"{aside}{part}")
    return aside


def _free_name(path: Path, why: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    stem = f"{path.name}.{why}-{stamp}-{os.getpid()}"
    for number in itertools.count():
        aside = path.with_name(f"{stem}.{number}" if number else stem)
        if not any(os.path.lexists(f"{aside}{part}") for part in _PARTS):
            return aside
    raise AssertionError("unreachable")
