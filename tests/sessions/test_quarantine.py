"""A corrupt database is moved aside with its sidecars, and nothing that is sound is lost."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.sqlite.database import SharedDatabase
from sessionbridge.sessions.store.sqlite.quarantine import Identity, identity, move_aside
from sessionbridge.sessions.store.store import SessionStore
from tests.support.scripts import run_script
from tests.support.turn_records import KEY, turn

RECORD = turn()

# Leaves the log behind, as a crash does.
CRASHER = """
import os, sys
from pathlib import Path
from sessionbridge.sessions.store.sqlite.database import SharedDatabase, writing
from sessionbridge.sessions.store.sqlite.quarantine import Identity, identity, move_aside
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.model import SessionKey
store = SessionStore.open(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    store.set(SessionKey("goclaw", f"user-{number}", "claude"), "session", {"pad": "x" * 500})
os._exit(0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "session_map.db"


def quarantined(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.glob("*.corrupt-*"))


def overwrite(path: Path) -> None:
    """Every page after the first, so the file still opens and fails where it is read."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(4096)
        file.write(b"\x5a" * (size - 4096))


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def test_corrupt_recovery(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage " * 1000)
    with caplog.at_level(logging.WARNING), closing(SessionStore.open(path)) as store:
        assert store.get(KEY) is None
        store.set(KEY, "session-1")
        assert store.get(KEY) == "session-1"
    (name,) = quarantined(path)
    aside = path.with_name(name)
    assert aside.read_bytes() == b"garbage " * 1000
    assert str(path) in caplog.text and str(aside) in caplog.text


def crashed(path: Path) -> bytes:
    """A database of several pages, and the log of a crash that holds the newest of one row."""
    run_script(CRASHER, path, 200)
    checkpoint(path)
    run_script(CRASHER, path, 1)
    return path.with_name("session_map.db-wal").read_bytes()


@pytest.mark.acceptance(5)
def test_the_sidecars_move_too(path: Path) -> None:
    wal = crashed(path)
    path.write_bytes(b"garbage " * 1000)
    with closing(SessionStore.open(path)) as store:
        assert store.count() == 0
    main, *sidecars = quarantined(path)
    assert sidecars == [f"{main}-shm", f"{main}-wal"]
    assert path.with_name(f"{main}-wal").read_bytes() == wal


def test_a_truncated_file_with_its_sidecars_recovers(path: Path) -> None:
    wal = crashed(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)
    with closing(SessionStore.open(path)) as store:
        assert store.sessions() == []  # the first call that reads what is missing
        store.commit(RECORD)
        assert store.get(KEY) == "session-1"
    main, *sidecars = quarantined(path)
    assert sidecars == [f"{main}-shm", f"{main}-wal"]
    assert path.with_name(f"{main}-wal").read_bytes() == wal


def test_a_log_that_can_still_be_read_is_no_corruption(path: Path) -> None:
    run_script(CRASHER, path, 200)
    path.write_bytes(b"garbage " * 1000)  # every page is in the log
    with closing(SessionStore.open(path)) as store:
        assert store.count() == 200
    assert quarantined(path) == []


def test_corruption_that_comes_while_open_is_found_by_a_read(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(SessionStore.open(path)) as store:
        store.commit(RECORD)
        checkpoint(path)
        store.get(KEY)
        wal = path.with_name("session_map.db-wal").read_bytes()
        overwrite(path)
        with caplog.at_level(logging.WARNING):
            assert store.lineage(KEY, ["history"]).row is None
        assert len(caplog.records) == 1
        store.commit(RECORD)
        assert store.get(KEY) == "session-1"
    main, *_ = quarantined(path)
    assert path.with_name(f"{main}-wal").read_bytes() == wal


def test_corruption_that_comes_while_open_is_found_by_a_commit(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        store.commit(RECORD)
        checkpoint(path)
        overwrite(path)
        turn_id = store.commit(RECORD)
        tip = store.lineage(KEY, []).tip
        assert tip is not None and tip.turn_id == turn_id
    assert quarantined(path)


def test_every_quarantine_has_a_name_of_its_own(path: Path) -> None:
    path.parent.mkdir()
    for number in range(3):
        path.write_bytes(b"garbage %d " % number * 500)
        SessionStore.open(path).close()
    assert len(quarantined(path)) == 3


def test_what_another_quarantined_is_left_and_its_fresh_file_used(path: Path) -> None:
    with closing(SessionStore.open(path)) as late:
        late.commit(RECORD)
        checkpoint(path)
        overwrite(path)
        with closing(SessionStore.open(path)) as early:
            assert early.get(KEY) is None
            early.commit(RECORD)
            aside = quarantined(path)
            assert aside
            assert late.get(KEY) == "session-1"
            late.set(KEY, "session-2")
            assert early.get(KEY) == "session-2"
        assert late.get(KEY) == "session-2"
    assert quarantined(path) == aside


def test_a_file_that_took_the_place_of_the_corrupt_one_is_not_moved(path: Path) -> None:
    with closing(SharedDatabase(path, 1.0, lambda db: None)) as late:
        late.open()
        move_aside(path)
        SessionStore.open(path).close()
        fresh = identity(path)
        # As if the other process had been quicker after both met the corruption.
        late._quarantine(sqlite3.DatabaseError())
        assert identity(path) == fresh


def test_what_was_written_to_a_file_while_it_was_moved_is_written_again(path: Path) -> None:
    written: list[Identity | None] = []

    def work(db: Database) -> None:
        db.execute("CREATE TABLE written (row)", {})
        written.append(identity(path))
        if len(written) == 1:
            move_aside(path)

    with closing(SharedDatabase(path, 1.0, lambda db: None)) as database:
        database.write(work)
    assert len(set(written)) == 2
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM written").fetchone() == (0,)


def test_a_log_without_its_database_is_kept_away_from_the_new_one(path: Path) -> None:
    wal = crashed(path)
    path.unlink()
    with closing(SessionStore.open(path)) as store:
        assert store.count() == 0
    (aside,) = path.parent.glob("*.corrupt-*-wal")
    assert aside.read_bytes() == wal


def test_a_file_removed_by_hand_is_made_anew(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        store.set(KEY, "session-1")
        path.unlink()
        assert store.get(KEY) is None
        store.set(KEY, "session-2")
    with closing(SessionStore.open(path)) as store:
        assert store.get(KEY) == "session-2"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
