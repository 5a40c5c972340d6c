"""The commands of mitmproxy's console: `:sessionbridge.status` and its like.

A command returns at once, on the event loop, so what has to be looked up is told in the event log
as soon as it is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from mitmproxy import command
from mitmproxy.log import ALERT

from sessionbridge.dashboard.state import State
from sessionbridge.errors import presentable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.reports.sums import money
from sessionbridge.sessions.store.store import SessionSummary

logger = logging.getLogger(__name__)

_MOST_SESSIONS = 20


class Operator(Protocol):
    """What an operator may ask of the bridge. Each may raise `BridgeError`."""

    def state(self) -> State: ...

    async def sessions(self) -> list[SessionSummary]:
        """The one that was used last first."""

    async def forget(self, name: str) -> list[SessionKey]:
        """Forgets the conversation of that name where there is one only; returns all there are."""


def _command[F: Callable[..., object]](name: str) -> Callable[[F], F]:
    """mitmproxy's decorator, which has no types of its own."""
    decorator: Callable[[F], F] = command.command(name)
    return decorator


class Commands:
    """The commands, for mitmproxy to find."""

    name = "sessionbridge.commands"

    def __init__(self, admin: Operator) -> None:
        self._admin = admin
        self._telling: set[asyncio.Task[None]] = set()

    @_command("sessionbridge.status")
    def status(self) -> str:
        """Say how many turns run and wait, and how many Claude processes there are."""
        return status(self._admin.state())

    @_command("sessionbridge.sessions")
    def sessions(self) -> None:
        """List the conversations that were used last, with what each has cost, in the event log."""
        self._tell(self._sessions)

    @_command("sessionbridge.forget")
    def forget(self, name: str) -> None:
        """Forget a conversation, by its id, PLATFORM/ID (of a client CLIENT:PLATFORM/ID) or Claude
        session, and delete its transcripts. Should it go on, it begins anew."""
        self._tell(lambda: self._forget(name))

    def _tell(self, work: Callable[[], Coroutine[Any, Any, str]]) -> None:
        task = asyncio.create_task(self._told(work))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told(self, work: Callable[[], Coroutine[Any, Any, str]]) -> None:
        try:
            logger.log(ALERT, "%s", await work())
        except Exception as error:  # nobody awaits this task
            logger.error("%s", presentable(error).message)

    async def _sessions(self) -> str:
        known = await self._admin.sessions()
        if not known:
            return "No conversation is known yet."
        lines = [session_line(one) for one in known[:_MOST_SESSIONS]]
        if len(known) > len(lines):
            lines.append(f"… and {len(known) - len(lines)} more: `sessionbridge sessions list`")
        return "\n".join(lines)

    async def _forget(self, name: str) -> str:
        found = await self._admin.forget(name)
        titles = [f"{key.scope}/{key.external_id}" for key in found]
        if not titles:
            return f"No conversation is called {name}."
        if len(titles) > 1:
            return f"{name} may be any of these, give one of them: {', '.join(titles)}."
        return f"Forgotten: {titles[0]}."


def status(state: State) -> str:
    """One line."""
    return (
        f"turns: {state.running} running, {state.waiting} waiting · "
        f"Claude processes: {state.live} and {state.spares} ready for new conversations"
    )


def session_line(one: SessionSummary) -> str:
    plan = f"{one.plan} {one.reason}" if one.plan else "-"
    return (
        f"{one.key.scope}/{one.key.external_id} · {one.internal_id} · turns: {one.turns} · "
        f"{plan} · ${money(one.cost_usd, one.unpriced)}"
    )
