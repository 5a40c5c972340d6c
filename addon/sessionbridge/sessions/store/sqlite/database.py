"""One SQLite file that many processes share, and its faults.

It promises four different answers to four different faults: locked, read-only and full are
`StoreUnavailable` and never an empty answer; corrupt, and only corrupt, is moved aside and started
anew. WAL, so readers wait for no writer (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from sessionbridge import descriptors
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import PATIENCE, Dialect, Params
from sessionbridge.sessions.store.engine import Database as Transaction
from sessionbridge.sessions.store.sqlite.migrations import later, migrations
from sessionbridge.sessions.store.sqlite.permissions import closed
from sessionbridge.sessions.store.sqlite.quarantine import (
    Identity,
    create,
    guard,
    identity,
    move_aside,
)

logger = logging.getLogger(__name__)

# The call, and once more on the file that took the first one's place.
_ATTEMPTS = 2

_NOTICED = 0.1
"""Seconds that SQLite is not told of: each question comes a little after it was asked."""


_DIALECT = Dialect(
    day="date(started_at, 'unixepoch', 'localtime')",
    utc_day="date(started_at, 'unixepoch')",
    begin_of_hour="CAST(started_at / 3600 AS INTEGER) * 3600",
    begin_of_day=(
        "CAST(strftime('%s', date(started_at, 'unixepoch', 'localtime'), 'utc') AS INTEGER)"
    ),
    listed="json_each(:listed)",
    number_on="SELECT max(id) FROM turns",
)


class _Transaction:
    """One of SQLite, which lets nobody else write meanwhile."""

    dialect = _DIALECT

    def __init__(self, db: Database) -> None:
        self._db = db

    def query(self, sql: str, params: Params) -> Iterable[Mapping[str, Any]]:
        # Not `Database.query`, which puts a savepoint around each.
        cursor = self._db.execute(sql, dict(params))
        names = [name for name, *_ in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def stream(self, sql: str) -> Iterator[Mapping[str, Any]]:
        return iter(self.query(sql, {}))

    def execute(self, sql: str, params: Params) -> None:
        self._db.execute(sql, dict(params))

    def execute_many(self, sql: str, rows: Iterable[Params]) -> None:
        self._db.conn.executemany(sql, rows)

    def alone(self, key: SessionKey) -> None:
        return None


class SharedDatabase:
    """Opened at the first question, and again whenever the file was replaced. One without turns
    is given to `begin`, in a transaction, before anybody else uses it."""

    def __init__(self, path: Path, patience: float, begin: Callable[[Transaction], None]) -> None:
        self.path = path
        self._patience = patience
        self._begin = begin
        self._db: Database | None = None
        self._identity: Identity | None = None
        self._closed = False

    def close(self) -> None:
        self._closed = True
        if self._db is not None:
            self._db.close()
            self._db = None

    def wait_at_most(self, seconds: float) -> None:
        if abs(seconds - self._patience) < _NOTICED:
            return
        if self._db is not None:
            self._db.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
        self._patience = seconds

    def open(self) -> None:
        """Now, and not with the first question."""
        self._call(lambda db: None)

    def read[T](self, work: Callable[[Transaction], T]) -> T:
        def reading(db: Database) -> T:
            with db.atomic():
                return work(_Transaction(db))

        return self._call(reading)

    def write[T](self, work: Callable[[Transaction], T], under: str | None = None) -> T:
        """Locks are files of the same machine: nobody loses one who goes on."""

        def changing(db: Database) -> T:
            with writing(db):
                return work(_Transaction(db))

        return self._call(changing)

    def _call[T](self, work: Callable[[Database], T]) -> T:
        """Do `work`, again from its beginning if the file had to be replaced under it."""
        if self._closed:
            raise StoreUnavailable(f"The session database {self.path} has been closed.")
        try:
            return self._do(work)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a fault of ours, not of the file
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(self.path, error) from error

    def _do[T](self, work: Callable[[Database], T]) -> T:
        for _ in range(_ATTEMPTS):
            db = self._current()
            try:
                result = work(db)
            except sqlite3.Error as error:
                if self.replaced:
                    continue
                if not _proves_corruption(error):
                    raise
                self._quarantine(error)
            else:
                # What was written to a file that was moved meanwhile is gone with it.
                if not self.replaced:
                    return result
        raise StoreUnavailable(
            f"The session database {self.path} was found corrupt or replaced {_ATTEMPTS} times "
            "during one call; check the disk, and that nothing else moves the file."
        )

    @property
    def replaced(self) -> bool:
        """Whether the open file is no longer the one at `path`: quarantined, or removed by hand."""
        there = identity(self.path)
        return there is None or there != self._identity

    def _current(self) -> Database:
        if self._db is not None and not self.replaced:
            return self._db
        self._drop()
        with guard(self.path, self._patience):
            try:
                self._db = self._connected()
            except sqlite3.Error as error:
                if not _proves_corruption(error):
                    raise
                self._move_aside(error)
                self._db = self._connected()
            self._identity = identity(self.path)
        return self._db

    def _connected(self) -> Database:
        db = _connect(self.path, self._patience)
        try:
            if not list(db.query("SELECT 1 FROM turns LIMIT 1")):
                with writing(db):
                    self._begin(_Transaction(db))
        except BaseException:
            _abandon(db.conn)
            raise
        return db

    def _quarantine(self, error: sqlite3.Error) -> None:
        with guard(self.path, self._patience):
            # Another process may have been here first; its fresh file is not the one that failed.
            # Asked before closing ours, as only an open file keeps its identity from being reused.
            failed = not self.replaced
            self._drop()
            if failed:
                self._move_aside(error)

    def _move_aside(self, error: sqlite3.Error) -> None:
        aside = move_aside(self.path)
        logger.warning(
            "The session database %s is corrupt (%s). It was moved to %s and a new one is made.",
            *(self.path, error, aside),
        )

    def _drop(self) -> None:
        if self._db is not None:
            _abandon(self._db.conn)
            self._db = None


def opened(path: Path, mode: Literal["ro", "rw"], patience: float) -> sqlite3.Connection:
    """Never creates: whatever this opens has been made by `create`."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,  # opened and closed by whoever owns the thread that uses it
    )


def check(path: Path, patience: float) -> None:
    """Raises `StoreUnavailable` where nothing could be written to the file that is there. One that
    is corrupt is none: it is moved aside when it is needed."""
    there = next(folder for folder in path.parents if folder.exists())
    if not there.is_dir():
        raise _unavailable(path, NotADirectoryError(errno.ENOTDIR, f"{there} is no folder"))
    if closed(path) or not os.access(there, os.W_OK | os.X_OK):
        raise _unavailable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if not path.exists():
        return
    try:
        # Whoever opens the file holds it, or it could be renamed under its own log meanwhile.
        with guard(path, patience), closing(opened(path, "ro", patience)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except (sqlite3.Error, OSError) as error:
        if not _proves_corruption(error):
            raise _unavailable(path, error) from error


def _connect(path: Path, patience: float) -> Database:
    """Open, switch to WAL, migrate. Needs `guard`: none of the three can be done by two at once.
    Raises `StoreUnavailable` for a database of a later version."""
    orphan = create(path)
    if orphan is not None:
        logger.warning("Found the log of a missing session database; it was moved to %s.", orphan)
    conn = opened(path, "rw", patience)
    try:
        db = Database(conn, recursive_triggers=False, execute_plugins=False)
        if unknown := later(db):
            raise StoreUnavailable(
                f"The session database {path} was written by a later version of sessionbridge "
                f"({', '.join(unknown)}) and is left as it is; update sessionbridge, or choose "
                "another home with SESSIONBRIDGE_HOME."
            )
        (mode,) = db.execute("PRAGMA journal_mode = wal").fetchone()
        if mode != "wal":
            logger.warning("%s cannot use WAL here (%s); writers will block readers.", path, mode)
        db.execute("PRAGMA synchronous = normal")
        if migrations.pending(db):
            with writing(db):
                migrations.apply(db)
    except BaseException:
        _abandon(conn)
        raise
    return db


def _abandon(conn: sqlite3.Connection) -> None:
    """Close and touch nothing: a checkpoint would rewrite the evidence and remove its sidecars."""
    conn.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
    conn.close()


@contextmanager
def writing(db: Database) -> Iterator[None]:
    """Takes the write lock first: a read that becomes a write fails at once instead of waiting."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


def _proves_corruption(error: Exception) -> bool:
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: Exception) -> int | None:
    """SQLite's primary result code; None for errors that are not SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def _unavailable(path: Path, error: Exception) -> StoreUnavailable:
    code = _code(error)
    if code == sqlite3.SQLITE_CANTOPEN:
        descriptors.check(descriptors.OF_A_DATABASE)  # SQLite does not tell why it could not open
    number = error.errno if isinstance(error, OSError) else None
    if code in _LOCKED or isinstance(error, TimeoutError):
        return StoreUnavailable(
            f"The session database {path} is locked by another process ({error}); try again, and "
            "close what holds it open for writing if this goes on.",
            retry_after=round(PATIENCE),
        )
    if code == sqlite3.SQLITE_FULL or number == errno.ENOSPC:
        return StoreUnavailable(f"No room for the session database {path}; free some disk space.")
    shut = closed(path)
    if shut or code in _READ_ONLY or number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        names = ", ".join(map(str, shut)) or "the file, those of its name beside it and its folder"
        return StoreUnavailable(
            f"The session database {path} is read-only ({error}); let the proxy's user read and "
            f"write {names}, or choose another home with SESSIONBRIDGE_HOME."
        )
    if code == sqlite3.SQLITE_ERROR:
        return StoreUnavailable(
            f"The session database {path} cannot be used: its tables are not sessionbridge's "
            f"({error}). Move the file away, and a new one is made, or choose another home with "
            "SESSIONBRIDGE_HOME."
        )
    return StoreUnavailable(
        f"The session database {path} cannot be used ({error}); check the file and its folder, or "
        "choose another home with SESSIONBRIDGE_HOME."
    )
