"""What locks that are files promise beside what all do."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import re
import stat
import time
from pathlib import Path

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.sqlite.locks import FileLocks
from sessionbridge.sessions.store.sqlite.quarantine import guard
from tests.support.lock_places import Turn, one_by_one, queue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "locks"


@pytest.fixture
def locks(folder: Path) -> FileLocks:
    return FileLocks(folder)


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_two_may_look_at_once_whether_one_before_them_has_died(
    locks: FileLocks, folder: Path
) -> None:
    """Each of them would take the other for it, and wait."""
    turn = Turn(locks)
    await turn.runs.wait()
    [ticket] = left(folder)
    await turn.end()
    with (folder / ticket).open("w") as dead:
        fcntl.flock(dead, fcntl.LOCK_SH)
        later = Turn(locks)
        await later.runs.wait()
    assert not later.waits.is_set()
    await later.end()


async def test_no_name_can_be_read_in_the_folder(locks: FileLocks, folder: Path) -> None:
    async with locks.hold("user-4711", lambda: None):
        (name,) = left(folder)
        assert re.fullmatch(r"[0-9a-f]{64}\.0", name)
        assert (folder / name).read_bytes() == b""
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / name)]
        assert modes == [0o700, 0o600]


def test_a_folder_nobody_needs_is_not_made(folder: Path) -> None:
    FileLocks(folder)
    assert not folder.parent.exists()


def thread_has_begun_all(locks: FileLocks) -> None:
    while not locks._thread._work_queue.empty():
        time.sleep(0.001)


async def test_what_a_cancelled_arrival_had_begun_is_undone(locks: FileLocks, folder: Path) -> None:
    """The guard keeps the thread in the middle of taking a ticket until after the cancellation;
    the arrivals behind it have not been begun with."""
    await one_by_one(await queue(locks))
    with guard(folder, timeout=1):
        begun = Turn(locks)
        await asyncio.sleep(0)
        thread_has_begun_all(locks)
        turns = [begun, Turn(locks), Turn(locks)]
        await asyncio.sleep(0)
        assert left(folder) == []
        for turn in turns:
            turn.task.cancel()
        await asyncio.sleep(0)
        begun.task.cancel()  # once more, while it leaves
        await asyncio.sleep(0)
    await asyncio.wait([turn.task for turn in turns])
    assert all(turn.task.cancelled() for turn in turns)
    await one_by_one(await queue(locks))
    assert left(folder) == []


async def test_locks_nobody_uses_are_forgotten(locks: FileLocks, folder: Path) -> None:
    for number in range(20):
        async with locks.hold(str(number), lambda: None):
            pass
    gc.collect()
    assert len(locks._locks) == 0
    assert left(folder) == []


async def test_a_folder_that_is_removed_is_made_again(locks: FileLocks, folder: Path) -> None:
    await one_by_one(await queue(locks))
    os.rmdir(folder)
    await one_by_one(await queue(locks))


@pytest.fixture(params=[".", "locks"])
def unusable(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / str(request.param)


async def test_a_folder_that_cannot_be_used_is_told(unusable: Path) -> None:
    with pytest.raises(StoreUnavailable, match=f"{unusable} cannot be used"):
        async with FileLocks(unusable).hold("a", lambda: None):
            raise AssertionError
