"""How many Claude CLIs this machine has memory for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PROCESS = 110 * 1024 * 1024
"""Bytes that one more CLI takes while it waits; those it shares with others are not among them
(proportional set size, measured with 2.1.332)."""

_AT_ONCE = 4
"""New conversations that find a process when they come at the same moment."""

_ASSUMED = 8 * 1024**3
_CGROUP = Path("/sys/fs/cgroup")


def processes() -> int:
    """As many as fill a quarter of the memory, and never fewer than two."""
    return max(2, _total() // 4 // PROCESS)


def spares() -> int:
    """As many as are of use, but no more than a quarter of all, and never none."""
    return max(1, min(_AT_ONCE, processes() // 4))


def has_room() -> bool:
    """Whether one more would leave as much free again."""
    return _available() >= 2 * PROCESS


def _total() -> int:
    physical = _pages("SC_PHYS_PAGES")
    return min(physical, _cgroup("memory.max", physical))


def _available() -> int:
    """What programs can have without swapping: caches count as free."""
    free = _pages("SC_AVPHYS_PAGES")
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free = int(line.split()[1]) * 1024
    limit = _cgroup("memory.max", 0)
    return min(free, limit - _cgroup("memory.current", 0)) if limit else free


def _pages(name: str) -> int:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # Windows has neither
        return _ASSUMED


def _cgroup(name: str, otherwise: int) -> int:
    """A container's own limit, where there is one (cgroup v2)."""
    with suppress(OSError, ValueError):
        return int((_CGROUP / name).read_text())
    return otherwise
