"""Takes away what a CLI leaves behind when it is killed, which none of its settings prevents.

Measured with 2.1.332: a record `sessions/<pid>.json` in its configuration folder, a socket, a key
to that beside the record, `<pid>.<hash of the socket's path>.key`, and a folder by which it looks
whether files can be watched. The configuration folder is the user's own. So only what names a
working directory of ours, or a socket in a folder of ours, is touched, and only once its process
has ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.claude.work_dirs import is_work_dir

_STARTED = 600.0
"""Seconds; no CLI takes as long to start."""
_LOOKED = 60.0
"""It looks at files for two."""


def user_folder(temporary_dir: Path) -> Path:
    """That of the CLI's in a folder for temporary files."""
    return temporary_dir / ("claude" if sys.platform == "win32" else f"claude-{os.getuid()}")


def remove(profile: ClaudeProfile, pid: int) -> None:
    """Of a process of ours, which has ended."""
    with suppress(OSError):
        for left in [*_of_process(profile, pid)]:
            left.unlink(missing_ok=True)
        _remove_probes(profile)


def sweep(profile: ClaudeProfile) -> None:
    """Of processes that were killed together with their proxy, and system prompts that an earlier
    version had not taken away: it handed them over in files, and may still be running."""
    for prompt in (profile.home / "run").glob("system-*.txt"):
        if _age(prompt) > _STARTED:
            prompt.unlink(missing_ok=True)
    for record in (profile.config_dir / "sessions").glob("*.json"):
        told = _ours(profile, record)
        if told is not None and _is_gone(told):
            remove(profile, told["pid"])


def _of_process(profile: ClaudeProfile, pid: int) -> Iterator[Path]:
    record = profile.config_dir / "sessions" / f"{pid}.json"
    sockets = {str(profile.temporary_dir / "cc-socks" / f"{pid}.sock")}
    if (told := _ours(profile, record)) is not None:
        yield record
        sockets.add(str(told.get("messagingSocketPath")))
    for socket in sockets:
        yield record.with_name(f"{pid}.{hashlib.sha256(socket.encode()).hexdigest()}.key")
        if Path(socket).name == f"{pid}.sock":
            yield Path(socket)


def _ours(profile: ClaudeProfile, record: Path) -> dict[str, Any] | None:
    """What the record of a process of ours says."""
    try:
        told = json.loads(record.read_bytes())
        pid, cwd = told["pid"], Path(told["cwd"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    ours = record.name == f"{pid}.json" and is_work_dir(profile.home, cwd)
    return told if ours else None


def _is_gone(told: dict[str, Any]) -> bool:
    """Its pid means nothing on another machine or in another container, nor where this one does not
    tell which processes it has."""
    try:
        here = os.readlink("/proc/self/ns/pid")
    except OSError:
        return False
    return str(told.get("pidDomain")).endswith(here) and not Path(f"/proc/{told['pid']}").exists()


def _remove_probes(profile: ClaudeProfile) -> None:
    """They do not tell whose they are."""
    for folder in user_folder(profile.temporary_dir).glob("fswatch-probe-*"):
        if _age(folder) > _LOOKED:
            (folder / "probe").unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


def _age(left: Path) -> float:
    try:
        return time.time() - left.stat().st_mtime
    except FileNotFoundError:
        return 0.0
