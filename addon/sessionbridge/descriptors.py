"""File descriptors: a process may have only so many, and what lacks one says so in many ways, or
not at all (SQLite: "unable to open database file")."""

from __future__ import annotations

import os

from sessionbridge.errors import TooManyFiles

OF_A_TURN = 20
"""The loopback connection has two, the CLI's pipes three, while it is started six; the database
three, and the rest are files that are open for a moment."""

OF_A_DATABASE = 4
"""The file, its log and its index; one more is open for a moment."""


def check(count: int) -> None:
    """Raises `TooManyFiles` where there are not so many left."""
    held: list[int] = []
    try:
        for _ in range(count):
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise TooManyFiles from error
    finally:
        for descriptor in held:
            os.close(descriptor)
