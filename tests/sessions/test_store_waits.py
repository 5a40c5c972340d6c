"""What waits for a locked database: writes, all of them together as long as one; reads never."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store import store_thread
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.sessions.test_store_faults import held
from tests.support.turn_records import KEY, turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session_map.db"


@pytest.fixture
def store(path: Path) -> Iterator[StoreThread]:
    opened = StoreThread(Home(path.parent))
    yield opened
    opened.close()


async def test_a_read_goes_past_a_write_that_waits(store: StoreThread, path: Path) -> None:
    await store.commit(turn())
    with held(path, "BEGIN IMMEDIATE"):
        waiting = asyncio.create_task(store.commit(turn(internal_id="session-2")))
        found = await store.lineage(KEY, ["history"])
        assert [point.session_id for point in found.points] == ["session-1"]
        assert not waiting.done()
    assert await waiting == 2


async def test_who_has_waited_in_line_waits_no_longer_for_the_lock(
    store: StoreThread, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    told: list[float] = []

    def wait_at_most(opened: SessionStore, seconds: float) -> None:
        told.append(seconds)

    def takes(seconds: float) -> Any:
        def question(_: SessionStore) -> None:
            nonlocal now
            now += seconds

        return question

    await store.commit(turn())
    monkeypatch.setattr(f"{store_thread.__name__}.monotonic", lambda: now)
    monkeypatch.setattr(SessionStore, "wait_at_most", wait_at_most)
    questions = [store.writing.ask(takes(seconds)) for seconds in (10, 30, 5)]
    await asyncio.gather(*questions)
    assert told == [30, 20, 0]


async def test_nobody_waits_who_may_not(store: StoreThread, path: Path) -> None:
    await store.commit(turn())

    def at_once(opened: SessionStore) -> None:
        opened.wait_at_most(0)
        opened.commit(turn(internal_id="session-2"))

    with (
        held(path, "BEGIN IMMEDIATE"),
        pytest.raises(StoreUnavailable, match="locked") as caught,
    ):
        await store.writing.ask(at_once)
    assert caught.value.retry_after == 30


async def test_what_has_begun_can_be_told_while_it_is_being_answered(
    store: StoreThread,
) -> None:
    """As where a proxy ends: at any moment another thread may be done with some of it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asked = [asyncio.create_task(store.ask(SessionStore.count)) for _ in range(200)]
        await asyncio.sleep(0)
        while store.begun:
            pass
    finally:
        sys.setswitchinterval(before)
    assert await asyncio.gather(*asked) == [0] * 200


async def test_to_leave_it_waits_for_no_answer(store: StoreThread) -> None:
    """Nor does a turn that is the last to end: a server may be frozen."""
    answers = threading.Event()
    asked = asyncio.create_task(store.ask(lambda _: answers.wait(30)))
    await asyncio.sleep(0)
    with store.during_turn():
        store.leave()
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await store.ask(SessionStore.count)
    answers.set()
    assert await asked
