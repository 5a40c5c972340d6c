"""The session database under several real processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.store import SessionStore, TurnRecord
from tests.support.turn_records import turn_named

WORKERS = 4
TURNS = 100
OPENERS = 8

_barrier: Any = None


def _start(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Each task that waits at the barrier runs in a process of its own, at the same moment."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(number)
    with ProcessPoolExecutor(
        number, mp_context=context, initializer=_start, initargs=(barrier,)
    ) as pool:
        yield pool


def everywhere(work: Callable[[Path, int], Any], path: Path, number: int) -> list[Any]:
    with processes(number) as pool:
        tasks = [pool.submit(work, path, worker) for worker in range(number)]
        return [task.result(timeout=120) for task in tasks]


def record_of(worker: int, number: int) -> TurnRecord:
    return turn_named(f"{worker}-{number}")


def open_and_write(path: Path, worker: int) -> str | None:
    _barrier.wait()
    with closing(SessionStore.open(path)) as store:
        record = record_of(worker, 0)
        store.commit(record)
        return store.get(record.key)


def work_through(path: Path, worker: int) -> int:
    """Commits, and looks up what it and the shared key must hold; the number of false misses."""
    misses = 0
    shared = SessionKey("goclaw", "shared", "claude")
    with closing(SessionStore.open(path)) as store:
        _barrier.wait()
        for number in range(TURNS):
            record = record_of(worker, number)
            store.commit(record)
            store.commit(replace(record, key=shared, internal_id="shared"))
            lineage = store.lineage(record.key, [record.history_hash])
            misses += store.get(record.key) != record.internal_id
            misses += lineage.row is None or lineage.tip is None or not lineage.points
            misses += store.lineage(shared, [record.ask_hash]).points == ()
    return misses


def meet_corruption(path: Path, worker: int) -> list[bool]:
    """Every process has the same corrupt file open, and finds out at the same moment."""
    with closing(SessionStore.open(path)) as store:
        _barrier.wait()
        if worker == 0:
            with path.open("r+b") as file:
                file.write(b"not a database any more " * 4000)
            for sidecar in ("-wal", "-shm"):
                with path.with_name(path.name + sidecar).open("r+b") as file:
                    file.write(b"\xff" * 200)
        _barrier.wait()
        records = [record_of(worker, number) for number in range(20)]
        for record in records:
            store.commit(record)
        _barrier.wait()
        return [store.get(record.key) == record.internal_id for record in records]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "session_map.db"


@pytest.mark.parametrize("attempt", range(2))
def test_many_processes_may_make_the_same_file(path: Path, attempt: int) -> None:
    found = everywhere(open_and_write, path, OPENERS)
    assert found == [f"session-{worker}-0" for worker in range(OPENERS)]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM _sqlite_migrations").fetchone() == (15,)
        assert db.execute("SELECT count(*) FROM turns").fetchone() == (OPENERS,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.acceptance(5, 19)
@pytest.mark.parametrize("attempt", range(2))
def test_many_processes_may_find_the_same_garbage(path: Path, attempt: int) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage " * 2000)
    found = everywhere(open_and_write, path, OPENERS)
    assert found == [f"session-{worker}-0" for worker in range(OPENERS)]
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    with closing(SessionStore.open(path)) as store:
        assert store.count() == OPENERS


@pytest.mark.acceptance(3)
def test_no_row_is_lost_and_nothing_known_is_missed(path: Path) -> None:
    assert everywhere(work_through, path, WORKERS) == [0] * WORKERS
    with closing(SessionStore.open(path)) as store:
        assert store.count() == WORKERS * TURNS + 1
        (row,) = store.costs("platform")
        assert row.turns == 2 * WORKERS * TURNS
        assert row.cost_usd == 0.25 * row.turns
        hashes = [record_of(worker, n).ask_hash for worker in range(WORKERS) for n in range(TURNS)]
        shared = SessionKey("goclaw", "shared", "claude")
        known = [len(store.lineage(shared, [hash_]).points) for hash_ in hashes]
        assert known == [1] * WORKERS * TURNS


def test_processes_that_quarantine_together_keep_the_fresh_file(path: Path) -> None:
    SessionStore.open(path).close()
    assert everywhere(meet_corruption, path, WORKERS) == [[True] * 20] * WORKERS
    aside = [file for file in path.parent.glob("*.corrupt-*") if file.name[-4:] not in _SIDECARS]
    assert len(aside) == 1
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM turns").fetchone() == (WORKERS * 20,)


_SIDECARS = {"-wal", "-shm"}
