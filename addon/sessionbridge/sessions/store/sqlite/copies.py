"""Whole copies of the session database: made while others use it, and put in its place."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.sqlite.database import opened
from sessionbridge.sessions.store.sqlite.migrations import later
from sessionbridge.sessions.store.sqlite.quarantine import guard, move_aside


def copy(path: Path, to: Path) -> None:
    """A copy as of one moment; `to` is an empty file. Raises `StoreUnavailable`."""
    try:
        # Whoever opens the file holds it, or it could be renamed under its own log meanwhile.
        with (
            guard(path, PATIENCE),
            closing(opened(path, "ro", PATIENCE)) as source,
            closing(opened(to, "rw", PATIENCE)) as target,
        ):
            source.backup(target)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(
            f"The session database {path} cannot be copied ({error})."
        ) from error


def put_in_place(path: Path, by: Path, transcripts: dict[str, str]) -> Path | None:
    """Puts the copy `by` where the database is, whose sessions have their `transcripts` there now
    (by the names of a map row's metadata). Returns where the one before was moved to. Raises
    `StoreUnavailable` where the copy is none, and then changes nothing."""
    try:
        with closing(opened(by, "rw", PATIENCE)) as connection:
            _check(connection, by)
            sql = "UPDATE session_map SET metadata = json_patch(metadata, json_object(?, ?))"
            for place in transcripts.items():
                connection.execute(sql, place)
            connection.execute("PRAGMA journal_mode = delete")  # nothing of it is in a second file
        with guard(path, PATIENCE):
            aside = move_aside(path, "replaced")
            os.rename(by, path)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(
            f"The session database {path} cannot be put back ({error})."
        ) from error
    return aside


def _check(connection: sqlite3.Connection, copy: Path) -> None:
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise StoreUnavailable(f"The copy {copy} is damaged: {found[0]}.")
    if unknown := later(Database(connection, recursive_triggers=False, execute_plugins=False)):
        raise StoreUnavailable(
            f"The copy was made by a later version of sessionbridge ({', '.join(unknown)}); update "
            "sessionbridge first."
        )
