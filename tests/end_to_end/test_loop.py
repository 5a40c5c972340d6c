"""What blocks runs off the event loop: files, locks, SQLite, and the reading of megabytes.

Told by the kind of call, as Python's audit events and a profiler see it, never by a clock.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.model import Origin
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.worker import Worker
from tests.support.bridge_fixtures import (
    CLIENT_HELD,
    SERVER_HELD,
    SETTINGS,
    House,
    ask,
    body,
    house,
)
from tests.support.claude_cli import Stage, isolated, staged, until

__all__ = ["house"]

ANYWHERE = {"sqlite3.connect", "time.sleep", "fcntl.flock", "fcntl.lockf"}
"""Whatever they are called with, they wait."""


class Watch:
    """Calls that block, made on the thread of the test; files count within `folder` only, because
    Python itself reads modules and the driver reads the device files it needs."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.thread = 0
        self.seen: list[str] = []

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or threading.get_ident() != self.thread:
            return
        on_file = event == "open" or event.startswith(("os.", "shutil."))
        within = any(str(self.folder) in str(argument) for argument in arguments[:2])
        if event in ANYWHERE or (on_file and within):
            self.seen.append(f"{event} {arguments[:1]}")


WATCH = Watch()
sys.addaudithook(WATCH.hook)  # for good: there is no way to take one back


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    WATCH.folder, WATCH.thread, WATCH.seen = folder, threading.get_ident(), []
    try:
        yield WATCH.seen
    finally:
        WATCH.folder = None


def test_the_watch_sees_what_blocks(tmp_path: Path) -> None:
    with watched(tmp_path) as seen:
        (tmp_path / "file").write_text("")
        (tmp_path / "file").unlink()
    assert [call.split()[0] for call in seen] == ["open", "os.remove"]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage


async def test_turns_touch_no_file_on_the_loop(stage: Stage, tmp_path: Path) -> None:
    """A first turn, one on the live process, a long import as a file and a first one on a spare."""
    settings = SETTINGS.model_copy(update={"home": stage.profile.home})
    store, locks = StoreThread(Home(settings.home)), Home(settings.home).locks()
    dispatcher = ClaudeDispatcher(stage.profile, Keep(live=2, spare=1))
    bridge = Bridge(settings, store, dispatcher, locks, Admission(10, 10), Worker(), Background())
    told = [("user", "My name is Ann."), ("assistant", "Nice to meet you, Ann!")]
    turns: list[tuple[list[tuple[str, str]], Origin]] = [
        ([("user", "My name is Bob.")], SERVER_HELD),
        ([("user", "Who am I?")], SERVER_HELD),
        ([*told * 30, ("user", "Who am I?")], CLIENT_HELD),
        ([("user", "My name is Cleo.")], CLIENT_HELD),
    ]
    processes = []
    try:
        with watched(tmp_path) as seen:
            for number, (messages, origin) in enumerate(turns, 1):
                if number == len(turns):
                    await until(lambda: dispatcher.processes[1] == 1)
                answer = await ask(bridge, body(messages), origin)
                assert answer.status == 200, answer.body
                processes.append(answer.exchange.outcome.process)
            await dispatcher.close()
        assert seen == []
        assert processes == ["new", "live", "new", "spare"]
    finally:
        await dispatcher.close()
        store.close()


@contextmanager
def called_here(*codes: CodeType) -> Iterator[list[str]]:
    """Names of those of these functions that were called on this thread."""
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in codes:
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


async def test_megabytes_are_read_and_hashed_off_the_loop(house: House) -> None:
    parse: Callable[..., Any] = type(SHAPES["messages"]).parse
    for words, here in (("hi", True), ("hi " * 500_000, False)):
        with called_here(parse.__code__, chain.__code__) as called:
            assert (await house.ask(words)).status == 200
        assert bool(called) is here
