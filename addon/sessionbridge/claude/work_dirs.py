"""Where the Claude CLI works. By login it tells the model the path of that folder, so the path
names neither the user nor the home: `/var/tmp/sessionbridge-<hash of the home's path>/claude`.

A transcript belongs to a working directory (it lies in `<Claude's folder>/projects/<its path, with
dashes>`), so the path is the same after each start. Where there is no such folder to be had (on
Windows, or while /var/tmp is not to be written to) it is `<home>/work`, as it was everywhere up to
0.1.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from sessionbridge.disk import private_folder
from sessionbridge.model import MemoryKind

_BESIDE = Path("/var/tmp")
"""The same for every process, whatever TMPDIR says, and cleaned more seldom than /tmp."""
_PREFIX = "sessionbridge-"
_HOME = "home"

KEPT: tuple[MemoryKind, ...] = ("session", "continue")
"""The kinds of memory that have transcripts; the third has the first one's folder."""


def root(home: Path) -> Path:
    """The folder of the working directories."""
    nameless = _nameless(home)
    return nameless if nameless is not None and _is_usable(nameless) else home / "work"


def roots(home: Path) -> list[Path]:
    """The one in use, and where else it may have been."""
    used = root(home)
    return [used, *(one for one in _all(home) if one != used)]


def work_dir(root: Path, memory: MemoryKind) -> Path:
    """Each kind of memory has its own: `--continue` goes on with the newest transcript of one."""
    return root / ("continue" if memory == "continue" else "claude")


def is_work_dir(home: Path, cwd: Path) -> bool:
    """Whether a CLI of this home works there, or has."""
    ours = (work_dir(one.resolve(), memory) for one in _all(home) for memory in KEPT)
    return cwd.is_absolute() and cwd.resolve() in ours


def make(home: Path, work_dir: Path) -> None:
    """Raises OSError."""
    private_folder(home)
    private_folder(work_dir)
    if work_dir.parent == _nameless(home):
        with suppress(FileExistsError):
            # Tells a person whose it is, and `sweep`.
            (work_dir.parent / _HOME).symlink_to(home.resolve())


def sweep() -> None:
    """Takes away those of homes that are no more."""
    for folder in _BESIDE.glob(f"{_PREFIX}*"):
        link = folder / _HOME
        with suppress(OSError):
            if link.is_symlink() and not link.exists():
                for memory in KEPT:
                    with suppress(FileNotFoundError):
                        work_dir(folder, memory).rmdir()
                link.unlink()
                folder.rmdir()


def _all(home: Path) -> list[Path]:
    nameless = _nameless(home)
    return [home / "work"] if nameless is None else [nameless, home / "work"]


def _nameless(home: Path) -> Path | None:
    if sys.platform == "win32":
        return None
    return _BESIDE / f"{_PREFIX}{hashlib.sha256(bytes(home.resolve())).hexdigest()[:16]}"


def _is_usable(folder: Path) -> bool:
    """Anybody may make a folder of this name there."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return os.access(folder.parent, os.W_OK | os.X_OK)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
