"""What `sessionbridge doctor` says of the session database."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing

import pytest
from sqlite_utils import Database

from sessionbridge.sessions.store.sqlite.migrations import migrations
from sessionbridge.sessions.store.store import SessionStore
from tests.support.doctor_fixtures import Place, ca, place
from tests.support.turn_records import KEY

__all__ = ["ca", "place"]


def state(place: Place) -> dict[str, tuple[int, str]]:
    """Every file of the home but the lock, which is empty, and the log of an idle database."""
    return {
        path.name: (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in place.home.iterdir()
        if path.stat().st_size and not path.name.endswith("-shm")
    }


def test_a_database_in_order_is_left_as_it_is(place: Place) -> None:
    place.used(1)
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("ok", before)
    assert found["found"].endswith("whole, 1 conversations")


def test_a_database_in_use_is_in_order(place: Place) -> None:
    with closing(SessionStore.open(place.database)) as store:
        store.set(KEY, "session-1")
        with closing(sqlite3.connect(place.database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert place.findings()["Database"]["found"].endswith("whole, 1 conversations")


def test_what_is_no_database_is_a_problem_and_stays(place: Place) -> None:
    place.home.mkdir()
    place.database.write_bytes(b"no database at all " * 100)
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("problem", before)
    assert "not a database" in found["found"]


def test_a_damaged_page_is_a_problem(place: Place) -> None:
    place.used(1)
    with closing(sqlite3.connect(place.database)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turns'")
        root = page.fetchone()[0]
    with place.database.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\x00" * 4096)
    assert place.findings()["Database"]["status"] == "problem"


def test_a_database_others_may_read_is_a_problem(place: Place) -> None:
    place.used(1)
    place.database.chmod(0o644)
    found = place.findings()["Database"]
    assert (found["status"], found["advice"]) == ("problem", f"chmod 600 {place.database}")
    assert "0644" in found["found"]


def test_an_older_database_is_brought_up_to_date_later(place: Place) -> None:
    place.home.mkdir()
    place.database.touch(0o600)
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before="m005_processes")
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("warning", before)
    with closing(Database(memory=True)) as empty:
        steps = len(migrations.pending(empty)) - 4
    assert f"{steps} steps behind" in found["found"]


def test_a_database_of_a_later_version_is_a_problem(place: Place) -> None:
    place.used(1)
    row = {"migration_set": "sessionbridge", "name": "m999_later", "applied_at": "2030"}
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        Database(connection).table("_sqlite_migrations").insert(row)
    found = place.findings()["Database"]
    assert found["status"] == "problem"
    assert "m999_later" in found["found"]


def test_corrupt_databases_beside_it_are_named(place: Place) -> None:
    place.home.mkdir()
    place.database.write_bytes(b"no database at all " * 100)
    place.used(1)  # the bridge moves it aside
    (aside,) = place.home.glob("*.corrupt-*")
    found = place.findings()["Database"]
    assert found["status"] == "warning"
    assert str(aside) in found["advice"]


def test_a_file_beside_it_that_may_not_be_written_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modes do not bind root, whom tests may run as."""
    place.used(1)
    log = place.database.with_name(f"{place.database.name}-wal")
    log.touch()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != log and allowed(path, mode))
    found = place.findings()["Database"]
    assert found["status"] == "problem"
    assert found["found"].endswith(f"this user may not read and write {log}")


def test_a_database_of_another_program_is_told_as_that(place: Place) -> None:
    place.home.mkdir()
    with closing(sqlite3.connect(place.database)) as connection, connection:
        connection.execute("CREATE TABLE session_map (something TEXT)")
    found = place.findings()["Database"]
    assert found["status"] == "problem" and "no such column" in found["found"]
    assert "if it is another program's, move it away" in found["advice"]


def test_a_folder_in_its_place_is_a_problem(place: Place) -> None:
    place.database.mkdir(parents=True)
    assert place.findings()["Database"]["status"] == "problem"
