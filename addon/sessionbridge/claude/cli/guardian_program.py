"""A process of its own, started by `guardian.py`: kills what it was told of once the proxy is gone.

It reads pids from standard input, one a line: that of a process to watch, and the same with a minus
sign when that one has ended. Nothing of the project is imported, and little else: it stays as long
as the proxy, and is to start quickly and need little memory.
"""

from __future__ import annotations

import os
import signal
import sys


def started(pid: int) -> bytes | None:
    """When that process started: another one may be given its pid. None where there is no /proc,
    and for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # Its second field is the program's name in brackets and can hold anything.
            return stat.read().rpartition(b")")[2].split()[19]
    except OSError:
        return None


def kill(pid: int) -> None:
    try:  # noqa: SIM105  contextlib takes longer to load than all else here
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # it has ended


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        return  # the guardian itself is nobody's child: it needs no reaping, and is not one of ours
    watched: dict[int, bytes | None] = {}
    for line in sys.stdin:
        pid = int(line)
        if pid > 0:
            watched[pid] = started(pid)
        else:
            watched.pop(-pid, None)
    for pid, since in watched.items():
        if started(pid) == since:
            kill(pid)


if __name__ == "__main__":
    main()
