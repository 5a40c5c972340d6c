"""Whether the session database is in order, found out without changing it.

A store would migrate an old file and move a corrupt one aside; this only reads. A file that cannot
be read is a finding here, not an error.
"""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from sessionbridge.sessions.store.sqlite.database import opened
from sessionbridge.sessions.store.sqlite.migrations import later, migrations
from sessionbridge.sessions.store.sqlite.quarantine import guard

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """Of a database that exists. `faults` are what SQLite says is wrong; `pending` are steps that
    the next start will do, `unknown` those of a later version. `aside` are corrupt databases that
    were moved out of the way. `last_used` are the times each mapped conversation was used last,
    `clients` the names of those that are known by a token, or were."""

    bytes: int
    mode: int
    faults: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    aside: tuple[Path, ...]
    last_used: tuple[float, ...] = ()
    clients: tuple[str, ...] = ()

    def not_used_since(self, moment: float) -> int:
        """How many conversations were used last before then."""
        return sum(used < moment for used in self.last_used)


def examine(path: Path) -> Health | None:
    """None where there is no database. Raises nothing that has to do with the file."""
    aside = tuple(
        found
        for found in sorted(path.parent.glob(f"{path.name}.corrupt-*"))
        if not found.name.endswith(("-wal", "-shm", "-journal"))
    )
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Health(0, 0o600, (error.strerror or str(error),), (), (), aside)
    size, mode = status.st_size, stat.S_IMODE(status.st_mode)
    try:
        # Whoever opens the file holds it, or it could be renamed under its own log meanwhile.
        with guard(path, _PATIENCE), closing(opened(path, "ro", _PATIENCE)) as connection:
            faults = _check(connection)
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            pending, unknown = tuple(step.name for step in migrations.pending(db)), later(db)
            used = _last_used(connection) if db["session_map"].exists() else ()
            clients = _clients(connection) if db["clients"].exists() else ()
    except (sqlite3.Error, OSError) as error:
        return Health(size, mode, (str(error),), (), (), aside)
    return Health(size, mode, faults, pending, unknown, aside, used, clients)


def _check(connection: sqlite3.Connection) -> tuple[str, ...]:
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    return () if found == ["ok"] else tuple(found)


def _last_used(connection: sqlite3.Connection) -> tuple[float, ...]:
    return tuple(
        float(row[0]) for row in connection.execute("SELECT last_used_at FROM session_map")
    )


def _clients(connection: sqlite3.Connection) -> tuple[str, ...]:
    return tuple(str(row[0]) for row in connection.execute("SELECT name FROM clients"))
