"""Locked, read-only and full are errors, never an absence and never corruption.

Every fault here is a real one: another process, a real mode, a real page limit.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.sqlite.quarantine import guard
from sessionbridge.sessions.store.store import SessionStore
from tests.support.scripts import run_script
from tests.support.turn_records import KEY, turn

RECORD = turn()

HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
db.close()
"""

# Modes do not bind root, so it becomes nobody once everything is imported.
AS_NOBODY = """
import os, sys
from pathlib import Path
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.model import SessionKey
SessionStore.open(Path(sys.argv[2])).close()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    SessionStore.open(Path(sys.argv[1])).set(SessionKey("goclaw", "bob", "claude"), "session-2")
except StoreUnavailable as error:
    print(error.message)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "session_map.db"


@contextmanager
def held(path: Path, statement: str) -> Iterator[None]:
    """Another process has done `statement` in its transaction and stays there."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), statement],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield
        holder.communicate()


def quarantined(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.glob("*.corrupt-*"))


# -- locked ---------------------------------------------------------------------------------------


@pytest.mark.acceptance(5)
def test_locked_is_an_error_for_writers_and_never_an_absence(path: Path) -> None:
    with closing(SessionStore.open(path, patience=0.05)) as store:
        store.commit(RECORD)
        calls: list[Any] = [
            lambda: store.get(KEY),
            lambda: store.set(KEY, "session-2"),
            lambda: store.delete(KEY),
            lambda: store.replaced_import(KEY, 1),
            lambda: store.commit(RECORD),
        ]
        with held(path, "BEGIN IMMEDIATE"):
            for call in calls:
                with pytest.raises(StoreUnavailable, match="locked") as caught:
                    call()
                assert str(path) in caught.value.message
            row = store.lineage(KEY, []).row
            assert row is not None and row.session_id == "session-1"
        assert store.get(KEY) == "session-1"
    assert quarantined(path) == []


def test_a_reader_that_is_locked_out_says_so(path: Path) -> None:
    SessionStore.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = delete").fetchall()
    with (
        held(path, "BEGIN EXCLUSIVE"),
        pytest.raises(StoreUnavailable, match="locked") as caught,
    ):
        SessionStore.open(path, patience=0.05)
    assert caught.value.retry_after == 30
    assert quarantined(path) == []


def test_an_opener_waits_for_another_only_so_long(path: Path) -> None:
    with guard(path, 0), pytest.raises(StoreUnavailable, match="another process is opening"):
        SessionStore.open(path, patience=0.05)
    SessionStore.open(path, patience=0.05).close()


def test_a_writer_waits_for_another_within_the_timeout(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("COMMIT")
        store.set(KEY, "session-1")
        assert store.get(KEY) == "session-1"


# -- read-only, full, unusable --------------------------------------------------------------------


@pytest.mark.acceptance(5)
@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize(
    ("modes", "named"),
    [
        ({"": 0o555}, [""]),
        ({"session_map.db": 0o444}, ["session_map.db"]),
        ({"": 0o555, "session_map.db": 0o444}, ["session_map.db", ""]),
        ({"session_map.db-wal": 0o444}, ["session_map.db-wal"]),
        ({"session_map.db-shm": 0o444}, ["session_map.db-shm"]),
        (
            {"session_map.db-wal": 0o000, "session_map.db-shm": 0o000},
            ["session_map.db-wal", "session_map.db-shm"],
        ),
        ({"session_map.db.lock": 0o444}, ["session_map.db.lock"]),
    ],
)
def test_read_only_is_an_error_that_names_what_is(
    tmp_path: Path, modes: dict[str, int], named: list[str]
) -> None:
    # Not under tmp_path, whose parents only their owner may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "home"
        path = folder / "session_map.db"
        with closing(SessionStore.open(path)) as store:
            store.set(KEY, "session-1")
            beside = {file: file.read_bytes() for file in folder.glob("*.db-*")}
        if "" not in modes:  # a folder matters where they have to be made
            for file, content in beside.items():
                file.write_bytes(content)  # as a proxy that was killed leaves them
        Path(name).chmod(0o755)
        for file in [*folder.iterdir(), folder]:
            file.chmod(0o777)
        for part, mode in modes.items():
            (folder / part).chmod(mode)
        said = run_script(AS_NOBODY, path, tmp_path / "warm" / "session_map.db")
        folder.chmod(0o700)
        for file in folder.iterdir():
            file.chmod(0o600)
        assert f"The session database {path} is read-only (" in said
        names = ", ".join(str(folder / part) for part in named)
        assert f"let the proxy's user read and write {names}, or choose another home" in said
        assert quarantined(path) == []
        with closing(SessionStore.open(path)) as store:
            assert store.count() == 1


@pytest.mark.acceptance(5)
def test_full_is_an_error_and_leaves_no_half_turn(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        # SQLite's own limit, as small as the file is now; it answers as a full disk does.
        store._engine.read(lambda db: list(db.query("PRAGMA max_page_count = 1", {})))
        points = tuple((f"hash-{number}", "entry" * 50) for number in range(5000))
        with pytest.raises(StoreUnavailable, match="No room"):
            store.commit(turn(points=points))
        assert store.get(KEY) is None
        assert store.costs("platform") == []
    assert quarantined(path) == []


def test_a_folder_in_the_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        SessionStore.open(path)
    assert path.is_dir()


def test_a_file_in_the_place_of_the_home_is_an_error(path: Path) -> None:
    path.parent.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        SessionStore.open(path)


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE turns (something TEXT)")
    with pytest.raises(StoreUnavailable, match=r"tables are not sessionbridge's.*Move the file"):
        SessionStore.open(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("turns",)]
    assert quarantined(path) == []


WITHOUT_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from sessionbridge.errors import BridgeError, presentable
from sessionbridge.sessions.store.store import SessionStore
SessionStore.open(Path(sys.argv[1])).close()
for left in range(6):
    held = len(os.listdir("/proc/self/fd")) - 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + left, 4096))
    try:
        SessionStore.open(Path(sys.argv[1])).close()
        print(left, "opened")
    except BridgeError as error:
        print(left, presentable(error).message)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 4096))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_lack_of_file_descriptors_is_told_as_that(path: Path) -> None:
    """SQLite itself says no more than that it could not open a file."""
    told = run_script(WITHOUT_DESCRIPTORS, str(path)).splitlines()
    assert len(told) == 6
    refusals = [line for line in told if not line.endswith("opened")]
    assert refusals and all("no file descriptors left" in line for line in refusals), told
