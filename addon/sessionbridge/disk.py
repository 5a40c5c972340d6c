"""Files for their owner alone, and off the event loop."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


async def on_thread[T](work: Callable[[], T]) -> T:
    """Unlike `asyncio.to_thread` it ends when the work has ended, also where it is cancelled: what
    was written can then be removed without a race."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def private(path: str, flags: int) -> int:
    """For `open(…, opener=private)`: a file that only its owner can read."""
    return os.open(path, flags, mode=0o600)


def write_whole(path: Path, content: bytes) -> None:
    """The whole file or nothing of it, for its owner only. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid4()}.tmp")
    try:
        with open(unfinished, "xb", opener=private) as written:
            written.write(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def private_folder(path: Path) -> None:
    """Makes it, and closes one that is there already: for its owner only, and each folder that has
    to be made above it too, whatever the umask. Raises OSError."""
    if not path.parent.exists():
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)


def make_once(file: Path, text: str) -> None:
    """Whole or not at all, and only where no other process has made it meanwhile; in a folder for
    its owner alone. Raises OSError."""
    private_folder(file.parent)
    draft = file.with_name(f"{file.name}-{uuid4()}")
    try:
        with open(draft, "x", opener=private) as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
