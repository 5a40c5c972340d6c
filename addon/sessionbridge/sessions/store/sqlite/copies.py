"""Whole copies of the session database: made while others use it, and put in its place."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.copying import Places
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


def put_in_place(path: Path, by: Path, places: Places) -> Path | None:
    """Puts the copy `by` where the database is, whose sessions have their transcripts in these
    places now. Returns where the one before was moved to. Raises `StoreUnavailable`."""
    sql = "UPDATE session_map SET metadata = json_patch(metadata, ?) WHERE provider = ?"
    try:
        with closing(opened(by, "rw", PATIENCE)) as connection:
            for provider, place in places.items():
                connection.execute(sql, (json.dumps(place), provider))
            connection.execute("PRAGMA journal_mode = delete")  # nothing of it is in a second file
        with guard(path, PATIENCE):
            aside = move_aside(path, "replaced")
            os.rename(by, path)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(
            f"The session database {path} cannot be put back ({error})."
        ) from error
    return aside


def check(copy: Path) -> None:
    """Raises `StoreUnavailable` where it is none of a database that can be used here."""
    try:
        with closing(opened(copy, "ro", PATIENCE)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            unknown = later(db)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"The copy {copy} cannot be used ({error}).") from error
    if found != ["ok"]:
        raise StoreUnavailable(f"The copy {copy} is damaged: {found[0]}.")
    if unknown:
        raise StoreUnavailable(
            f"The copy was made by a later version of sessionbridge ({', '.join(unknown)}); update "
            "sessionbridge first."
        )
