"""Live processes whose CLI is none, for tests of who keeps which."""

from __future__ import annotations

import asyncio

from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.job import Mode
from sessionbridge.claude.pool.live import LiveProcess
from sessionbridge.claude.tools.client_tools import ClientTools
from tests.support.claude_cli import MODEL

MODE = Mode("Be brief.", MODEL, "session", compaction=False)
LONG = 3600.0


class StandIn(CliProcess):
    """A CLI that only knows whether it runs, and how it was ended."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    @property
    def alive(self) -> bool:
        return self.ended is None

    async def finish(self) -> None:
        await self.may_finish.wait()
        self.ended = self.ended or "finished"

    async def kill(self) -> None:
        self.kill_now()

    def kill_now(self) -> None:
        self.ended = self.ended or "killed"


def process(session: str = "S", mode: Mode = MODE) -> LiveProcess:
    live = LiveProcess(StandIn(), mode, session, 0.0, ClientTools(mode.parameters.tools))
    live.tip = f"tip of {session}"
    return live


def cli(live: LiveProcess) -> StandIn:
    assert isinstance(live.cli, StandIn)
    return live.cli


def ended(live: LiveProcess) -> str | None:
    return cli(live).ended


def fail(live: LiveProcess) -> None:
    """It dies, and nobody here has ended it."""
    cli(live).ended = "died"
