"""A pool whose processes have no CLI, for tests of who keeps which."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.job import Job, Settings, TurnEnd
from sessionbridge.claude.pool.pool import Keep, Pool
from sessionbridge.claude.tools.client_tools import ClientTools
from sessionbridge.claude.transcript.transcripts import Transcripts
from sessionbridge.model import Finished, MemoryKind, Plan, Usage
from tests.support.claude_cli import MODEL, say

SETTINGS = Settings(MODEL, "Be brief.")
LONG = 3600.0


class StandIn(CliProcess):
    """A CLI that only knows whether it runs, and how it was ended."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self.has_login = True
        self.told_to_finish = False
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    @property
    def alive(self) -> bool:
        return self.ended is None

    async def finish(self) -> None:
        self.told_to_finish = True
        await self.may_finish.wait()
        self.ended = self.ended or "finished"

    async def kill(self) -> None:
        self.kill_now()

    def kill_now(self) -> None:
        self.ended = self.ended or "killed"


class NoTranscripts(Transcripts):
    """Of sessions that write none, and so of no profile, which would choose a folder for them."""

    def __init__(self) -> None:
        pass

    async def version(self, session_id: str) -> None:
        return None

    async def written(self, session_id: str, entry: str | None) -> None:
        pass

    async def lead_to(self, session_id: str, entry: str) -> None:
        pass

    async def delete(self, session_id: str) -> None:
        pass


def process(
    session: str = "S", memory: MemoryKind = "session", settings: Settings | None = SETTINGS
) -> LiveProcess:
    live = LiveProcess(StandIn(), memory, session, 0.0, ClientTools())
    live.settings = settings
    live.tip = f"tip of {session}"
    return live


def cli(live: LiveProcess) -> StandIn:
    assert isinstance(live.cli, StandIn)
    return live.cli


def ended(live: LiveProcess) -> str | None:
    return cli(live).ended


def fail(live: LiveProcess) -> None:
    cli(live).ended = "failed"


def pool_of(
    live: int = 0,
    idle: float = LONG,
    tool_wait: float = LONG,
    *,
    spare: int = 0,
    spawn: Callable[[MemoryKind], Awaitable[LiveProcess]] | None = None,
    room: Callable[[], bool] = lambda: True,
    quiet: float = 0,
) -> Pool:
    """Its spares are what `spawn` returns; others are those that are handed to `begin`."""
    keep = Keep(live, spare, idle, tool_wait, quiet)
    return Pool(_Launches(spawn).start, NoTranscripts(), keep, room)


_HANDED: dict[str, LiveProcess] = {}


class _Launches:
    def __init__(self, spawn: Callable[[MemoryKind], Awaitable[LiveProcess]] | None) -> None:
        self._spawn = spawn

    async def start(
        self, settings: Settings | None, memory: MemoryKind, session_id: str, *_: Any, **__: Any
    ) -> LiveProcess:
        if session_id in _HANDED:
            return _HANDED.pop(session_id)
        assert self._spawn is not None
        ahead = await self._spawn(memory)
        ahead.settings = settings
        return ahead


def first_turn(live: LiveProcess) -> Job:
    return asking(live, Plan("fresh", "test", None, (), say("First")))


def asking(live: LiveProcess, plan: Plan) -> Job:
    """As the turn before was asked."""
    settings = live.settings or SETTINGS
    return Job(
        plan, live.session_id, settings.system, settings.model, live.memory, settings.compaction
    )


async def begin(pool: Pool, live: LiveProcess, job: Job | None = None) -> None:
    """This process is in a turn now."""
    job = job or first_turn(live)
    _HANDED[job.session_id] = live
    assert await pool.acquire(job, "new") is live


def done(live: LiveProcess) -> TurnEnd:
    """Its turn has ended well."""
    end = Finished(live.session_id, (live.tip,), "end_turn", Usage(), 0.0)
    return TurnEnd(end, None, holds_it=True, goes_on=True)


async def a_turn(pool: Pool, live: LiveProcess) -> None:
    await begin(pool, live)
    await pool.release(live, done(live))
