"""The Claude CLI in a place of its own: none of the machine's settings, and loopback only."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.cli.demo.scripted_api import (
    Body,
    Failure,
    Reply,
    ScriptedApi,
    remembers_names,
)
from sessionbridge.cli.demo.scripted_api import Usage as ScriptedUsage
from sessionbridge.model import (
    Delta,
    Dispatched,
    Finished,
    Message,
    Plan,
    PlanName,
    Point,
    Started,
    TextDelta,
)
from tests.support import warm_start
from tests.support.daemons import DAEMONS
from tests.support.whole_requests import check, conversation, messages

LOGIN = {"ANTHROPIC_AUTH_TOKEN": "dummy"}
"""As good as a login, but for the lifetime of what is cached: the CLI is not bare, and asks nobody
but the API."""
KEY = {"ANTHROPIC_API_KEY": "sk-ant-dummy"}
"""With it the CLI is bare."""
MODEL = "claude-sonnet-4-5"
USAGE = ScriptedUsage(3, 5, 7, 11)


WHOLE = os.environ.get("ALL_SETTINGS") == "1"
"""Whether every model is asked, as `scripts/settings` does after an update of the CLI."""


def some[T](few: Sequence[T], others: Sequence[T]) -> Sequence[T]:
    return [*few, *others] if WHOLE else few


def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Leaves this process, and so every child, an environment that knows nothing of the user."""
    for name in os.environ:
        if not name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    user = tmp_path / "user"
    user.mkdir()
    kept = {"PATH": os.defpath, "HOME": str(user), "CLAUDE_CONFIG_DIR": str(tmp_path / "config")}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    return kept


def fake_cli(tmp_path: Path) -> Path:
    program = tmp_path / "claude"
    source = Path(__file__).with_name("fake_cli.py").read_text()
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    return program


def profile(tmp_path: Path, inherited: Mapping[str, str], **changes: Any) -> ClaudeProfile:
    plain = ClaudeProfile(tmp_path / "home", None, {}, 0, inherited)
    return replace(plain, **changes)


def say(text: str, role: Any = "user") -> Message:
    return Message(role, ({"type": "text", "text": text},))


def job(
    ask: str | Message,
    name: PlanName = "fresh",
    *,
    after: Answer | None = None,
    entry: str | None = None,
    feed: tuple[Message, ...] = (),
    **changes: Any,
) -> Job:
    """A plan that goes on after an earlier answer, or from one of its entries."""
    base, session_id = None, str(uuid4())
    if after is not None:
        base = Point("hash", after.session_id, entry or after.tip, 1, entry is None)
        session_id = after.session_id if name == "resume" else session_id
    message = say(ask) if isinstance(ask, str) else ask
    plan = Plan(name, "test", base, feed, message)
    return replace(Job(plan, session_id, "Be brief.", MODEL, "session", False), **changes)


@dataclass(frozen=True)
class Answer:
    deltas: tuple[Delta, ...]
    dispatched: Dispatched

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, TextDelta))

    @property
    def started(self) -> Started:
        first = self.deltas[0]
        assert isinstance(first, Started)
        return first

    @property
    def finished(self) -> Finished:
        last = self.deltas[-1]
        assert isinstance(last, Finished)
        return last

    @property
    def session_id(self) -> str:
        return self.finished.session_id

    @property
    def tip(self) -> str:
        last = self.finished.entries[-1]
        assert last is not None
        return last

    @property
    def cost(self) -> float:
        assert self.finished.cost_usd is not None
        return self.finished.cost_usd


async def answer(dispatcher: ClaudeDispatcher, job: Job) -> Answer:
    async with aclosing(dispatcher.run(job)) as deltas:
        heard = [delta async for delta in deltas]
    told = [delta for delta in heard if isinstance(delta, Dispatched)]
    return Answer(tuple(delta for delta in heard if not isinstance(delta, Dispatched)), told[-1])


def blocks_of(*messages: Message) -> list[tuple[str, dict[str, Any]]]:
    return [(message.role, dict(block)) for message in messages for block in message.blocks]


class Stage:
    """The real CLI before a scripted API. `replies` are given in order, then names remembered.
    `said` is what the test says as the CLI would (see `whole_requests.check`)."""

    def __init__(
        self, tmp_path: Path, inherited: Mapping[str, str], credentials: Mapping[str, str]
    ) -> None:
        self.replies: list[Reply | Failure] = []
        self.said: set[str] = set()
        self.api = ScriptedApi(self._script)
        self.credentials = credentials
        self.extra = {"ANTHROPIC_BASE_URL": self.api.url, **credentials}
        self.profile = profile(tmp_path, inherited, extra=self.extra)
        self.keep = Keep()
        """No process outlives its turn, unless a test says so."""

    def dispatcher(self, **changes: Any) -> ClaudeDispatcher:
        return ClaudeDispatcher(replace(self.profile, **changes), self.keep)

    async def answer(self, job: Job, **changes: Any) -> Answer:
        return await answer(self.dispatcher(**changes), job)

    @property
    def seen(self) -> list[tuple[str, str]]:
        """The conversation the model was shown last."""
        return conversation(self.api.calls[-1])

    @property
    def blocks(self) -> list[tuple[str, dict[str, Any]]]:
        """All that the model was shown last, block by block, but what the CLI put in."""
        return [
            (role, {k: v for k, v in block.items() if k != "cache_control"})
            for role, blocks in messages(self.api.calls[-1])
            for block in blocks
        ]

    def was_asked(self, times: int) -> bool:
        return len(self.api.calls) == times

    async def _script(self, body: Body) -> Reply | Failure:
        return self.replies.pop(0) if self.replies else await remembers_names(body)


@asynccontextmanager
async def staged(
    tmp_path: Path, inherited: Mapping[str, str], credentials: Mapping[str, str] = LOGIN
) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path, inherited, credentials)
    try:
        yield stage
        for call in stage.api.calls:
            check(call, stage.said)
    finally:
        await stage.api.close()


@asynccontextmanager
async def staged_one_way(
    tmp_path: Path,
    inherited: Mapping[str, str],
    caplog: pytest.LogCaptureFixture,
    *,
    keep: Keep,
    never_logged: str,
    otherwise: str,
) -> AsyncIterator[Stage]:
    """For tests of one way to dispatch: that another has answered instead shows in the log alone,
    and is told as `otherwise`."""
    async with staged(tmp_path, inherited) as stage:
        stage.keep = keep
        yield stage
    # Not `text`: after the test that holds what was logged since.
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert not [line for line in logged if never_logged in line], otherwise
    assert children() == []


def children() -> list[int]:
    """Live processes that this one has started, by pid; but not those that stay for as long as this
    one lives, once a test has used them: of multiprocessing, and servers, also of warm starts."""
    found: list[int] = []
    for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            found += map(int, listed.read_text().split())
    return [pid for pid in found if pid not in DAEMONS and not _stays(pid)]


def _stays(pid: int) -> bool:
    try:
        words = " ".join(command_line(pid))
        return "multiprocessing.resource_tracker" in words or warm_start.__file__ in words
    except FileNotFoundError:
        return False


def nothing_else_runs() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def environment_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.partition("=")[::2] for line in lines if line)


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what other processes do sets no event
            await asyncio.sleep(0.01)
