"""What the programs started here are doing: whether all are idle, and whether a spare is ready."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.proxy import Proxy

_STILL = 0.3
"""Seconds without work that count as idle."""
_TICKS = 2
"""Hundredths of a second of CPU each that do not count as work: idle programs have timers."""


async def still(patience: float = 20) -> None:
    """Returns when nothing that this process has started does anything. What somebody else runs on
    the machine is not waited for."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = _work()
        await asyncio.sleep(_STILL)
        after = _work()
        if all(after[pid] - before.get(pid, -100) <= _TICKS for pid in after):
            return


async def spares_of(proxy: Proxy, number: int, patience: float = 20) -> None:
    """Waits until the proxy has so many idle CLIs that no conversation has. Raises RuntimeError if
    they do not come."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        unused = [pid for pid in children(proxy.process.pid) if _unused(pid, proxy.home)]
        if len(unused) >= number:
            await still()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("no spare was ready")


async def without_cli(proxy: Proxy, patience: float = 20) -> None:
    """Waits until the proxy runs no CLI, as the next turn on a session would have to."""
    async with asyncio.timeout(patience):
        while list(children(proxy.process.pid)):  # noqa: ASYNC110  no event tells of it
            await asyncio.sleep(0.02)


def children(pid: int) -> Iterator[int]:
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            yield from map(int, listed.read_text().split())


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def _work() -> dict[int, int]:
    """Ticks of CPU that each program started here has used."""
    used = {}
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            # The name, in brackets, may hold anything; utime and stime are fields 14 and 15.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[pid] = int(fields[11]) + int(fields[12])
    return used


def _unused(pid: int, home: Path) -> bool:
    """A CLI writes its session's transcript with the first message it is given (measured)."""
    with suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        if found := re.search(r"\0--session-id[=\0]([0-9a-f-]{36})\0", line):
            return not list(home.glob(f"claude/projects/*/{found[1]}.jsonl"))
    return False
