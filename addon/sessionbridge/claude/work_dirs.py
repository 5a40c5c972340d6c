"""Where the Claude CLI works. By login it tells the model the path of that folder, so the path
names neither the user nor the home: `/var/tmp/sessionbridge-<random>/claude`.

A transcript belongs to a working directory (it lies in `<Claude's folder>/projects/<its path, with
dashes>`), so the path is chosen once for a home, by the first proxy, and noted there. Where no such
folder can be made, as on Windows, it is `<home>/work`, as it was everywhere up to 0.1.

Nodes that share a database work in one folder, which that names. What a home has chosen stays
noted: the conversations of its own database are there.

Each provider has folders of its own there, so that those with one config folder do not have each
other's transcripts.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

from sessionbridge.disk import private, private_folder, write_whole
from sessionbridge.errors import ClaudeFailed
from sessionbridge.model import MemoryKind

_BESIDE = Path("/var/tmp")
"""The same for every process, whatever TMPDIR says, and cleaned more seldom than /tmp."""
_PREFIX = "sessionbridge-"
_HOME = "home"
_CHOSEN = "work_dir"

NAME = "work-dir"
"""Of the folder that nodes have in common, in their database."""

KEPT: tuple[MemoryKind, ...] = ("session", "continue")
"""The kinds of memory that have transcripts; the third has the first one's folder."""

DEFAULT = "claude"
"""The provider whose folders have been there before others were."""

_OURS = re.compile(r"(claude|continue)(-[0-9a-f]{12})?")


def root(home: Path) -> Path:
    """The folder of the working directories. Raises OSError."""
    try:
        return Path((home / _CHOSEN).read_text("utf-8"))
    except FileNotFoundError:
        return before(home)


def before(home: Path) -> Path:
    """Where it is until one is chosen."""
    return home / "work"


def chosen(home: Path) -> Path:
    """The same, chosen now where it has not been. Raises OSError."""
    if not (home / _CHOSEN).exists():
        if not home.exists():
            private_folder(home)
        folder = _nameless(home)
        if not _note(home, folder or before(home)) and folder:
            _remove(folder)  # another proxy was faster
    return root(home)


def of_nodes(home: Path, common: Path) -> Path:
    """The folder of nodes that work in `common`: a CLI that goes on with a conversation tells the
    model where the working directory was another (measured with 2.1.332). In one that this machine
    cannot have it does not work. Raises OSError."""
    can_be = common.parent == _BESIDE and common.name.startswith(_PREFIX)
    return common if can_be else root(home)


def take_over(home: Path, common: Path) -> None:
    """Has the home work there alone, too, from now on: it has the conversations of these nodes.
    Raises OSError."""
    folder = of_nodes(home, common)
    if folder != root(home):
        write_whole(home / _CHOSEN, str(folder).encode())
        with suppress(FileNotFoundError):  # made once somebody works there
            if _is_ours(folder):
                _link(folder, home)


def work_dir(root: Path, memory: MemoryKind, provider: str = DEFAULT) -> Path:
    """Each kind of memory has its own: `--continue` goes on with the newest transcript of one. So
    has each provider, by a hash: the model is told the path, and a CLI takes `a.b` and `a-b` for
    one folder."""
    own = "" if provider == DEFAULT else f"-{sha256(provider.encode()).hexdigest()[:12]}"
    return root / f"{'continue' if memory == 'continue' else 'claude'}{own}"


def is_work_dir(home: Path, cwd: Path) -> bool:
    """Whether a CLI of this home works there, or has, for whatever provider."""
    there = cwd.resolve()
    folder = there.parent
    if not cwd.is_absolute() or not _OURS.fullmatch(there.name):
        return False
    own = root(home).resolve(), before(home).resolve()
    return folder in own or _link_of(folder, home).is_symlink()


def make(home: Path, work_dir: Path) -> None:
    """It may have been cleaned away. Raises OSError, and `ClaudeFailed` where somebody else has
    made it since."""
    folder = work_dir.parent
    if folder != before(home):
        folder.mkdir(0o700, exist_ok=True)
        if not _is_ours(folder):
            raise ClaudeFailed(
                f"{folder}, where the Claude CLI is to work, is not this user's alone; have it "
                "taken away."
            )
        _link(folder, home)
    private_folder(work_dir)


def sweep() -> None:
    """Takes away those of homes that are no more."""
    for folder in _BESIDE.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            homes = _links(folder) if _is_ours(folder) else []
            if homes and not any(home.exists() for home in homes):
                _remove(folder)


def _nameless(home: Path) -> Path | None:
    """A new one; None where none can be made."""
    if sys.platform == "win32":
        return None
    try:
        folder = Path(mkdtemp(prefix=_PREFIX, dir=_BESIDE))
    except OSError:
        return None
    _link(folder, home)
    return folder


def _link(folder: Path, home: Path) -> None:
    """Tells a person whose it is, and `sweep` which homes it is to be kept for."""
    with suppress(FileExistsError):
        _link_of(folder, home).symlink_to(home.resolve())


def _link_of(folder: Path, home: Path) -> Path:
    digest = sha256(os.fsencode(home.resolve())).hexdigest()
    return folder / f"{_HOME}-{digest[:8]}"


def _links(folder: Path) -> list[Path]:
    return [link for link in folder.glob(f"{_HOME}*") if link.is_symlink()]


def _note(home: Path, folder: Path) -> bool:
    """Whether it is the one from now on."""
    part = home / f".{_CHOSEN}-{uuid4()}"
    with open(part, "w", encoding="utf-8", opener=private) as file:
        file.write(str(folder))
    try:
        (home / _CHOSEN).hardlink_to(part)  # unlike a rename it leaves one that is there
    except FileExistsError:
        return False
    except OSError:
        part.replace(home / _CHOSEN)  # there are no links on this disk
    finally:
        part.unlink(missing_ok=True)
    return True


def _remove(folder: Path) -> None:
    for path in folder.glob("*"):
        if _OURS.fullmatch(path.name):
            path.rmdir()
    for link in _links(folder):
        link.unlink()
    folder.rmdir()


def _is_ours(folder: Path) -> bool:
    """Anybody may make a folder there, or a link."""
    status = folder.lstat()
    closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
    return closed and (sys.platform == "win32" or status.st_uid == os.getuid())
